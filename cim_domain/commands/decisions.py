"""Deciding about the commands that wait for one aggregate, one after another, as one commit.

Pure: from what is known of the aggregate and the commands to what is to be stored and answered.
Each command is decided on the state that those before it will leave.
"""

import logging
from collections.abc import Container, Sequence

from attrs import field, frozen

from cim_domain.commands.repository import LoadedAggregate, evolve_on
from cim_domain.errors import Conflict, Failed, RequestError
from cim_domain.identity import caused_id
from cim_domain.model.aggregate import Aggregate, AggregateModel
from cim_domain.model.failures import cause
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Clock, Metadata
from cim_domain.model.read_back import Altered, stored_event
from cim_domain.model.records import EventRecord
from cim_domain.store.port import Limits
from cim_domain.wire.command_digest import command_digest

logger = logging.getLogger("cim_domain.commands")


@frozen
class CommandRequest:
    """A command with its metadata, and the version its sender expects the aggregate to have.

    Nobody but the service knows the id of one that is not `repeatable`, so it cannot come again.
    """

    command: Command
    metadata: Metadata
    expected_version: int | None = None
    repeatable: bool = True
    digest: str = field(init=False)
    """What the command is, for when its id comes again."""

    @digest.default
    def _(self) -> str:
        return command_digest(self.command)


@frozen(kw_only=True)
class Decision:
    """What was decided about one command: an error, or events, of which there may be none.

    `states` are the aggregate's after each of the events. Nothing is decided about one that was
    `answered` before, and for one that comes twice in this run, `first` is the decision about it.
    """

    request: CommandRequest
    events: tuple[EventRecord, ...] = ()
    states: tuple[Aggregate, ...] = ()
    error: RequestError | None = None
    answered: bool = False
    first: "Decision | None" = None

    @property
    def traceless(self) -> bool:
        """Whether this is the last word on a command, and the log will not have it."""
        if self.events or self.answered or self.first:
            return False
        return self.error is None or self.error.status in {"rejected", "conflict"}


@frozen
class Rules:
    """What decisions about one kind of aggregate go by."""

    model: AggregateModel
    clock: Clock
    limits: Limits
    source: str
    """The service, for the events' metadata."""


def decide_run(
    rules: Rules,
    known: LoadedAggregate,
    requests: Sequence[CommandRequest],
    answered: Container[str] = (),
    kept: Container[str] | None = None,
) -> tuple[Decision, ...]:
    """Decide about commands to one aggregate, as many of them as one commit can hold.

    The first is always decided; those without a decision are left for the next run. `answered` has
    the ids of those that have had their answer. With `kept`, the run also ends where events would
    follow a command that leaves none, unless its id is among those: what came of it is to be kept
    while the aggregate is as it was decided on.
    """
    decisions: list[Decision] = []
    seen: dict[str, Decision] = {}
    state, version, stored, size = known.state, known.position.version, 0, 0
    to_be_kept = False
    for request in requests:
        command_id = request.metadata.message_id
        if command_id in answered:
            decision = Decision(request=request, answered=True)
        elif command_id in seen:
            decision = Decision(request=request, first=seen[command_id])
        else:
            decision = _decide(rules, state, version, request)
        if decision.events:
            stored += len(decision.events)
            size += sum(len(event.data) for event in decision.events)
            full = stored > rules.limits.events or size > rules.limits.commit_bytes
            if to_be_kept or (full and stored > len(decision.events)):
                break
            state = decision.states[-1]
            version += len(decision.events)
        elif kept is not None and decision.traceless and request.repeatable:
            to_be_kept = to_be_kept or command_id not in kept
        seen.setdefault(command_id, decision)
        decisions.append(decision)
    return tuple(decisions)


def _decide(rules: Rules, state: Aggregate, version: int, request: CommandRequest) -> Decision:
    expected = request.expected_version
    if expected is not None and expected != version:
        return Decision(
            request=request,
            error=Conflict(
                f"the {rules.model.name} is at version {version}, not {expected}: read it again",
                details={"expected_version": expected, "version": version},
            ),
        )
    metadata = request.metadata
    try:
        events = rules.model.decide(state, request.command, metadata)
        stored = [_stored(event) for event in events]
        records = tuple(
            _record(rules, request, event, data, version, place)
            for place, (data, event) in enumerate(stored)
        )
        _check_limits(rules.limits, records)
        return Decision(
            request=request,
            events=records,
            # On what will be read, so that the state is the same after a restart.
            states=_states(rules.model, state, [event for _, event in stored], records),
        )
    except RequestError as error:
        return Decision(request=request, error=error)
    except Exception as error:
        # The mistake is the model's, and this command's alone; the log has the trace.
        logger.exception("deciding about %s failed", metadata.message_type)
        return Decision(
            request=request,
            error=Failed(
                f"deciding about {metadata.message_type} failed: {cause(error)};"
                " the service's log says more"
            ),
        )


def _stored(event: Event) -> tuple[bytes, Event]:
    try:
        return stored_event(event)
    except Altered as error:
        logger.exception("%s is not stored", event.message_type)
        raise Failed(
            f"{event.message_type} is not stored: {error}",
            code="event_altered",
            details={"fields": [{"path": error.path, "message": error.problem}]},
        ) from error


def _record(
    rules: Rules, request: CommandRequest, event: Event, data: bytes, version: int, place: int
) -> EventRecord:
    cause = request.metadata
    return EventRecord(
        Metadata(
            message_id=caused_id(cause.message_id, place),
            message_type=event.message_type,
            correlation_id=cause.correlation_id,
            causation_id=cause.message_id,
            timestamp=rules.clock(),
            source=rules.source,
            aggregate_id=cause.aggregate_id,
            aggregate_version=version + place + 1,
            schema_version=event.schema_version,
            organization_id=cause.organization_id,
            trace_parent=cause.trace_parent,
            actor_id=cause.actor_id,
            meta=cause.meta,
            command_digest=None if place else request.digest,
        ),
        data,
    )


def _check_limits(limits: Limits, records: Sequence[EventRecord]) -> None:
    if len(records) > limits.events:
        raise Failed(
            f"the command leads to {len(records)} events; at most {limits.events} fit in a commit",
            code="too_many_events",
            details={"events": len(records), "limit": limits.events},
        )
    for record in records:
        if len(record.data) > limits.event_bytes:
            raise Failed(
                f"the {record.metadata.message_type} it leads to has {len(record.data)} bytes;"
                f" at most {limits.event_bytes} are stored",
                code="too_large",
                details={"bytes": len(record.data), "limit": limits.event_bytes},
            )


def _states(
    model: AggregateModel,
    state: Aggregate,
    events: Sequence[Event],
    records: Sequence[EventRecord],
) -> tuple[Aggregate, ...]:
    states = []
    for event, record in zip(events, records, strict=True):
        state = evolve_on(model, state, event, record.metadata)
        states.append(state)
    return tuple(states)

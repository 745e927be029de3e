"""Running a process: from stored events to effects, and to the commands that follow.

At least once for each event, by one of the instances. The ids of the commands are derived from
the event's, so that a repeated reaction has no further effect on the domain.
"""

import logging
from collections.abc import Awaitable, Callable

from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.decoding import request_for
from cim_domain.commands.results import ID_TAKEN
from cim_domain.dead_letters import DeadLetters
from cim_domain.errors import (
    Busy,
    Failed,
    Invalid,
    NotFound,
    Outdated,
    RequestError,
    Unavailable,
)
from cim_domain.identity import derived_id
from cim_domain.model.domain import Domain, either
from cim_domain.model.messages import Command
from cim_domain.model.metadata import Clock, Metadata, Recorded, utc_now
from cim_domain.model.process import ProcessModel
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.subscriber import (
    ConsumerDefinition,
    Postponed,
    Received,
    Retries,
    Subscriber,
)
from cim_domain.observability.health import HealthCheck, look_at_subscriber
from cim_domain.wire.codec import read_event
from cim_domain.wire.outcome import Outcome

logger = logging.getLogger("cim_domain.processes")

LAG_ALLOWED = 10_000
"""Messages that may wait before health says degraded, unless it is set otherwise."""

CONSUMER = "process-"
"""What the names of processes' consumers begin with; the process's own name follows."""

Execute = Callable[[CommandRequest], Awaitable[Outcome]]
"""Carries out a command of the domain."""


OnRejected = Callable[[str, str], None]
"""Is told the process's name and the code of the rejection."""


def _nobody(_: str, __: str) -> None:
    """Hears nothing."""


class ProcessRunner:
    """Has one process react to the events of the log."""

    def __init__(
        self,
        domain: Domain,
        model: ProcessModel,
        link: Link,
        subjects: Subjects,
        execute: Execute,
        dead_letters: DeadLetters,
        retries: Retries,
        log_at_hand: Callable[[], Awaitable[object]] | None = None,
        on_rejected: OnRejected = _nobody,
        clock: Clock = utc_now,
    ) -> None:
        """`log_at_hand` raises `Unavailable` where the events that come are of another log;
        `on_rejected` hears of each command of the process that the domain's rules refuse.
        """
        self._log_at_hand = log_at_hand
        self._on_rejected = on_rejected
        self._clock = clock
        self._domain = domain
        self._model = model
        self._execute = execute
        self._source = subjects.service
        self._sender = f"process.{model.name}"
        self._types = {stored for event in model.events for stored in event.stored_types()}
        self._subscriber = Subscriber(
            link,
            ConsumerDefinition(
                stream=subjects.event_stream,
                name=f"{CONSUMER}{model.name}",
                filter_subject=_filter(self._types, subjects),
                history=model.history,
                handles=frozenset(self._types),
            ),
            self._handle,
            dead_letters,
            bucket=Bucket(link, subjects.outcome_bucket),
            dead_letter_name=f"process.{model.name}",
            retries=retries,
            concurrency=model.concurrency,
            key=_aggregate,
        )

    async def ensure(self) -> None:
        """Have it known which events this code reacts to, before there are any that older code
        does not know. Raises as `start` does.
        """
        if await self._subscriber.ensure():
            await self._tell_beginning()

    async def start(self) -> None:
        """Begin. Raises `ConfigurationError`, `ApiError` and `NoAnswer`."""
        await self._subscriber.start()

    async def stop(self) -> None:
        """Take nothing new, and return when the reactions under way have ended."""
        await self._subscriber.stop()

    def look(self, lag_allowed: int = LAG_ALLOWED) -> HealthCheck:
        """How this process fares, for health."""
        return look_at_subscriber(self._subscriber, lag_allowed)

    async def _tell_beginning(self) -> None:
        """Say what is passed by, or reacted to once more, if this is one that had another name."""
        had = "if it had another name before, give it that one: class ...(Process, name='...')"
        name, state = self._model.name, await self._subscriber.state()
        if self._model.history and state.pending:
            logger.warning(
                "process %s is new to this log, and reacts to %d events that happened before; %s",
                name, state.pending, had,
            )  # fmt: skip
        elif not self._model.history and state.passed:
            logger.warning(
                "process %s is new to this log, and reacts to what happens from now on, to none of"
                " the events before; %s",
                name, had,
            )  # fmt: skip

    async def _handle(self, received: Received) -> None:
        if self._log_at_hand is not None:
            try:
                await self._log_at_hand()
            except Unavailable as error:
                raise Postponed.by(error) from error
        record = read_event(
            received.subject, received.headers, received.data, received.sequence, self._source
        )
        message_type = record.metadata.message_type
        if message_type in self._types:
            await self.replay(record)
        elif message_type not in self._domain.stored_events and await self._is_for_other(
            message_type
        ):
            raise self._unknown(record.metadata)

    def _unknown(self, metadata: Metadata) -> Outdated:
        return Outdated(
            f"the log holds an event of type {metadata.message_type!r} (sequence"
            f" {metadata.sequence}), to which other code of the process {self._model.name} reacts,"
            f" and which this code does not know: {either(metadata.message_type)}",
            code="unknown_event",
        )

    async def _is_for_other(self, message_type: str) -> bool:
        """Whether other code of this process, which shares its consumer, reacts to such events."""
        try:
            return message_type in await self._subscriber.handled()
        except RequestError as error:
            raise Postponed.by(error) from error

    async def replay(self, record: EventRecord) -> None:
        """React to one event of the log, also if it did before. Raises what stands in the way."""
        metadata = record.metadata
        if metadata.message_type not in self._domain.stored_events:
            raise self._unknown(metadata)
        if metadata.message_type not in self._types:
            raise NotFound(
                f"the process {self._model.name} does not react to {metadata.message_type} any"
                " more: discard the letter",
                code="no_reaction",
            )
        if not metadata.aggregate_version:
            # The ids of the commands are derived from the event's, and this one has none.
            raise Invalid(
                f"the message at sequence {metadata.sequence} is no event that this kit has"
                " written: its headers are missing or at odds with its subject",
                code="foreign_event",
            )
        event = self._domain.read_event(metadata, record.data)
        commands = await self._model.react(Recorded(event, metadata))
        # None is begun while another could not even be sent.
        requests = [self._request(one, metadata, number) for number, one in enumerate(commands)]
        for request in requests:
            await self._carry_out(request, metadata)

    def _request(self, command: Command, cause: Metadata, number: int) -> CommandRequest:
        if self._domain.commands.get(command.message_type) is not type(command):
            raise Failed(
                f"the process {self._model.name} returned {type(command).__name__}, which is a"
                f" command of no aggregate of the domain {self._domain.name!r}",
                code="unknown_command",
            )
        command_id = derived_id(cause.message_id, f"{self._model.name}.{number}")
        metadata = cause.causing(command_id, command.message_type, self._clock(), self._sender)
        return request_for(self._domain, command, metadata)

    async def _carry_out(self, request: CommandRequest, cause: Metadata) -> None:
        outcome = await self._execute(request)
        if outcome.error is None:
            return
        command_type = request.metadata.message_type
        if outcome.status == "rejected":
            # The domain's answer; to ask again would not change it.
            logger.warning(
                "process %s: its command %s (%s), on event %s (%s, sequence %d), was rejected:"
                " %s: %s",
                self._model.name,
                request.metadata.message_id,
                command_type,
                cause.message_id,
                cause.message_type,
                cause.sequence,
                outcome.error.code,
                outcome.error.message,
            )
            self._on_rejected(self._model.name, outcome.error.code)
            return
        raise _kind_of(outcome.error)(
            f"{command_type}: {outcome.error.message}",
            code=outcome.error.code,
            details=outcome.error.details,
        )


def _kind_of(error: RequestError) -> type[RequestError]:
    """As what a command's error counts for the event: nothing tried, final, or a failure."""
    if isinstance(error, Outdated):
        return Outdated
    if error.http in {Busy.http, Unavailable.http}:
        return Postponed
    # Another command has the id, sent by somebody else or by another reaction to the same event.
    return Invalid if error.code == ID_TAKEN else Failed


def _filter(types: set[str], subjects: Subjects) -> str | None:
    """The one subject that all these events have in common; several filters are slow."""
    if len(types) == 1:
        return subjects.journal_of_type(next(iter(types)))
    aggregates = {one.split(".")[0] for one in types}
    if len(aggregates) == 1:
        return subjects.journal_of_aggregates(aggregates.pop())
    return None


def _aggregate(received: Received) -> str:
    return received.subject.rpartition(".")[0]

"""From what was decided about a command to the outcome that it is answered with."""

from attrs import evolve

from cim_domain.commands.decisions import CommandRequest, Decision
from cim_domain.commands.repository import LoadedAggregate
from cim_domain.errors import Conflict
from cim_domain.wire.outcome import EventReference, Outcome


def id_taken(request: CommandRequest) -> Conflict:
    """The error for a command whose id another aggregate has seen."""
    return Conflict(
        f"a command with the id {request.metadata.message_id} was sent to another aggregate before:"
        " every command has an id of its own",
        code="command_id_taken",
    )


def outcome_of(verdict: Decision, known: LoadedAggregate) -> Outcome:
    """What a command is answered, once what was decided is stored. What the log has goes first."""
    metadata = verdict.request.metadata
    if verdict.first is not None:
        return outcome_of(verdict.first, known)
    if verdict.kept is not None and verdict.done is None:
        if verdict.kept.aggregate_id != metadata.aggregate_id:
            return Outcome.refused(id_taken(verdict.request), metadata)
        return evolve(verdict.kept, correlation_id=metadata.correlation_id)
    if verdict.error is not None:
        return Outcome.refused(verdict.error, metadata)
    done = known.commands.get(metadata.message_id) if verdict.events else verdict.done
    if verdict.events:
        events = tuple(
            EventReference(one.metadata.message_id, one.metadata.message_type)
            for one in verdict.events
        )
    else:
        events = done.events(metadata.message_id) if done else ()
    return Outcome(
        status="accepted",
        command_id=metadata.message_id,
        correlation_id=metadata.correlation_id,
        aggregate_id=metadata.aggregate_id,
        version=done.version if done else known.position.version,
        sequence=done.sequence if done else known.position.sequence,
        events=events,
    )

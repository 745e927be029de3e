"""What a command is answered: from what was decided, or as it was answered before."""

from attrs import evolve, frozen

from cim_domain.commands.decisions import CommandRequest, Decision
from cim_domain.errors import Conflict
from cim_domain.store.port import Position
from cim_domain.wire.outcome import Basis, EventReference, Outcome

ID_TAKEN = "command_id_taken"


@frozen
class Answer:
    """What a command was answered, and what it was: its `digest`, where that is known.

    `stored` says that the log has its events, so that there is no other answer for good. One that
    was kept for the first time has a `revision`: as long as nobody has been told, it can be taken
    back, see `IdempotencyStore`.
    """

    outcome: Outcome
    digest: str | None = None
    stored: bool = False
    revision: int | None = None

    def to(self, request: CommandRequest) -> Outcome:
        """The answer to the same command again; to another one, that the id is taken."""
        metadata = request.metadata
        other = self.digest is not None and self.digest != request.digest
        if other or self.outcome.aggregate_id != metadata.aggregate_id:
            return Outcome.refused(id_taken(request), metadata)
        if self.outcome.correlation_id == metadata.correlation_id:
            return self.outcome
        return evolve(self.outcome, correlation_id=metadata.correlation_id)


def id_taken(request: CommandRequest) -> Conflict:
    """The error for a command whose id another one has."""
    return Conflict(
        f"another command was sent with the id {request.metadata.message_id} before: every command"
        " has an id of its own",
        code=ID_TAKEN,
    )


def outcome_of(decision: Decision, position: Position, basis: Basis | None) -> Outcome:
    """What comes of a command that was decided about; the aggregate is at `position` after it."""
    metadata = decision.request.metadata
    if decision.error is not None:
        return evolve(Outcome.refused(decision.error, metadata), basis=basis)
    return Outcome(
        status="accepted",
        command_id=metadata.message_id,
        correlation_id=metadata.correlation_id,
        aggregate_id=metadata.aggregate_id,
        version=position.version,
        sequence=position.sequence,
        events=tuple(
            EventReference(one.metadata.message_id, one.metadata.message_type)
            for one in decision.events
        ),
        basis=basis,
    )

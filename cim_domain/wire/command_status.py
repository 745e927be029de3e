"""What is known of a command that was stored first: from scheduled to done, or given up.

The same JSON is kept by the service, answered by ``nix.query.command.status`` and read by clients:
the reply that the command would have had on ``nix.cmd``, and how it stands.
"""

import logging
from datetime import datetime
from typing import Any, Literal, Self, get_args

import orjson
from attrs import asdict, frozen
from pydantic import AwareDatetime, BaseModel, ValidationError

from cim_domain.errors import Conflict, Invalid, Rejected, RequestError, Status
from cim_domain.wire.codec import write_time
from cim_domain.wire.error_replies import ErrorPart, bad_reply
from cim_domain.wire.outcome import Basis, Outcome

logger = logging.getLogger("cim_domain.commands")

State = Status | Literal["scheduled", "waiting", "retrying", "cancelled"]

_HTTP: dict[str, int] = {kind.status: kind.http for kind in (Invalid, Conflict, Rejected)}
_DONE: frozenset[str] = frozenset(get_args(Status))


def status_key(command_id: str, organization_id: str | None) -> str:
    """The key of a command: its id; with an organization, which nobody else's question meets,
    ``ID.acme``. A dot in its name becomes ``=``, which no name has.
    """
    if organization_id is None:
        return command_id
    return f"{command_id}.{organization_id.replace('.', '=')}"


@frozen(kw_only=True)
class CommandStatus:
    """How a command stands.

    `scheduled` until it is due (`at`; its `error` says so where it may never be), `waiting` to be
    carried out, also where only newer code can (its `error` says so then), `retrying` after
    attempts that failed; then what came of it: `accepted`, `rejected`, `invalid`, `conflict`,
    `failed` (it was given up), or `cancelled`. `outcome` is the reply, or that of the last attempt;
    `attempts` counts deliveries. What could not be handled is a `dead_letter`, too.
    """

    state: State
    command_id: str
    outcome: Outcome | None = None
    attempts: int = 0
    at: datetime | None = None
    dead_letter: bool = False
    digest: str | None = None
    """Of a command that has left no event: what it was, see `command_digest`. Nobody is told."""
    basis: Basis | None = None
    """By what it is known whether the outcome is of the log at hand. Nobody is told."""

    @classmethod
    def done(
        cls, outcome: Outcome, command_id: str, attempts: int, digest: str | None = None
    ) -> Self:
        """Of a command about which the domain has said its last word."""
        return cls(
            state=outcome.status,
            command_id=command_id,
            outcome=outcome,
            attempts=attempts,
            digest=None if outcome.events else digest,
            basis=outcome.basis,
        )

    @property
    def final(self) -> bool:
        """Whether this is all that will come of it."""
        return self.state == "cancelled" or self.state in _DONE

    @property
    def error(self) -> RequestError | None:
        """Why it was not accepted, or failed the last time."""
        return self.outcome.error if self.outcome else None

    def as_dict(self) -> dict[str, Any]:
        """As JSON: `at` and `dead_letter` are there where they say something.

        So is each field of the reply as long as there is none yet.
        """
        found = self.outcome.as_dict() if self.outcome else {}
        if not self.final:
            found = {name: value for name, value in found.items() if value not in (None, [])}
        found |= {"status": self.state, "command_id": self.command_id, "attempts": self.attempts}
        if self.at is not None:
            found["at"] = write_time(self.at)
        if self.dead_letter:
            found["dead_letter"] = True
        return found

    def to_wire(self) -> bytes:
        """As it is kept."""
        digest = {"digest": self.digest} if self.digest else {}
        basis = {"basis": asdict(self.basis)} if self.basis else {}
        return orjson.dumps(self.as_dict() | digest | basis)

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """What `to_wire` wrote. Raises `Failed` (``bad_reply``) for anything else."""
        try:
            read = _Wire.model_validate_json(data)
        except ValidationError:
            raise bad_reply("its answer does not say how a command stands") from None
        outcome = None
        if read.status in _DONE:
            outcome = Outcome.from_wire(data, _HTTP.get(read.status, 500))
        elif read.status == "retrying" or read.error is not None:
            last = {**orjson.loads(data), "status": "failed"}
            outcome = Outcome.from_wire(orjson.dumps(last))
        return cls(
            state=read.status,
            command_id=read.command_id,
            outcome=outcome,
            attempts=read.attempts,
            at=read.at,
            dead_letter=read.dead_letter,
            digest=read.digest,
            basis=Basis(**read.basis.model_dump()) if read.basis else None,
        )


def read_status(data: bytes | None) -> CommandStatus | None:
    """What is kept of a command, if that is something; what cannot be read is nothing."""
    if data is None:
        return None
    try:
        return CommandStatus.from_wire(data)
    except RequestError as error:
        logger.warning("what is kept of a command cannot be read: %s", error.message)
        return None


class _WireBasis(BaseModel):
    log: str
    sequence: int
    event: str


class _Wire(BaseModel):
    status: State
    command_id: str
    error: ErrorPart | None = None
    attempts: int = 0
    at: AwareDatetime | None = None
    dead_letter: bool = False
    digest: str | None = None
    basis: _WireBasis | None = None

"""What came of a command: the one shape that every reply to one has."""

from typing import Any, Self

import orjson
from attrs import evolve, field, frozen
from pydantic import BaseModel, ValidationError

from cim_domain.errors import RequestError, Status
from cim_domain.model.metadata import Metadata
from cim_domain.wire.error_replies import ErrorPart, bad_reply, error_of

_LONG_CODE = 200
_LONG_MESSAGE = 1000
"""Characters that are left of a code and a message where an outcome has to be shortened."""


@frozen
class EventReference:
    """An event that a command led to."""

    id: str
    type: str


@frozen
class Basis:
    """By what it is known whether an outcome is of the log at hand, which may have been set back.

    That is the last event that the aggregate had when all was done, if it had one.
    """

    log: str
    """The log's identity."""
    sequence: int = 0
    event: str = ""
    """Its id."""


@frozen(kw_only=True)
class Outcome:
    """What came of a command. What cannot be known, because the command could not be read, is None.

    `version` and `sequence` are the aggregate's after the command: how many events it has, and the
    place of the last one in the domain's log.
    """

    status: Status
    command_id: str | None
    correlation_id: str | None
    aggregate_id: str | None = None
    version: int | None = None
    sequence: int | None = None
    events: tuple[EventReference, ...] = ()
    error: RequestError | None = None
    basis: Basis | None = field(default=None, eq=False, repr=False)
    """Kept with it, and told nobody."""

    @classmethod
    def refused(cls, error: RequestError, metadata: Metadata | None = None) -> "Outcome":
        """Of a command that was not carried out."""
        return cls(
            status=error.status,
            command_id=metadata.message_id if metadata else None,
            correlation_id=metadata.correlation_id if metadata else None,
            aggregate_id=metadata.aggregate_id if metadata else None,
            error=error,
        )

    @classmethod
    def done(cls, metadata: Metadata) -> "Outcome":
        """Of a command that was carried out and changed no aggregate."""
        return cls(
            status="accepted",
            command_id=metadata.message_id,
            correlation_id=metadata.correlation_id,
        )

    @classmethod
    def from_wire(cls, data: bytes, http: int = 500) -> Self:
        """The outcome in a reply. `http` is the number of its error, ``Nats-Service-Error-Code``.

        Raises `Failed` (``bad_reply``) for what is no such reply.
        """
        try:
            read = _Wire.model_validate_json(data)
        except ValidationError:
            raise bad_reply("its reply is no outcome of a command") from None
        if (read.error is None) != (read.status == "accepted"):
            raise bad_reply("status and error of its reply are at odds")
        return cls(
            status=read.status,
            command_id=read.command_id,
            correlation_id=read.correlation_id,
            aggregate_id=read.aggregate_id,
            version=read.version,
            sequence=read.sequence,
            events=tuple(EventReference(event.id, event.type) for event in read.events),
            error=error_of(read.error, http) if read.error else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The reply: `error` is there only unless accepted.

        One that was accepted has no aggregate, version and sequence where it is about none.
        """
        reply: dict[str, Any] = {
            "status": self.status,
            "command_id": self.command_id,
            "correlation_id": self.correlation_id,
        }
        place = {
            "aggregate_id": self.aggregate_id,
            "version": self.version,
            "sequence": self.sequence,
        }
        if self.status != "accepted" or any(value is not None for value in place.values()):
            reply |= place
        reply["events"] = [{"id": event.id, "type": event.type} for event in self.events]
        if self.error is not None:
            reply["error"] = self.error.as_dict()
        return reply

    def to_wire(self, room: int | None = None) -> bytes:
        """The reply as JSON.

        Where that has more than `room` bytes, the events and the end of the message are left out,
        and the details say how many bytes there were (``cut_from``): what came of the command is
        still told as it was.
        """
        wire = orjson.dumps(self.as_dict())
        if room is None or len(wire) <= room:
            return wire
        return self._cut_from(len(wire)).to_wire()

    def within(self, size: int) -> "Outcome":
        """The same in `size` bytes of JSON, as `to_wire` shortens it; itself where it fits."""
        length = len(self.to_wire())
        return self if length <= size else self._cut_from(length)

    def _cut_from(self, length: int) -> "Outcome":
        if self.error is None:
            return evolve(self, events=())
        part = ErrorPart.model_validate(self.error.as_dict())
        part = ErrorPart(
            code=part.code[:_LONG_CODE],
            message=part.message[:_LONG_MESSAGE],
            details={"cut_from": length},
        )
        return evolve(self, events=(), error=error_of(part, self.error.http))


class _WireEvent(BaseModel):
    id: str
    type: str


class _Wire(BaseModel):
    status: Status
    command_id: str | None
    correlation_id: str | None = None
    aggregate_id: str | None = None
    version: int | None = None
    sequence: int | None = None
    events: tuple[_WireEvent, ...] = ()
    error: ErrorPart | None = None

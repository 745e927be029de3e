"""What is known about a message beside its own fields: who caused it, when, at which version."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Generic, Self, TypeVar

from attrs import evolve, field, frozen

from cim_domain.model.messages import Event

_NOTHING: Mapping[str, str] = MappingProxyType({})

Clock = Callable[[], datetime]
"""Gives the present time, in UTC and with its time zone."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@frozen(kw_only=True)
class Metadata:
    """Where a message comes from and where it stands. Ids are UUIDs as text.

    A root message has correlation = causation = its own id. One caused by another takes its
    correlation, and its id as causation.
    """

    message_id: str
    message_type: str
    """``flake.create``, ``flake.created``."""
    correlation_id: str
    causation_id: str
    timestamp: datetime
    """UTC, with its time zone, to the microsecond."""
    source: str
    """Who made the message: ``client``, a process as ``process.waiting``, or a service."""
    aggregate_id: str | None = None
    aggregate_version: int = 0
    """Of an event: how many events its aggregate has, this one counted. Of a command: 0."""
    schema_version: int = 1
    organization_id: str | None = None
    sequence: int = 0
    """Of a stored event: its place in the log, counted from 1. Before that, and of commands: 0."""
    trace_parent: str | None = None
    """W3C trace context, as it came."""
    command_digest: str | None = None
    """Of the first event of a command: what the command was, see `cim_domain.wire`."""
    actor_id: str | None = None
    """Who did it, by the word of the client."""
    meta: Mapping[str, str] = field(default=_NOTHING, hash=False)
    """What else the client says of it: ``Request-ID`` is the header ``X-Meta-Request-ID``.
    Messages that this one causes have actor and meta, too.
    """

    @classmethod
    def root(
        cls,
        message_id: str,
        message_type: str,
        timestamp: datetime,
        source: str,
        organization_id: str | None = None,
    ) -> Self:
        """Of a message that nothing caused but the client's will."""
        return cls(
            message_id=message_id,
            message_type=message_type,
            correlation_id=message_id,
            causation_id=message_id,
            timestamp=timestamp,
            source=source,
            organization_id=organization_id,
        )

    def causing(
        self, message_id: str, message_type: str, timestamp: datetime, source: str | None = None
    ) -> "Metadata":
        """Of a message that this one causes."""
        return Metadata(
            message_id=message_id,
            message_type=message_type,
            correlation_id=self.correlation_id,
            causation_id=self.message_id,
            timestamp=timestamp,
            source=source or self.source,
            organization_id=self.organization_id,
            trace_parent=self.trace_parent,
            actor_id=self.actor_id,
            meta=self.meta,
        )

    def for_aggregate(self, aggregate_id: str) -> "Metadata":
        """Of a command, once it is known which aggregate it is for."""
        # Every command pays for it, and `evolve` takes three times as long.
        return Metadata(
            message_id=self.message_id,
            message_type=self.message_type,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            timestamp=self.timestamp,
            source=self.source,
            aggregate_id=aggregate_id,
            organization_id=self.organization_id,
            trace_parent=self.trace_parent,
            actor_id=self.actor_id,
            meta=self.meta,
        )

    def stored_at(self, sequence: int) -> "Metadata":
        """The same, once the log has given the event its place."""
        return evolve(self, sequence=sequence)


E_co = TypeVar("E_co", bound=Event, covariant=True)


@frozen
class Recorded(Generic[E_co]):
    """An event with its metadata."""

    event: E_co
    metadata: Metadata

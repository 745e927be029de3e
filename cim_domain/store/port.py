"""The port behind which events are kept. Every adapter passes `cim_domain.testing.store`.

A store knows aggregates by name and id, and events as records: metadata and the bytes of their
JSON. What the bytes mean is the domain's business.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol
from uuid import uuid4

from attrs import frozen

from cim_domain.errors import Conflict
from cim_domain.model.records import EventRecord
from cim_domain.partition import PARTITIONS


@frozen
class Position:
    """How far an aggregate's history is known: its number of events, and the last one's sequence.

    The sequence is the event's place in the log of the whole domain.
    """

    version: int
    sequence: int


CORRUPT_HISTORY = "corrupt_history"
"""The code of the error for events that are lost or at odds with one another."""

START = Position(0, 0)
"""Before the first event of an aggregate."""


@frozen
class Commit:
    """Events to be added to one aggregate, if nothing was added to it since `expected`.

    The events are at least one, and carry the versions that follow `expected.version`.
    """

    aggregate: str
    aggregate_id: str
    expected: Position
    events: tuple[EventRecord, ...]

    @property
    def size(self) -> int:
        """Bytes of the events' JSON."""
        return sum(len(event.data) for event in self.events)


@frozen
class LogIdentity:
    """Which log this is. Made with the log; what is derived from a log can name it."""

    log_id: str
    """A UUID."""
    partitions: int
    """Over how many its aggregates are spread; see `cim_domain.partition`."""

    @classmethod
    def new(cls, partitions: int = PARTITIONS) -> "LogIdentity":
        """Of a log that is about to be made."""
        return cls(str(uuid4()), partitions)


@frozen
class Slice:
    """Part of the log, in order. `head` is the log's last sequence as far as the reader knows."""

    records: tuple[EventRecord, ...]
    head: int


@frozen
class Limits:
    """What one append may hold."""

    events: int = 1000
    """In all commits together."""
    commit_bytes: int = 4 * 1024 * 1024
    """The JSON of the events beyond which no further commit should go with others. One commit may
    have more: it is stored as a whole, or not at all."""
    event_bytes: int = 1_000_000
    """The JSON of one event."""


class StoreConflict(Conflict):
    """An aggregate has other events than expected; nothing was stored.

    `refused` holds the ids of the aggregates concerned; none where the log has an event with such
    an id already, in another aggregate or elsewhere in this one.
    """

    def __init__(self, message: str, refused: Sequence[str]) -> None:
        super().__init__(message, details={"aggregates": list(refused)})
        self.refused = tuple(refused)


class Log(Protocol):
    """What can be followed."""

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """The log from behind a sequence, and then on as it grows; never ends by itself.

        The first slice is empty: it says where the log's head is. While the server is away it
        waits and goes on afterwards. No event is left out: at one that has been lost it raises
        `Failed` (``corrupt_history``), whose details name the `sequence`.
        """

    async def event_at(self, sequence: int) -> str | None:
        """The id of the event at a place of the log; None where there is none.

        By it what was derived from a log is known to be of this one, which may have been brought
        back from an older copy and have gone on in another way. Raises `Unavailable`, and `Failed`
        (``corrupt_history``) where the event has been lost.
        """


class EventStore(Log, Protocol):
    """The log of a domain."""

    @property
    def limits(self) -> Limits:
        """What one append may hold."""

    async def identity(self) -> LogIdentity:
        """Which log this is; the same for as long as it lives.

        Raises `Unavailable`, as all do with code ``other_log`` where another log has come into its
        place since, and `Failed` (``another_log``) for what the kit has not made.
        """

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """Store all the commits, or none; give each aggregate's position after it.

        The commits are of different aggregates. Storing the same events again stores nothing and
        gives the same positions. The events of a commit follow one another in the log.

        Raises `StoreConflict` where an aggregate has other events than expected, `Failed` (codes
        ``too_many_events``, ``too_large``) for what exceeds the limits, and `Unavailable` where it
        stayed unknown, all retries made, whether the events were stored.
        """

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """The events of an aggregate that follow a position, in order and without a gap.

        Raises `Unavailable`, and `Failed`: ``another_log`` where the aggregate has fewer events
        than the position says, ``corrupt_history`` where their versions do not follow one another
        or some have been lost.
        """

    def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        """The log from behind a sequence up to another, which there is already, or to its end as it
        is now. Raises `Unavailable`, and `Failed` at an event that has been lost, as `follow` does.
        """

    async def first_lost(self) -> int | None:
        """The sequence of the first event that is known to have been lost; None: the log is whole,
        as far as is known. Raises `Unavailable`.
        """

    async def head(self) -> int:
        """The sequence of the last event; 0 while there is none. Raises `Unavailable`."""

    async def types(self) -> Mapping[str, int]:
        """How many events there are of each type, in about the log as it is now.

        That looks at every aggregate, if not at every event: a second for some 100,000. For a look
        now and then, and for no request. Raises `Unavailable`.
        """

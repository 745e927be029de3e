"""An event store around another one, for those that change one thing about it."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from attrs import define

from cim_domain.model.records import EventRecord
from cim_domain.store.port import START, Commit, EventStore, Limits, LogIdentity, Position, Slice


@define(eq=False)
class EventsAround:
    """An `EventStore` that does what `inner` does."""

    inner: EventStore

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`."""
        return self.inner.limits

    async def identity(self) -> LogIdentity:
        """See `EventStore.identity`."""
        return await self.inner.identity()

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        return await self.inner.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        return await self.inner.load(aggregate, aggregate_id, after)

    def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        return self.inner.read(after, until)

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        return self.inner.follow(after)

    async def event_at(self, sequence: int) -> str | None:
        """See `Log.event_at`."""
        return await self.inner.event_at(sequence)

    async def first_lost(self) -> int | None:
        """See `EventStore.first_lost`."""
        return await self.inner.first_lost()

    async def head(self) -> int:
        """See `EventStore.head`."""
        return await self.inner.head()

    async def types(self) -> Mapping[str, int]:
        """See `EventStore.types`."""
        return await self.inner.types()

"""An event store around another one, for those that change one thing about it."""

from collections.abc import AsyncGenerator, Sequence

from attrs import frozen

from cim_domain.store.port import START, Commit, EventRecord, EventStore, Limits, Position, Slice


@frozen(eq=False)
class EventsAround:
    """An `EventStore` that does what `inner` does."""

    inner: EventStore

    @property
    def limits(self) -> Limits:
        return self.inner.limits

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        return await self.inner.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        return await self.inner.load(aggregate, aggregate_id, after)

    def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        return self.inner.read(after)

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        return self.inner.follow(after)

    async def head(self) -> int:
        return await self.inner.head()

"""Events in memory: for tests, for trying things out, and wherever nothing must be kept."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from cim_domain.store.checks import check_commits, tail_of
from cim_domain.store.port import (
    START,
    Commit,
    EventRecord,
    Limits,
    Position,
    Slice,
    StoreConflict,
)

_SLICE = 1000


class MemoryEvents:
    """An `EventStore` that ends with the process."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._log: list[EventRecord] = []
        self._histories: dict[tuple[str, str], list[EventRecord]] = defaultdict(list)
        self._grown = asyncio.Condition()

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        check_commits(commits, self.limits)
        stored = [self._stored_before(commit) for commit in commits]
        if all(stored):
            return tuple(position for position in stored if position)
        refused = [commit.aggregate_id for commit in commits if self._moved_on(commit)]
        if refused:
            raise StoreConflict("other events were stored meanwhile", refused)
        async with self._grown:
            positions = tuple(self._add(commit) for commit in commits)
            self._grown.notify_all()
        return positions

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        return tuple(self._histories[aggregate, aggregate_id][after.version :])

    async def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        end = len(self._log)
        for start in range(after, end, _SLICE):
            yield Slice(tuple(self._log[start : min(start + _SLICE, end)]), end)

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        position = after
        yield Slice((), len(self._log))
        while True:
            async with self._grown:
                while len(self._log) <= position:
                    await self._grown.wait()
            records = tuple(self._log[position : position + _SLICE])
            position += len(records)
            yield Slice(records, len(self._log))

    async def head(self) -> int:
        """See `EventStore.head`."""
        return len(self._log)

    def _stored_before(self, commit: Commit) -> Position | None:
        history = self._histories[commit.aggregate, commit.aggregate_id]
        return tail_of(commit, history[commit.expected.version :])

    def _moved_on(self, commit: Commit) -> bool:
        history = self._histories[commit.aggregate, commit.aggregate_id]
        sequence = history[-1].metadata.sequence if history else 0
        return sequence != commit.expected.sequence

    def _add(self, commit: Commit) -> Position:
        history = self._histories[commit.aggregate, commit.aggregate_id]
        for event in commit.events:
            record = event.stored_at(len(self._log) + 1)
            self._log.append(record)
            history.append(record)
        return Position(len(history), len(self._log))

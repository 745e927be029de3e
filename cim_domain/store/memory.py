"""Events in memory: for tests, for trying things out, and wherever nothing must be kept."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence

from cim_domain.model.records import EventRecord
from cim_domain.store.checks import check_commits, tail_of
from cim_domain.store.port import START, Commit, Limits, LogIdentity, Position, Slice, StoreConflict

_SLICE = 1000


class MemoryEvents:
    """An `EventStore` that ends with the process."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._identity = LogIdentity.new()
        self._log: list[EventRecord] = []
        self._histories: dict[tuple[str, str], list[EventRecord]] = defaultdict(list)
        self._ids: set[str] = set()
        self._grown = asyncio.Condition()

    async def identity(self) -> LogIdentity:
        """See `EventStore.identity`."""
        return self._identity

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        check_commits(commits, self.limits)
        # The lock may be waited for, so that what was seen before would not hold behind it.
        async with self._grown:
            stored = [self._stored_before(commit) for commit in commits]
            if all(stored):
                return tuple(position for position in stored if position)
            self._refuse_conflicts(commits, stored)
            positions = tuple(self._add(commit) for commit in commits)
            self._grown.notify_all()
        return positions

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        return tuple(self._history(aggregate, aggregate_id)[after.version :])

    async def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        end = len(self._log) if until is None else until
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

    async def event_at(self, sequence: int) -> str | None:
        """See `Log.event_at`."""
        found = self._log[sequence - 1 : sequence] if sequence > 0 else ()
        return found[0].metadata.message_id if found else None

    async def first_lost(self) -> int | None:
        """See `EventStore.first_lost`: memory loses nothing."""
        return None

    async def head(self) -> int:
        """See `EventStore.head`."""
        return len(self._log)

    async def types(self) -> Mapping[str, int]:
        """See `EventStore.types`."""
        return Counter(record.metadata.message_type for record in self._log)

    def _history(self, aggregate: str, aggregate_id: str) -> Sequence[EventRecord]:
        return self._histories.get((aggregate, aggregate_id), ())

    def _stored_before(self, commit: Commit) -> Position | None:
        history = self._history(commit.aggregate, commit.aggregate_id)
        return tail_of(commit, history[commit.expected.version :])

    def _refuse_conflicts(
        self, commits: Sequence[Commit], stored: Sequence[Position | None]
    ) -> None:
        refused = [
            commit.aggregate_id
            for commit, position in zip(commits, stored, strict=True)
            if self._moved_on(commit) and not position
        ]
        if refused:
            raise StoreConflict("other events were stored meanwhile", refused)
        if any(event.metadata.message_id in self._ids for one in commits for event in one.events):
            raise StoreConflict("the log has an event with such an id already", refused)

    def _moved_on(self, commit: Commit) -> bool:
        history = self._history(commit.aggregate, commit.aggregate_id)
        sequence = history[-1].metadata.sequence if history else 0
        return Position(len(history), sequence) != commit.expected

    def _add(self, commit: Commit) -> Position:
        history = self._histories[commit.aggregate, commit.aggregate_id]
        for event in commit.events:
            record = event.stored_at(len(self._log) + 1)
            self._log.append(record)
            self._ids.add(record.metadata.message_id)
            history.append(record)
        return Position(len(history), len(self._log))

"""Group commit: commits that wait together ride in one atomic batch, where that is faster.

Whether it is depends on the server: with an fsync for every message, one batch for many commits
wins; without, plain publishes side by side do. So both are tried under load, and the faster one is
used, until it is time to try again. A commit that is alone never waits for others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from enum import Enum

from attrs import define, field, frozen

from cim_domain.errors import Unavailable
from cim_domain.store.port import (
    START,
    Commit,
    EventRecord,
    EventStore,
    Limits,
    Position,
    Slice,
)


class Mode(Enum):
    """How commits are sent."""

    PLAIN = "plain"
    GROUPED = "grouped"


@define
class Grouping:
    """The policy: which mode to use, learnt from what each has cost. Pure; times are handed in.

    Commits are counted in epochs of `epoch`. While at least `depth` commits are under way, an epoch
    measures its mode: seconds for each commit. After both were measured, the cheaper is used for
    `repeat` epochs before the other is tried again.
    """

    depth: int = 8
    epoch: int = 128
    repeat: int = 60
    mode: Mode = Mode.PLAIN
    cost: dict[Mode, float] = field(factory=dict)
    _began: float | None = None
    _done: int = 0
    _epochs: int = 0
    _settling: int = 0

    def choose(self, under_way: int) -> Mode:
        """The mode for the next commit, when so many are under way, this one included."""
        if under_way < self.depth:
            self._began = None
            return Mode.PLAIN
        return self.mode

    def completed(self, number: int, now: float, under_way: int) -> None:
        """Take note of commits that were stored at `now`, in seconds of any clock."""
        if under_way < self.depth:
            self._began = None
            return
        if self._settling > 0:
            # Sent in the mode before, so they tell nothing about this one.
            self._settling -= number
            return
        if self._began is None:
            self._began, self._done = now, 0
            return
        self._done += number
        if self._done >= self.epoch:
            self._measured((now - self._began) / self._done, under_way)
            self._began = None

    def _measured(self, seconds: float, under_way: int) -> None:
        before = self.cost.get(self.mode, seconds)
        self.cost[self.mode] = (before + seconds) / 2
        self._epochs += 1
        other = Mode.GROUPED if self.mode is Mode.PLAIN else Mode.PLAIN
        unknown = other not in self.cost
        if unknown or self._epochs >= self.repeat or self.cost[other] < self.cost[self.mode]:
            self._switch(other, under_way)

    def _switch(self, mode: Mode, under_way: int) -> None:
        self.mode = mode
        self._epochs = 0
        self._settling = under_way


@frozen
class GroupLimits:
    """What one group may hold. It is never held back to fill it."""

    events: int = 500
    data: int = 4 * 1024 * 1024
    """Bytes of the events' JSON."""
    side_by_side: int = 2
    """So many groups may be under way at a time."""


@define
class _Waiting:
    commit: Commit
    stored: asyncio.Future[Position]

    @property
    def events(self) -> int:
        return len(self.commit.events)

    @property
    def data(self) -> int:
        return sum(len(event.data) for event in self.commit.events)


class GroupingEvents:
    """An `EventStore` that sends commits in groups where that pays; the rest is `inner`'s."""

    def __init__(
        self,
        inner: EventStore,
        policy: Grouping | None = None,
        limits: GroupLimits | None = None,
    ) -> None:
        self._inner = inner
        self._policy = policy or Grouping()
        self._group = limits or GroupLimits()
        self._waiting: deque[_Waiting] = deque()
        self._groups: set[asyncio.Task[None]] = set()
        self._under_way = 0

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`."""
        return self._inner.limits

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        if len(commits) != 1:
            return await self._inner.append(commits)
        self._under_way += 1
        try:
            if self._policy.choose(self._under_way) is Mode.PLAIN:
                stored = await self._inner.append(commits)
            else:
                stored = (await self._in_group(commits[0]),)
            self._policy.completed(1, asyncio.get_running_loop().time(), self._under_way)
            return stored
        finally:
            self._under_way -= 1

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        return await self._inner.load(aggregate, aggregate_id, after)

    def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        return self._inner.read(after)

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        return self._inner.follow(after)

    async def head(self) -> int:
        """See `EventStore.head`."""
        return await self._inner.head()

    async def _in_group(self, commit: Commit) -> Position:
        waiting = _Waiting(commit, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if len(self._groups) < self._group.side_by_side:
            task = asyncio.create_task(self._send_groups())
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)
        return await waiting.stored

    async def _send_groups(self) -> None:
        while group := self._next_group():
            try:
                positions = await self._inner.append([waiting.commit for waiting in group])
            except Unavailable as error:
                # Unknown for all alike; one by one it would only take longer to find out.
                for waiting in group:
                    _fail(waiting, error)
            except Exception as error:  # noqa: BLE001 - nobody may be left waiting
                if len(group) == 1:
                    _fail(group[0], error)
                else:
                    # One commit's fault; the others are stored without it.
                    await asyncio.gather(*(self._alone(waiting) for waiting in group))
            else:
                for waiting, position in zip(group, positions, strict=True):
                    _give(waiting, position)

    def _next_group(self) -> list[_Waiting]:
        """The commits that waited longest, of different aggregates, as many as a group may hold."""
        group: list[_Waiting] = []
        events = data = 0
        names: set[tuple[str, str]] = set()
        while self._waiting:
            first = self._waiting[0]
            name = (first.commit.aggregate, first.commit.aggregate_id)
            full = (
                events + first.events > self._group.events or data + first.data > self._group.data
            )
            if group and (full or name in names):
                break
            group.append(self._waiting.popleft())
            events += first.events
            data += first.data
            names.add(name)
        return group

    async def _alone(self, waiting: _Waiting) -> None:
        try:
            (position,) = await self._inner.append([waiting.commit])
        except Exception as error:  # noqa: BLE001 - it is raised where the commit was handed in
            _fail(waiting, error)
        else:
            _give(waiting, position)


def _give(waiting: _Waiting, position: Position) -> None:
    if not waiting.stored.done():
        waiting.stored.set_result(position)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(error)

"""Group commit: commits that wait together ride in one atomic batch, where that is faster.

Whether it is, `cim_domain.store.commit_policy` finds out. A commit that is alone never waits.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic

from attrs import define, frozen

from cim_domain.errors import Busy, Unavailable
from cim_domain.store.commit_policy import Grouping, Mode
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import (
    Commit,
    EventStore,
    Position,
)


@frozen
class GroupLimits:
    """What one group may hold, if `Limits` of the store allow as much. It is never held back to
    fill it.
    """

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
    def name(self) -> tuple[str, str]:
        return self.commit.aggregate, self.commit.aggregate_id

    @property
    def events(self) -> int:
        return len(self.commit.events)

    @property
    def data(self) -> int:
        return sum(len(event.data) for event in self.commit.events)


class GroupingEvents(EventsAround):
    """An `EventStore` that sends commits in groups where that pays; the rest is `inner`'s."""

    def __init__(
        self,
        inner: EventStore,
        policy: Grouping | None = None,
        limits: GroupLimits | None = None,
    ) -> None:
        super().__init__(inner)
        self._policy = policy or Grouping()
        self._group = limits or GroupLimits()
        self._waiting: deque[_Waiting] = deque()
        self._sending: set[tuple[str, str]] = set()
        """The aggregates with a commit in a group that is under way."""
        self._senders: set[asyncio.Task[None]] = set()

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`. A commit whose caller is cancelled while it waits is left out.

        Several commits at once are sent as they are: they are all stored or none is.
        """
        if len(commits) != 1:
            return await self.inner.append(commits)
        if self._policy.begun(monotonic()) is Mode.PLAIN:
            return await self._plain(commits[0])
        waiting = _Waiting(commits[0], asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._start_sending()
        return (await waiting.stored,)

    async def _plain(self, commit: Commit) -> tuple[Position, ...]:
        stored = False
        try:
            positions = await self.inner.append([commit])
            stored = True
        except (Unavailable, Busy):
            self._policy.interrupted()
            raise
        finally:
            self._policy.ended(monotonic(), stored=stored)
        return positions

    def _start_sending(self) -> None:
        if len(self._senders) < self._group.side_by_side:
            task = asyncio.create_task(self._send_groups())
            self._senders.add(task)
            task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        # Handed in since it last looked; or it was cancelled, be it by what the store raised.
        if any(self._can_be_sent(waiting) for waiting in self._waiting):
            self._start_sending()

    def _can_be_sent(self, waiting: _Waiting) -> bool:
        return not waiting.stored.done() and waiting.name not in self._sending

    async def _send_groups(self) -> None:
        # Each is taken only now, so that it holds what was handed in during a turn of the loop.
        while group := self._next_group():
            try:
                await self._send(group)
            finally:
                self._sending.difference_update(waiting.name for waiting in group)

    async def _send(self, group: Sequence[_Waiting]) -> None:
        try:
            positions = await self.inner.append([waiting.commit for waiting in group])
        except (Unavailable, Busy) as error:
            # The same for all of them; one by one it would only take longer to find out.
            self._policy.interrupted()
            self._fail(group, error)
        except Exception as error:  # noqa: BLE001 - it is raised where the commit was handed in
            if len(group) == 1:
                self._fail(group, error)
            else:
                # One commit's fault; the others are stored without it.
                await asyncio.gather(*(self._send([waiting]) for waiting in group))
        except BaseException:
            self._fail(group, None)
            raise
        else:
            self._policy.ended(monotonic(), len(group))
            for waiting, position in zip(group, positions, strict=True):
                if not waiting.stored.done():
                    waiting.stored.set_result(position)

    def _fail(self, group: Sequence[_Waiting], error: Exception | None) -> None:
        """Have the error raised where the commits were handed in; None: they are cancelled."""
        self._policy.ended(monotonic(), len(group), stored=False)
        for waiting in group:
            if error is None:
                waiting.stored.cancel()
            elif not waiting.stored.done():
                waiting.stored.set_exception(error)

    def _next_group(self) -> list[_Waiting]:
        """The commits that waited longest, as many as a group may hold; each aggregate's in turn.

        One of an aggregate that has a commit under way would only meet a conflict, or win against
        it, where that is sent again alone.
        """
        most = min(self._group.events, self.inner.limits.events)
        group: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        events = data = 0
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.stored.done():
                # Its caller has left, and nobody has seen it yet.
                self._policy.ended(monotonic(), stored=False)
                continue
            if waiting.name in self._sending:
                left.append(waiting)
                continue
            if group and (events + waiting.events > most or data + waiting.data > self._group.data):
                left.append(waiting)
                break
            group.append(waiting)
            self._sending.add(waiting.name)
            events += waiting.events
            data += waiting.data
        self._waiting.extendleft(reversed(left))
        return group

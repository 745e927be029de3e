"""Group commit: commits that wait together ride in one atomic batch, by a fixed rule.

On a server batches do not run side by side, and each costs the same few milliseconds whatever its
size. So commits of several events, which are batches anyway, ride together; and so do those of one
event where many are under way: few of them are faster side by side, each by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from attrs import define

from cim_domain.errors import Busy, Unavailable
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import Commit, EventStore, Position, StoreConflict

PLAIN = 32
"""While fewer are under way, a commit of a single event goes by itself."""

GROUPS = 2
"""So many groups are under way at a time: one that the server stores, one on its way there."""


@define(eq=False)
class _Waiting:
    commit: Commit
    size: int
    stored: asyncio.Future[Position]

    @property
    def name(self) -> tuple[str, str]:
        return self.commit.aggregate, self.commit.aggregate_id


class GroupingEvents(EventsAround):
    """An `EventStore` that sends commits in groups, as large as `inner.limits` allow.

    A single event goes by itself while fewer than `plain` are under way, and no more bytes than a
    group may have. A group is never held back to fill it. `under_way` says how many are: without
    it, the commits that were handed in; but of many commands the most are on their way here, or
    back.
    """

    def __init__(
        self,
        inner: EventStore,
        plain: int = PLAIN,
        groups: int = GROUPS,
        under_way: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(inner)
        self._plain = plain
        self._groups = groups
        self._waiting: deque[_Waiting] = deque()
        self._sending: set[tuple[str, str]] = set()
        """The aggregates with a commit in a group that is under way."""
        self._senders: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._all_under_way = under_way or (lambda: self._under_way)
        self._bytes = 0

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`. A commit whose caller is cancelled while it waits is left out.

        Several commits at once are sent as they are: they are all stored or none is.
        """
        if len(commits) != 1:
            return await self.inner.append(commits)
        (commit,) = commits
        size = commit.size
        alone = (
            len(commit.events) == 1
            and self._all_under_way() < self._plain
            and self._bytes + size <= self.inner.limits.commit_bytes
        )
        self._under_way += 1
        self._bytes += size
        try:
            if alone:
                return await self.inner.append(commits)
            waiting = _Waiting(commit, size, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            self._start_sending()
            return (await waiting.stored,)
        finally:
            self._under_way -= 1
            self._bytes -= size

    def _start_sending(self) -> None:
        if len(self._senders) < self._groups:
            task = asyncio.create_task(self._send_groups())
            self._senders.add(task)
            task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        # Handed in since it last looked; or it was cancelled, be it by what the store raised.
        if any(not one.stored.done() and one.name not in self._sending for one in self._waiting):
            self._start_sending()

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
        except Exception as error:  # noqa: BLE001 - it is raised where the commit was handed in
            for others in _without_guilty(group, error):
                await self._send(others)
        except BaseException:
            for waiting in group:
                waiting.stored.cancel()
            raise
        else:
            for waiting, position in zip(group, positions, strict=True):
                if not waiting.stored.done():
                    waiting.stored.set_result(position)

    def _next_group(self) -> list[_Waiting]:
        """The commits that waited longest, as many as a group may hold; each aggregate's in turn.

        One of an aggregate that has a commit under way would only meet a conflict, or win against
        it, where that is sent again without others.
        """
        limits = self.inner.limits
        group: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        events = data = 0
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.stored.done():
                # Its caller has left, and nobody has seen it yet.
                continue
            if waiting.name in self._sending:
                left.append(waiting)
                continue
            events += len(waiting.commit.events)
            data += waiting.size
            if group and (events > limits.events or data > limits.commit_bytes):
                left.append(waiting)
                break
            group.append(waiting)
            self._sending.add(waiting.name)
        self._waiting.extendleft(reversed(left))
        return group


def _without_guilty(group: Sequence[_Waiting], error: Exception) -> list[Sequence[_Waiting]]:
    """Have the error raised for those it concerns; the others, as they are to be sent again."""
    guilty = group
    if len(group) > 1 and not isinstance(error, (Unavailable, Busy)):
        if not isinstance(error, StoreConflict) or not error.refused:
            # One commit's fault, and nobody says whose.
            return [group[: len(group) // 2], group[len(group) // 2 :]]
        guilty = [one for one in group if one.commit.aggregate_id in error.refused] or group
    concerned = set(guilty)
    for waiting in concerned:
        if not waiting.stored.done():
            waiting.stored.set_exception(_of_one(error, waiting.commit.aggregate_id))
    rest = [waiting for waiting in group if waiting not in concerned]
    return [rest] if rest else []


def _of_one(error: Exception, aggregate_id: str) -> Exception:
    if isinstance(error, StoreConflict) and len(error.refused) > 1:
        return StoreConflict(error.message, [aggregate_id])
    return error

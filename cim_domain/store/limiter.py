"""No more appends and loads under way than the server answers in time.

What waits for its answer among thousands hears nothing in time, is sent again, and makes the others
wait longer still. So the rest wait here, where nothing of them has been sent.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType

from attrs import field, frozen

from cim_domain.errors import Busy
from cim_domain.model.records import EventRecord
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import START, Commit, EventStore, Position

UNDER_WAY = 256
"""More are not faster on any server; one that does 130 a second answers these within 2 s."""


@frozen
class Turns:
    """So many at a time, first come, first served; who waits too long in vain gets `Busy`.

    `what` is the thing that has no time, as a sentence names it.
    """

    number: int
    patience: float
    what: str
    _free: asyncio.Semaphore = field(init=False)

    @_free.default
    def _all(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.number)

    async def __aenter__(self) -> None:
        if not self._free.locked():
            # Without the cost of a time-out, which every append would pay.
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self.patience):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(
                f"{self.what} has had no time for it in {self.patience:g} s, and nothing was"
                " stored; send it again later"
            ) from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free.release()


class LimitedEvents(EventsAround):
    """An `EventStore` with so many appends, and loads, under way at most; the rest is `inner`'s.

    One that could not begin within `patience` seconds raises `Busy`.
    """

    def __init__(self, inner: EventStore, patience: float, under_way: int = UNDER_WAY) -> None:
        super().__init__(inner)
        self._appends = Turns(under_way, patience, "the event store")
        self._loads = Turns(under_way, patience, "the event store")

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`. Raises `Busy`, too: nothing was stored then."""
        async with self._appends:
            return await self.inner.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`. Raises `Busy`, too."""
        async with self._loads:
            return await self.inner.load(aggregate, aggregate_id, after)

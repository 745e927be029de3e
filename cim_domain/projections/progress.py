"""How far a projection has read the log, and who waits until it has read further."""

import asyncio
from contextlib import suppress

from cim_domain.errors import Unavailable


class Progress:
    """The position of a projection's views, and those who wait for it. Both are sequences."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._position = 0
        self._head = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._waited_for = asyncio.Event()

    @property
    def position(self) -> int:
        """The sequence of the last event that the views have taken in."""
        return self._position

    @property
    def head(self) -> int:
        """The end of the log, as far as it is known: the views may be ahead of that."""
        return self._head

    @property
    def behind(self) -> bool:
        """Whether the log is known to hold more than the views have taken in."""
        return self.head > self._position

    def see(self, head: int) -> None:
        """Learn how far the log goes."""
        self._head = max(self._head, head)

    def start_at(self, position: int) -> None:
        """Begin with other views, which may well have read less than those before."""
        self._position = position
        self._wake()

    def move_to(self, position: int) -> None:
        """Say how far the views are now; never back."""
        self._position = max(self._position, position)
        self._wake()

    async def reached(self, sequence: int, seconds: float) -> None:
        """Wait until the views have taken in the event at `sequence`.

        Raises `Unavailable` (``behind``) when that takes longer than `seconds`.
        """
        if self._position >= sequence:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (sequence, arrived)
        self._waiting.append(entry)
        self._waited_for.set()
        try:
            async with asyncio.timeout(seconds):
                await arrived
        except TimeoutError:
            raise still_behind(self._name, self._position, sequence, seconds) from None
        finally:
            with suppress(ValueError):
                self._waiting.remove(entry)

    async def rest(self, seconds: float) -> None:
        """Return after so long; at once where somebody waits, or begins to."""
        if self._waiting:
            return
        self._waited_for.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waited_for.wait()

    def _wake(self) -> None:
        for sequence, arrived in self._waiting:
            if sequence <= self._position and not arrived.done():
                arrived.set_result(None)


def still_behind(name: str, sequence: int, min_sequence: int, seconds: float) -> Unavailable:
    """The error of views that have not read far enough within the time for it."""
    return Unavailable(
        f"the views of {name} have read up to {sequence}, not to {min_sequence}, within"
        f" {seconds:g} s",
        code="behind",
        details={"sequence": sequence, "min_sequence": min_sequence},
    )

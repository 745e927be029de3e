"""Whether a process lives and whether it is ready, as those ask who start and stop processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from time import monotonic

from attrs import define, field

from cim_domain.integrations.http_pages import Page, Pages

BEAT = 0.5
"""Seconds between two signs of life of the event loop."""

SILENCE = 10.0
"""Seconds without one after which a process does not live any more: something holds its loop up."""


@define(eq=False)
class Probes:
    """``/livez`` and ``/readyz``: 200 or 503. Asked from any thread."""

    _beat: float | None = field(default=None, init=False)
    _missing: Callable[[], str | None] | None = field(default=None, init=False)

    @property
    def pages(self) -> Pages:
        """The pages by their paths."""
        return {"/livez": self._live, "/readyz": self._ready}

    @asynccontextmanager
    async def of(self, missing: Callable[[], str | None]) -> AsyncIterator[None]:
        """Tell of what runs in this event loop until the block ends; then it is not ready any more.

        `missing` says what it lacks to be ready; None: nothing.
        """
        beating = asyncio.create_task(self._live_on())
        self._missing = missing
        try:
            yield
        finally:
            self._missing = None
            beating.cancel()
            await asyncio.wait([beating])
            self._beat = None

    async def _live_on(self) -> None:
        while True:
            self._beat = monotonic()
            await asyncio.sleep(BEAT)

    def _live(self) -> Page:
        beat = self._beat
        if beat is not None and monotonic() - beat > SILENCE:
            return _poor(f"the event loop has been held up for {monotonic() - beat:.0f} s")
        return _WELL

    def _ready(self) -> Page:
        missing = self._missing
        why = "it is starting or ending" if missing is None else missing()
        return _WELL if why is None else _poor(why)


_WELL = Page(b"ok\n")


def _poor(why: str) -> Page:
    return Page(f"{why}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)

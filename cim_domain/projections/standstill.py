"""A projection that is stopped at an event, and who asks it to try that one again."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from cim_domain.errors import Failed, RequestError


class Standstill:
    """Where a projection is stopped, if it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._at: int | None = None
        self._asked: asyncio.Future[None] | None = None

    @property
    def asked(self) -> bool:
        """Whether somebody waits for it to go on."""
        return self._asked is not None and not self._asked.done()

    def stop(self, sequence: int, error: RequestError) -> None:
        """Be stopped at an event, and say why to whoever has asked."""
        self._at = sequence
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)

    def go_on(self) -> None:
        """Be stopped no more."""
        self._at = None

    async def retry(self, sequence: int, reached: Coroutine[Any, Any, None]) -> None:
        """Ask, and return when `reached` does.

        Raises the error that stops it again; `Failed` (``stopped_before``) while it is stopped at
        an earlier event than the one at `sequence`; and what `reached` raises.
        """
        if self._at is not None and self._at < sequence:
            reached.close()
            raise Failed(
                f"the projection {self._name} is stopped at event {self._at}, which comes before"
                f" {sequence}: replay that one first",
                code="stopped_before",
                details={"sequence": self._at},
            )
        asked = self._asked = asyncio.get_running_loop().create_future()
        arriving = asyncio.create_task(reached)
        try:
            await asyncio.wait([arriving, asked], return_when=asyncio.FIRST_COMPLETED)
            await (asked if asked.done() else arriving)
        finally:
            self._asked = None
            arriving.cancel()
            await asyncio.wait([arriving])

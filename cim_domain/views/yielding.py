"""Long work on the event loop, a part at a time, with everything else that waits in between."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

T = TypeVar("T")

PART = 500
"""Rows looked at in one turn of the event loop: well under a millisecond."""


class Turns:
    """Has those that have much to look at do so one after another.

    Side by side they would each take a part in every turn, and the turn would be as long again.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def parts(self, rows: Sequence[T]) -> AsyncGenerator[Sequence[T], None]:
        """All rows in parts, each in a turn of its own; few of them at once."""
        if len(rows) <= PART:
            yield rows
            return
        async with self._one:
            for start in range(0, len(rows), PART):
                yield rows[start : start + PART]
                await asyncio.sleep(0)

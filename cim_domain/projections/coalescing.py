"""Slices of the log put together while there are more to come: fewer and larger transactions.

What the log gives at once is what has arrived since, which while a projection catches up is little,
and a view that several events of a transaction change is read and written once for all of them.
"""

import asyncio
from collections.abc import AsyncGenerator

from cim_domain.model.records import EventRecord
from cim_domain.store.port import Slice

TOGETHER = 1000
"""Records that are enough for one slice."""

TOGETHER_BYTES = 4 * 1024 * 1024
"""Bytes of events that are enough for one."""

PATIENCE = 0.02
"""Seconds that are waited for more, each time, though the log is known to hold more."""


async def coalesced(
    slices: AsyncGenerator[Slice, None],
    together: int = TOGETHER,
    *,
    wake: asyncio.Event | None = None,
    idle: float | None = None,
) -> AsyncGenerator[Slice, None]:
    """The same records in slices that are as large as can be without waiting.

    Where nothing has come for `idle` seconds, or somebody has set `wake`, which is cleared then, a
    slice is empty. The caller closes `slices`. Raises what they raise, once it has given all that
    came before.
    """
    records: list[EventRecord] = []
    size = head = 0
    wake = wake or asyncio.Event()
    coming: asyncio.Task[Slice | None] | None = None
    waking = asyncio.create_task(wake.wait())
    try:
        while True:
            coming = coming or asyncio.create_task(_next(slices))
            if records:
                await asyncio.wait([coming], timeout=PATIENCE)
            else:
                await asyncio.wait(
                    [coming, waking], timeout=idle, return_when=asyncio.FIRST_COMPLETED
                )
                if waking.done():
                    wake.clear()
                    waking = asyncio.create_task(wake.wait())
            if coming.done() and not (records and _failed(coming)):
                part = await coming
                coming = None
                if part is None:
                    break
                head = part.head
                records += part.records
                size += sum(len(record.data) for record in part.records)
                full = len(records) >= together or size >= TOGETHER_BYTES
                if records and not full and records[-1].metadata.sequence < head:
                    continue
            yield Slice(tuple(records), head)
            records, size = [], 0
        if records:
            yield Slice(tuple(records), head)
    finally:
        ending = [task for task in (coming, waking) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)


def _failed(coming: asyncio.Task[Slice | None]) -> bool:
    return coming.cancelled() or coming.exception() is not None


async def _next(slices: AsyncGenerator[Slice, None]) -> Slice | None:
    return await anext(slices, None)

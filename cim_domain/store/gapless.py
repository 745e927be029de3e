"""A reading of the log that leaves out nothing: it fetches what does not come, or ends there."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from cim_domain.errors import Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.store.port import Slice

STALLED = 1.0
"""Seconds without the next event, where the log is known to have it, until it is looked for."""

EventAt = Callable[[int], Awaitable[EventRecord | None]]
"""The event at a place; None where the log does not go that far. Raises where it has been lost."""


async def gapless(
    slices: AsyncGenerator[Slice, None], after: int, event_at: EventAt
) -> AsyncGenerator[Slice, None]:
    """The same events from behind a sequence, each with the next sequence.

    The caller closes `slices`. Raises what they and `event_at` raise, once it has given all events
    before.
    """
    position, head = after, 0
    async with aclosing(_or_stalled(slices, lambda: position < head)) as parts:
        async for part in parts:
            if part is None:
                found = await event_at(position + 1)
                if found is None:
                    # What was told of the log's end was not so.
                    head = position
                    continue
                position += 1
                yield Slice((found,), head)
                continue
            # A slice with events says what is still to come, which of lost ones is less.
            head = max(head, part.head) if part.records else part.head
            if _follows(part, position):
                position += len(part.records)
                yield part
                continue
            for record in part.records:
                while position + 1 < record.metadata.sequence:
                    yield Slice((await _required(event_at, position + 1),), head)
                    position += 1
                if position < record.metadata.sequence:
                    position += 1
                    yield Slice((record,), head)


def _follows(part: Slice, position: int) -> bool:
    """Whether a slice has nothing, or all that comes right behind a position."""
    if not part.records:
        return True
    first, last = part.records[0].metadata.sequence, part.records[-1].metadata.sequence
    return first == position + 1 and last == position + len(part.records)


async def _required(event_at: EventAt, sequence: int) -> EventRecord:
    found = await event_at(sequence)
    if found is None:
        raise Unavailable(f"event {sequence} cannot be had now, and later ones can", code="behind")
    return found


async def _or_stalled(
    slices: AsyncGenerator[Slice, None], waits: Callable[[], bool]
) -> AsyncGenerator[Slice | None, None]:
    """The slices, and None each time that one has not come for a while though it is waited for."""
    coming: asyncio.Task[Slice | None] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(slices))
            await asyncio.wait([coming], timeout=STALLED if waits() else None)
            if not coming.done():
                yield None
                continue
            part, coming = await coming, None
            if part is None:
                return
            yield part
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])


async def _next(slices: AsyncGenerator[Slice, None]) -> Slice | None:
    return await anext(slices, None)

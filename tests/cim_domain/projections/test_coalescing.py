"""Slices put together: the same records, in fewer slices, and nobody waits for long."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from cim_domain.errors import Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.projections.coalescing import TOGETHER_BYTES, coalesced
from cim_domain.store.port import Slice
from cim_domain.testing.records import commit, new_id


def record(sequence: int, data: bytes = b"{}") -> EventRecord:
    made = commit(new_id()).events[0]
    return EventRecord(made.metadata.stored_at(sequence), data)


def part(first: int, last: int, head: int, data: bytes = b"{}") -> Slice:
    return Slice(tuple(record(number, data) for number in range(first, last + 1)), head)


class Source:
    """Slices as they are put in; an error put in is raised, None ends them."""

    def __init__(self, *parts: Slice | Exception | None) -> None:
        self.parts: asyncio.Queue[Slice | Exception | None] = asyncio.Queue()
        self.closed = False
        for one in parts:
            self.parts.put_nowait(one)

    async def slices(self) -> AsyncGenerator[Slice, None]:
        try:
            while (one := await self.parts.get()) is not None:
                if isinstance(one, Exception):
                    raise one
                yield one
        finally:
            self.closed = True


def places(found: Slice) -> list[int]:
    return [one.metadata.sequence for one in found.records]


async def test_slices_are_put_together_until_they_are_enough_or_the_end_is_reached() -> None:
    source = Source(
        Slice((), 9), part(1, 2, 9), part(3, 4, 9), part(5, 6, 9), part(7, 9, 9), part(10, 10, 10)
    )
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices, 5)) as larger:
        assert await anext(larger) == Slice((), 9)
        assert [places(await anext(larger)) for _ in range(3)] == [
            [1, 2, 3, 4, 5, 6],
            [7, 8, 9],
            [10],
        ]


async def test_so_many_bytes_are_enough() -> None:
    data = b"x" * (TOGETHER_BYTES // 3)
    source = Source(*(part(number, number, 9, data) for number in range(1, 8)))
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices)) as larger:
        assert places(await anext(larger)) == [1, 2, 3, 4]


async def test_what_there_is_comes_though_the_rest_does_not_and_the_rest_comes_later() -> None:
    source = Source(part(1, 2, 9))
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices)) as larger:
        assert places(await anext(larger)) == [1, 2]
        source.parts.put_nowait(part(3, 9, 9))
        assert places(await anext(larger)) == [3, 4, 5, 6, 7, 8, 9]


async def test_the_last_records_come_before_the_end() -> None:
    source = Source(part(1, 2, 9), None)
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices)) as larger:
        assert [places(one) async for one in larger] == [[1, 2]]


async def test_what_goes_wrong_is_raised_behind_what_came_before() -> None:
    source = Source(part(1, 2, 9), Unavailable("away"))
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices)) as larger:
        assert [one.metadata.sequence for one in (await anext(larger)).records] == [1, 2]
        with pytest.raises(Unavailable, match="away"):
            await anext(larger)


async def test_one_that_is_closed_or_cancelled_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    source = Source(part(1, 2, 9))
    async with aclosing(source.slices()) as slices, aclosing(coalesced(slices)) as larger:
        await anext(larger)
        waiting = asyncio.create_task(_next(larger))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert source.closed
    assert asyncio.all_tasks() == before


async def _next(slices: AsyncGenerator[Slice, None]) -> Slice:
    return await anext(slices)

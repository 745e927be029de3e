"""Long scans of views in memory leave the event loop to others in between."""

import asyncio

from cim_domain.testing.views.conformance import Thing, keep, named, things
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.yielding import PART, Turns


async def test_few_rows_are_one_part_in_one_turn() -> None:
    turns = Turns()
    parts = turns.parts([1, 2, 3])
    assert [part async for part in parts] == [[1, 2, 3]]


async def test_many_rows_come_in_parts_and_others_have_their_turn_in_between() -> None:
    turns, seen, looked = Turns(), 0, 0
    done = asyncio.Event()

    async def others() -> None:
        nonlocal seen
        while not done.is_set():
            seen += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    async for part in turns.parts(range(10 * PART)):
        looked += len(part)
    done.set()
    await beside
    assert looked == 10 * PART
    assert seen >= 9


async def test_two_with_many_rows_take_turns_one_after_the_other() -> None:
    turns = Turns()
    order: asyncio.Queue[str] = asyncio.Queue()

    async def scan(name: str) -> None:
        async for _ in turns.parts(range(3 * PART)):
            order.put_nowait(name)

    await asyncio.gather(scan("a"), scan("b"))
    assert [order.get_nowait() for _ in range(6)] == ["a"] * 3 + ["b"] * 3


async def test_a_long_scan_finds_what_was_there_when_it_began() -> None:
    database = MemoryViews()
    views = await database.open(things())
    number = 3 * PART
    await keep(views, named(*(f"{one:05}" for one in range(number))))
    scan = asyncio.create_task(views.reader(None).count(Thing))
    await asyncio.sleep(0)
    await keep(views, {"late": Thing(name="late")})
    assert await scan == number
    assert await views.reader(None).count(Thing) == number + 1
    await database.close()


async def test_skipping_many_leaves_the_loop_to_others_as_looking_at_them_does() -> None:
    database = MemoryViews()
    views = await database.open(things())
    number = 20 * PART
    await keep(views, named(*(f"{one:05}" for one in range(number))))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    for descending in (False, True):
        turns = 0
        page = await views.reader(None).find(
            Thing, order_by="name", skip=number - 2, limit=5, descending=descending
        )
        last = [0, 1] if descending else [number - 2, number - 1]
        assert [one.name for one in page.items] == sorted(
            (f"{one:05}" for one in last), reverse=descending
        )
        assert turns >= 2 * number // PART
    beside.cancel()
    await database.close()

"""Events in memory do what every store does."""

import asyncio

import pytest

from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Limits
from cim_domain.testing.records import all_of, commit, following, new_id
from cim_domain.testing.store.conformance import EventStoreConformance


class TestMemoryEvents(EventStoreConformance):
    @pytest.fixture
    def store(self) -> MemoryEvents:
        return MemoryEvents(Limits(events=1000, event_bytes=5000))


async def test_appends_that_wait_for_followers_do_not_overtake_one_another() -> None:
    store = MemoryEvents()
    flake, position = new_id(), START
    stop = asyncio.Event()

    async def follow() -> None:
        async with following(store) as slices:
            async for _ in slices:
                if stop.is_set():
                    return

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    for _ in range(30):
        racing = [store.append([commit(flake, position)]) for _ in range(10)]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        won = [one for one in outcomes if isinstance(one, tuple)]
        assert len(won) == 1
        ((position,),) = won
    stop.set()
    await store.append([commit(new_id())])
    await asyncio.gather(*followers)
    assert position.version == 30
    assert len(await all_of(store.read())) == 31

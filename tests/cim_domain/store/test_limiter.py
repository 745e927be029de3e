"""Of appends and loads only so many are under way; the rest wait unsent, and not for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cim_domain.errors import Busy, Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.limiter import LimitedEvents
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, EventStore, Limits, Position
from cim_domain.testing.records import commit, new_id
from cim_domain.testing.store.conformance import EventStoreConformance, PersistentConformance
from tests.cim_domain.faulty import FaultyEvents, away, until


class TestOverMemory(EventStoreConformance):
    @pytest.fixture
    def store(self) -> LimitedEvents:
        return LimitedEvents(MemoryEvents(Limits(events=1000, event_bytes=5000)), 5, under_way=1)


class TestOverJetStream(PersistentConformance):
    @pytest.fixture
    async def store(self, jetstream_events: JetStreamEvents) -> LimitedEvents:
        return LimitedEvents(jetstream_events, 5)

    @pytest.fixture
    async def reopen(
        self, nats_url: str, subjects: Subjects
    ) -> AsyncIterator[Callable[[], Awaitable[EventStore]]]:
        links: list[Link] = []

        async def again() -> EventStore:
            links.append(await Link.open(load_settings(), name="another", url=nats_url))
            return LimitedEvents(JetStreamEvents(links[-1], subjects), 5)

        yield again
        for link in links:
            await link.close()


class Slow(FaultyEvents):
    """Every append and load waits until the way is `clear`."""

    def __init__(self) -> None:
        super().__init__(MemoryEvents())
        self.clear = asyncio.Event()
        self.begun: list[str] = []

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        self.begun.append(aggregate_id)
        await self.clear.wait()
        return await super().load(aggregate, aggregate_id, after)

    def hold(self, aggregate_ids: list[str]) -> None:
        self.gates = dict.fromkeys(aggregate_ids, self.clear)

    @property
    def sent(self) -> list[str]:
        return [one.aggregate_id for one in self.appended]


@pytest.fixture
def slow() -> Slow:
    return Slow()


async def test_so_many_appends_are_under_way_and_the_others_follow_in_order(slow: Slow) -> None:
    store, ids = LimitedEvents(slow, 60, under_way=3), [new_id() for _ in range(9)]
    slow.hold(ids)
    waiting = [asyncio.create_task(store.append([commit(one)])) for one in ids]
    await until(lambda: len(slow.sent) == 3)
    assert await store.head() == 0
    assert slow.sent == ids[:3]
    slow.clear.set()
    await asyncio.gather(*waiting)
    assert slow.sent == ids
    assert await store.head() == 9


async def test_loads_have_a_number_of_their_own(slow: Slow) -> None:
    store, ids = LimitedEvents(slow, 60, under_way=2), [new_id() for _ in range(5)]
    slow.hold(ids)
    appending = [asyncio.create_task(store.append([commit(one)])) for one in ids]
    loading = [asyncio.create_task(store.load("flake", one)) for one in ids]
    await until(lambda: (len(slow.sent), len(slow.begun)) == (2, 2))
    slow.clear.set()
    await asyncio.gather(*appending, *loading)
    assert slow.begun == ids


async def test_one_that_waits_too_long_is_told_that_nothing_was_stored(slow: Slow) -> None:
    store, first, second = LimitedEvents(slow, 0.01, under_way=1), new_id(), new_id()
    slow.hold([first])
    under_way = asyncio.create_task(store.append([commit(first)]))
    await until(lambda: slow.sent == [first])
    with pytest.raises(Busy, match="nothing was stored"):
        await store.append([commit(second)])
    assert slow.sent == [first]
    slow.clear.set()
    await under_way
    assert await store.append([commit(second)]) == (Position(1, 2),)


async def test_one_that_fails_or_is_cancelled_leaves_its_place(slow: Slow) -> None:
    store, ids = LimitedEvents(slow, 60, under_way=1), [new_id() for _ in range(4)]
    slow.before = [away()]
    with pytest.raises(Unavailable):
        await store.append([commit(ids[0])])
    slow.hold([ids[1]])
    under_way = asyncio.create_task(store.append([commit(ids[1])]))
    await until(lambda: len(slow.sent) == 2)
    waiting = asyncio.create_task(store.append([commit(ids[2])]))
    await asyncio.sleep(0)
    for task in (waiting, under_way):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.append([commit(ids[3])]) == (Position(1, 1),)

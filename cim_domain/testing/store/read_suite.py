"""What loading, reading and following must do; part of `cim_domain.testing.store`."""

# ruff: noqa: S101 - tests assert

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cim_domain.model.records import EventRecord
from cim_domain.store.port import START, Commit, EventStore, Position
from cim_domain.testing.records import (
    SOURCE,
    all_of,
    commit,
    event,
    following,
    new_id,
    stored,
    take,
)

MANY = 2500
"""Several slices' worth of events."""


async def fill(store: EventStore, events: int) -> None:
    """Append so many events, to many aggregates."""
    while events:
        some = min(events, store.limits.events)
        await store.append([commit(new_id(), events=some)])
        events -= some


class Loading:
    """The history of one aggregate."""

    async def test_what_was_never_stored_has_no_events(self, store: EventStore) -> None:
        assert await store.load("flake", new_id()) == ()

    async def test_a_whole_history_is_in_order_and_of_one_aggregate(
        self, store: EventStore
    ) -> None:
        flake, position = new_id(), START
        expected: list[EventRecord] = []
        for events in (1, 6, 1, 2):
            await store.append([commit(new_id())])
            part = commit(flake, position, events=events)
            (position,) = await store.append([part])
            expected.extend(stored([part], position.sequence))
        assert await store.load("flake", flake) == tuple(expected)
        assert await store.load("package", flake) == ()

    async def test_a_load_from_a_position_gives_what_follows(self, store: EventStore) -> None:
        (first,) = await store.append([commit(flake := new_id(), events=3)])
        await store.append([commit(new_id(), events=2)])
        rest = commit(flake, first, events=2)
        (last,) = await store.append([rest])
        assert await store.load("flake", flake, first) == stored([rest], last.sequence)
        assert await store.load("flake", flake, last) == ()

    async def test_a_load_sees_all_of_a_commit_or_nothing_of_it(self, store: EventStore) -> None:
        flake, position, each = new_id(), START, 50
        for _ in range(12):
            storing = asyncio.create_task(store.append([commit(flake, position, events=each)]))
            while not storing.done():
                seen = await store.load("flake", flake, position)
                assert len(seen) in {0, each}
                await asyncio.sleep(0)
            (position,) = await storing

    async def test_a_load_sees_all_of_a_commit_also_in_a_group(self, store: EventStore) -> None:
        for _ in range(6):
            group = [commit(new_id(), events=20) for _ in range(5)]
            storing = asyncio.create_task(store.append(group))
            while not storing.done():
                for one in group:
                    assert len(await store.load("flake", one.aggregate_id)) in {0, 20}
                await asyncio.sleep(0)
            await storing

    async def test_all_types_of_events_are_found(self, store: EventStore) -> None:
        flake = new_id()
        events = tuple(event(flake, n, f"flake.action_{n}") for n in range(1, 41))
        many = Commit("flake", flake, START, events)
        await store.append([many])
        assert await store.load("flake", flake) == stored([many], 40)

    async def test_every_field_of_the_metadata_comes_back(self, store: EventStore) -> None:
        flake = new_id()
        full = event(
            flake,
            1,
            data='{"path":"/srv/größe"}'.encode(),
            correlation_id=new_id(),
            causation_id=new_id(),
            timestamp=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
            schema_version=7,
            organization_id="acme-1",
            trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        bare = event(flake, 2, timestamp=datetime(1970, 1, 1, tzinfo=UTC))
        both = Commit("flake", flake, START, (full, bare))
        await store.append([both])
        expected = stored([both], 2)
        assert await store.load("flake", flake) == expected
        assert await all_of(store.read()) == expected
        async with following(store) as slices:
            assert await take(slices, 2) == expected
        assert {record.metadata.source for record in expected} == {SOURCE}

    async def test_a_time_of_another_zone_is_the_same_instant(self, store: EventStore) -> None:
        flake = new_id()
        time = datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=5, minutes=30)))
        await store.append([Commit("flake", flake, START, (event(flake, 1, timestamp=time),))])
        (record,) = await store.load("flake", flake)
        assert record.metadata.timestamp == time

    async def test_a_history_longer_than_a_page_is_whole(self, store: EventStore) -> None:
        flake, position = new_id(), START
        for _ in range(3):
            (position,) = await store.append([commit(flake, position, events=800)])
        versions = [one.metadata.aggregate_version for one in await store.load("flake", flake)]
        assert versions == list(range(1, 2401))

    async def test_loads_beside_appends_are_never_torn(self, store: EventStore) -> None:
        flake = new_id()
        (position,) = await store.append([commit(flake)])

        async def write(position: Position) -> None:
            for events in (1, 3) * 12:
                (position,) = await store.append([commit(flake, position, events=events)])

        writing = asyncio.create_task(write(position))
        while not writing.done():
            await asyncio.sleep(0)
            history = await store.load("flake", flake)
            versions = [one.metadata.aggregate_version for one in history]
            assert versions == list(range(1, len(versions) + 1))
        await writing
        assert len(await store.load("flake", flake)) == 49


class Reading:
    """The log as it is."""

    async def test_an_empty_log_has_head_0_and_no_slices(self, store: EventStore) -> None:
        assert await store.head() == 0
        assert [part async for part in store.read()] == []

    async def test_the_head_is_the_last_sequence(self, store: EventStore) -> None:
        await fill(store, 5)
        assert await store.head() == 5

    async def test_a_long_log_comes_in_order_and_in_slices(self, store: EventStore) -> None:
        await fill(store, MANY)
        slices = [part async for part in store.read()]
        assert len(slices) > 1
        assert {part.head for part in slices} == {MANY}
        sequences = [one.metadata.sequence for part in slices for one in part.records]
        assert sequences == list(range(1, MANY + 1))

    @pytest.mark.parametrize("after", [1, 4, 5, 6, 1000])
    async def test_reading_begins_behind_a_sequence(self, store: EventStore, after: int) -> None:
        await fill(store, 5)
        sequences = [one.metadata.sequence for one in await all_of(store.read(after))]
        assert sequences == list(range(after + 1, 6))

    async def test_reading_ends_where_it_is_told_to(self, store: EventStore) -> None:
        await fill(store, 5)
        for after, until in ((1, 3), (0, 1), (2, 5), (3, 3)):
            records = await all_of(store.read(after, until))
            assert [one.metadata.sequence for one in records] == list(range(after + 1, until + 1))

    async def test_reading_ends_where_the_log_ended_at_the_start(self, store: EventStore) -> None:
        await fill(store, 3)
        sequences = []
        async for part in store.read():
            sequences += [one.metadata.sequence for one in part.records]
            await fill(store, 1)
        assert sequences == [1, 2, 3]

    async def test_events_are_counted_by_their_types(self, store: EventStore) -> None:
        assert await store.types() == {}
        for aggregate, events in (("flake", 6), ("flake", 2), ("package", 1)):
            await store.append([commit(new_id(), events=events, aggregate=aggregate)])
        expected = Counter(one.metadata.message_type for one in await all_of(store.read()))
        assert await store.types() == expected
        assert expected["flake.renamed"] == 3


class Following:
    """The log as it grows."""

    async def test_the_first_slice_tells_the_head(self, store: EventStore) -> None:
        await fill(store, 5)
        async with following(store, 5) as slices:
            first = await anext(slices)
        assert (first.records, first.head) == ((), 5)

    @pytest.mark.parametrize("after", [0, 700, MANY])
    async def test_what_is_there_and_what_comes_later_is_seen_once_and_in_order(
        self, store: EventStore, after: int
    ) -> None:
        await fill(store, MANY)
        async with following(store, after) as slices:
            assert (await anext(slices)).head == MANY
            seen = await take(slices, MANY - after) if after < MANY else ()
            for events in (1, 5, 1, 1200 - 7):
                await fill(store, min(events, 1000))
                seen += await take(slices, min(events, 1000))
        sequences = [one.metadata.sequence for one in seen]
        assert sequences == list(range(after + 1, MANY + 1 + 1007))

    async def test_it_waits_for_what_comes(self, store: EventStore) -> None:
        async with following(store) as slices:
            await anext(slices)
            waiting = asyncio.create_task(take(slices, 1))
            await asyncio.wait([waiting], timeout=0.05)
            assert not waiting.done()
            await store.append([flake := commit(new_id())])
            assert await waiting == stored([flake], 1)

    async def test_from_beyond_the_end_only_what_is_beyond_is_seen(self, store: EventStore) -> None:
        await fill(store, 2)
        async with following(store, 4) as slices:
            assert (await anext(slices)).head == 2
            await fill(store, 4)
            assert [one.metadata.sequence for one in await take(slices, 2)] == [5, 6]

    async def test_several_followers_see_the_same(self, store: EventStore) -> None:
        async with AsyncExitStack() as stack:
            followers = [await stack.enter_async_context(following(store)) for _ in range(5)]
            taking = [asyncio.create_task(take(one, 50)) for one in followers]
            await asyncio.gather(*(store.append([commit(new_id())]) for _ in range(50)))
            seen = await asyncio.gather(*taking)
        assert all(one == seen[0] for one in seen)
        assert [one.metadata.sequence for one in seen[0]] == list(range(1, 51))

    async def test_a_closed_one_is_over_and_the_store_goes_on(self, store: EventStore) -> None:
        async with following(store) as slices:
            await anext(slices)
        with pytest.raises(StopAsyncIteration):
            await anext(slices)
        await fill(store, 1)
        assert await store.head() == 1

    async def test_one_that_is_cancelled_while_it_waits_ends(self, store: EventStore) -> None:
        async with following(store) as slices:
            await anext(slices)
            waiting = asyncio.create_task(take(slices, 1))
            await asyncio.wait([waiting], timeout=0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await fill(store, 1)

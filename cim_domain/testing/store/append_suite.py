"""What appending must do, on whatever store; part of `cim_domain.testing.store`."""

# ruff: noqa: S101 - tests assert

import asyncio

import pytest
from attrs import evolve

from cim_domain.errors import Failed
from cim_domain.model.records import EventRecord
from cim_domain.store.port import START, Commit, EventStore, Position, StoreConflict
from cim_domain.testing.records import all_of, commit, event, new_id, stored


class Appending:
    """One commit, several, and those that must not be stored."""

    async def test_the_first_event_is_version_1_at_sequence_1(self, store: EventStore) -> None:
        assert await store.append([commit(new_id())]) == (Position(1, 1),)

    async def test_an_append_goes_on_from_the_position_before(self, store: EventStore) -> None:
        flake = new_id()
        (first,) = await store.append([commit(flake)])
        assert await store.append([commit(flake, first)]) == (Position(2, 2),)

    async def test_several_events_are_stored_at_once_and_in_order(self, store: EventStore) -> None:
        flake = commit(new_id(), events=7)
        assert await store.append([flake]) == (Position(7, 7),)
        assert await store.load("flake", flake.aggregate_id) == stored([flake], 7)

    async def test_several_aggregates_are_stored_at_once(self, store: EventStore) -> None:
        (seen,) = await store.append([commit(old := new_id(), events=2)])
        commits = [
            commit(new_id()),
            commit(old, seen, events=3),
            commit(new_id(), aggregate="package"),
        ]
        assert await store.append(commits) == (Position(1, 3), Position(5, 6), Position(1, 7))
        assert await all_of(store.read(2)) == stored(commits, 7)

    async def test_one_conflict_among_several_stores_nothing_and_names_the_guilty(
        self, store: EventStore
    ) -> None:
        await store.append([commit(guilty := new_id(), events=2)])
        innocent = new_id()
        with pytest.raises(StoreConflict) as caught:
            await store.append([commit(innocent), commit(guilty), commit(new_id())])
        assert caught.value.refused == (guilty,)
        assert await store.head() == 2
        assert await store.load("flake", innocent) == ()

    @pytest.mark.parametrize("events", [1, 3])
    async def test_a_stale_expectation_is_a_conflict(self, store: EventStore, events: int) -> None:
        flake = new_id()
        (first,) = await store.append([commit(flake)])
        await store.append([commit(flake, first)])
        with pytest.raises(StoreConflict) as caught:
            await store.append([commit(flake, first, events=events)])
        assert caught.value.refused == (flake,)
        assert await store.head() == 2

    @pytest.mark.parametrize("events", [1, 3])
    async def test_an_expectation_ahead_of_the_log_is_a_conflict(
        self, store: EventStore, events: int
    ) -> None:
        flake = new_id()
        (first,) = await store.append([commit(flake)])
        ahead = Position(first.version + 1, first.sequence + 1)
        with pytest.raises(StoreConflict) as caught:
            await store.append([commit(flake, ahead, events=events)])
        assert caught.value.refused == (flake,)
        assert await store.head() == 1

    @pytest.mark.parametrize("events", [1, 3])
    async def test_the_same_version_at_another_place_is_a_conflict(
        self, store: EventStore, events: int
    ) -> None:
        await store.append([commit(new_id())])
        flake = new_id()
        (seen,) = await store.append([commit(flake)])
        elsewhere = Position(seen.version, seen.sequence - 1)
        with pytest.raises(StoreConflict) as caught:
            await store.append([commit(flake, elsewhere, events=events)])
        assert caught.value.refused == (flake,)
        assert await store.head() == 2

    @pytest.mark.parametrize("events", [1, 3])
    async def test_creating_what_exists_is_a_conflict(self, store: EventStore, events: int) -> None:
        await store.append([commit(flake := new_id())])
        with pytest.raises(StoreConflict):
            await store.append([commit(flake, events=events)])
        assert await store.head() == 1

    async def test_aggregates_of_different_kinds_may_share_an_id(self, store: EventStore) -> None:
        one = new_id()
        await store.append([commit(one)])
        assert await store.append([commit(one, aggregate="package")]) == (Position(1, 2),)

    async def test_of_many_concurrent_creations_exactly_one_is_stored(
        self, store: EventStore
    ) -> None:
        flake = new_id()
        commits = [commit(flake, events=1 + number % 2) for number in range(60)]
        outcomes = await asyncio.gather(
            *(store.append([one]) for one in commits), return_exceptions=True
        )
        others = [one for one in enumerate(outcomes) if not isinstance(one[1], StoreConflict)]
        assert len(others) == 1, others
        won, outcome = others[0]
        events = len(commits[won].events)
        assert outcome == (Position(events, events),)
        assert await all_of(store.read()) == stored([commits[won]], events)

    async def test_concurrent_appends_to_different_aggregates_are_all_stored(
        self, store: EventStore
    ) -> None:
        commits = [commit(new_id(), events=1 + number % 3) for number in range(90)]
        positions = await asyncio.gather(*(store.append([one]) for one in commits))
        log = await all_of(store.read())
        assert [record.metadata.sequence for record in log] == list(range(1, len(log) + 1))
        for one, (position,) in zip(commits, positions, strict=True):
            start = position.sequence - position.version
            assert log[start : position.sequence] == stored([one], position.sequence)


class Repeating:
    """The same events again: stored once, the positions told once more."""

    @pytest.mark.parametrize("events", [1, 4])
    async def test_a_repeated_append_stores_nothing(self, store: EventStore, events: int) -> None:
        flake = commit(new_id(), events=events)
        positions = await store.append([flake])
        assert await store.append([flake]) == positions == (Position(events, events),)
        assert await store.head() == events

    @pytest.mark.parametrize("events", [1, 4])
    async def test_it_gives_the_same_positions_after_others_went_on(
        self, store: EventStore, events: int
    ) -> None:
        (created,) = await store.append([commit(flake := new_id(), events=2)])
        repeated = commit(flake, created, events=events)
        (position,) = await store.append([repeated])
        await store.append([commit(new_id())])
        await store.append([commit(flake, position, events=3)])
        assert await store.append([repeated]) == (position,)
        assert await store.head() == 2 + events + 1 + 3

    async def test_one_of_several_aggregates_stores_nothing(self, store: EventStore) -> None:
        commits = [commit(new_id(), events=2), commit(new_id()), commit(new_id(), events=3)]
        positions = await store.append(commits)
        await store.append([commit(commits[1].aggregate_id, positions[1])])
        assert await store.append(commits) == positions
        assert await store.head() == 7

    async def test_together_with_something_new_it_stores_nothing(self, store: EventStore) -> None:
        await store.append([old := commit(new_id())])
        with pytest.raises(StoreConflict):
            await store.append([old, commit(new_id())])
        assert await store.head() == 1

    async def test_concurrent_repetitions_store_once(self, store: EventStore) -> None:
        single, several = commit(new_id()), commit(new_id(), events=3)
        appends = [store.append([one]) for _ in range(10) for one in (single, several)]
        outcomes = await asyncio.gather(*appends)
        assert len(set(outcomes)) == 2
        assert await store.head() == 4

    async def test_events_stored_for_another_expectation_are_a_conflict(
        self, store: EventStore
    ) -> None:
        flake = commit(new_id())
        (position,) = await store.append([flake])
        again = event(flake.aggregate_id, 2, message_id=flake.events[0].metadata.message_id)
        with pytest.raises(StoreConflict):
            await store.append([evolve(flake, expected=position, events=(again,))])
        assert await store.head() == 1

    async def test_an_id_of_another_aggregates_event_is_a_conflict(self, store: EventStore) -> None:
        await store.append([flake := commit(new_id())])
        other = new_id()
        stolen = event(other, 1, message_id=flake.events[0].metadata.message_id)
        with pytest.raises(StoreConflict) as caught:
            await store.append([Commit("flake", other, START, (stolen,))])
        assert caught.value.refused == ()
        assert await store.head() == 1


class Refusing:
    """What is too much, and what is no commit; afterwards the store goes on."""

    async def test_as_many_events_as_allowed_are_stored(self, store: EventStore) -> None:
        limit = store.limits.events
        commits = [commit(new_id(), events=limit - 1), commit(new_id())]
        assert (await store.append(commits))[-1] == Position(1, limit)

    async def test_one_event_more_is_refused(self, store: EventStore) -> None:
        with pytest.raises(Failed) as caught:
            await store.append([commit(new_id(), events=store.limits.events), commit(new_id())])
        assert caught.value.code == "too_many_events"
        assert await store.append([commit(new_id())]) == (Position(1, 1),)

    @pytest.mark.parametrize("events", [1, 2])
    async def test_an_event_as_large_as_allowed_is_stored(
        self, store: EventStore, events: int
    ) -> None:
        data = b'"' + b"x" * (store.limits.event_bytes - 2) + b'"'
        flake = _with_data(commit(new_id(), events=events), data)
        await store.append([flake])
        assert await store.load("flake", flake.aggregate_id) == stored([flake], events)

    @pytest.mark.parametrize("events", [1, 2])
    async def test_one_byte_more_is_refused(self, store: EventStore, events: int) -> None:
        flake = _with_data(commit(new_id(), events=events), b" " * (store.limits.event_bytes + 1))
        with pytest.raises(Failed) as caught:
            await store.append([flake])
        assert caught.value.code == "too_large"
        assert await store.append([commit(new_id())]) == (Position(1, 1),)

    async def test_what_is_no_commit_is_a_mistake_of_the_caller(self, store: EventStore) -> None:
        good = commit(new_id(), events=2)
        one = good.events[0]
        for malformed in (
            [],
            [evolve(good, events=())],
            [good, good],
            [good, commit(good.aggregate_id, Position(2, 2))],
            [evolve(good, events=good.events[::-1])],
            [evolve(good, expected=Position(1, 1))],
            [evolve(good, events=(one, _versioned(one, 2)))],
            [evolve(good, aggregate_id=new_id())],
            [evolve(good, aggregate="package")],
        ):
            with pytest.raises(ValueError, match=r"."):
                await store.append(malformed)
        assert await store.head() == 0


def _with_data(one: Commit, data: bytes) -> Commit:
    return evolve(one, events=tuple(evolve(each, data=data) for each in one.events))


def _versioned(record: EventRecord, version: int) -> EventRecord:
    return evolve(record, metadata=evolve(record.metadata, aggregate_version=version))

"""Commits in groups: the same promises as one by one, and nobody waits for nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.errors import Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.store.commit_groups import PLAIN, GroupingEvents
from cim_domain.store.decorator import EventsAround
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import (
    START,
    Commit,
    EventStore,
    Limits,
    Position,
    StoreConflict,
)
from cim_domain.testing.records import all_of, commit, event, new_id, stored
from cim_domain.testing.store.conformance import EventStoreConformance, PersistentConformance


class RecordingEvents(EventsAround):
    """A store on another one that notes what it is asked to append, and holds it back if told to.

    `errors` says what appends with a commit of that aggregate end with, before anything is stored.
    """

    def __init__(self, inner: EventStore | None = None) -> None:
        super().__init__(inner or MemoryEvents())
        self.appended: list[list[str]] = []
        self.groups: list[Sequence[Commit]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0
        self.arrived = asyncio.Condition()
        self.errors: dict[str, BaseException] = {}

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        names = [one.aggregate_id for one in commits]
        self.appended.append(names)
        self.groups.append(commits)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with self.arrived:
                self.arrived.notify_all()
            await self.open.wait()
            for name in names:
                if name in self.errors:
                    raise self.errors[name]
            return await self.inner.append(commits)
        finally:
            self.at_once -= 1

    async def has_appended(self, number: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.appended) >= number)


Appends = list[asyncio.Task[tuple[Position, ...]]]


class Handed:
    """Commits handed in to a grouping store in order, behind a first one that is held back."""

    def __init__(self, limits: Limits | None = None, groups: int = 1) -> None:
        self.store = RecordingEvents(MemoryEvents(limits))
        self.grouping = GroupingEvents(self.store, plain=0, groups=groups)

    async def behind_another(self, *commits: Commit) -> Appends:
        """The appends of the commits, which wait until `release`."""
        self.store.open.clear()
        self.first = asyncio.create_task(self.grouping.append([commit(new_id())]))
        await self.store.has_appended(1)
        tasks = [asyncio.create_task(self.grouping.append([one])) for one in commits]
        # A turn of the loop, in which each of them is handed in.
        await asyncio.sleep(0)
        return tasks

    async def release(self, tasks: Appends) -> list[Any]:
        self.store.open.set()
        await self.first
        return await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def appended(self) -> list[list[str]]:
        """What was sent after the first one."""
        return self.store.appended[1:]


def named(*names: str) -> list[Commit]:
    return [commit(name) for name in names]


A, B, C, D = (str(UUID(int=number)) for number in (10, 11, 12, 13))


# It is a store like any other


@pytest.mark.parametrize("plain", [0, PLAIN])
class TestOverMemory(EventStoreConformance):
    @pytest.fixture
    def store(self, plain: int) -> GroupingEvents:
        return GroupingEvents(MemoryEvents(Limits(events=1000, event_bytes=5000)), plain)


@pytest.mark.parametrize("plain", [0, PLAIN])
class TestOverJetStream(PersistentConformance):
    @pytest.fixture
    async def store(self, jetstream_events: JetStreamEvents, plain: int) -> GroupingEvents:
        return GroupingEvents(jetstream_events, plain)

    @pytest.fixture
    async def reopen(
        self, nats_url: str, subjects: Subjects, plain: int
    ) -> AsyncIterator[Callable[[], Awaitable[EventStore]]]:
        links: list[Link] = []

        async def again() -> EventStore:
            links.append(await Link.open(load_settings(), name="another", url=nats_url))
            return GroupingEvents(JetStreamEvents(links[-1], subjects), plain)

        yield again
        for link in links:
            await link.close()


# Groups


async def test_commits_that_wait_together_go_out_together_and_in_order() -> None:
    handed = Handed()
    commits = [*named(A, B), commit(C, events=3), commit(D)]
    positions = await handed.release(await handed.behind_another(*commits))
    assert handed.appended == [[A, B, C, D]]
    assert positions == [
        (Position(1, 2),),
        (Position(1, 3),),
        (Position(3, 6),),
        (Position(1, 7),),
    ]
    assert await all_of(handed.grouping.read(1)) == stored(commits, 7)


async def test_those_handed_in_during_one_turn_of_the_loop_go_out_together() -> None:
    handed = Handed()
    await asyncio.gather(*(handed.grouping.append([one]) for one in named(A, B, C)))
    assert handed.store.appended == [[A, B, C]]


async def test_few_single_events_go_side_by_side_at_once_and_more_wait_for_each_other() -> None:
    store = RecordingEvents()
    store.open.clear()
    grouping = GroupingEvents(store, plain=3, groups=1)
    names = [new_id() for _ in range(9)]
    appending = [asyncio.create_task(grouping.append([one])) for one in named(*names)]
    await store.has_appended(4)
    assert store.appended == [*([one] for one in names[:3]), names[3:]]
    store.open.set()
    await asyncio.gather(*appending)
    await grouping.append([commit(A)])
    assert store.appended[4:] == [[A]]


async def test_what_is_on_its_way_here_counts_where_that_is_told() -> None:
    store, coming = RecordingEvents(), 3
    grouping = GroupingEvents(store, plain=3, under_way=lambda: coming)
    await asyncio.gather(*(grouping.append([one]) for one in named(A, B)))
    coming = 2
    await asyncio.gather(*(grouping.append([one]) for one in named(C, D)))
    assert store.appended == [[A, B], [C], [D]]


async def test_commits_of_several_events_always_ride_together() -> None:
    store = RecordingEvents()
    grouping = GroupingEvents(store, plain=100)
    await asyncio.gather(*(grouping.append([commit(one, events=2)]) for one in (A, B, C)))
    assert store.appended == [[A, B, C]]


async def test_single_events_of_many_bytes_are_few_side_by_side() -> None:
    store = RecordingEvents(MemoryEvents(Limits(commit_bytes=1000)))
    store.open.clear()
    grouping = GroupingEvents(store, groups=1)
    commits = [with_data(one, 600) for one in named(A, B, C)]
    appending = [asyncio.create_task(grouping.append([one])) for one in commits]
    await store.has_appended(2)
    assert store.appended == [[A], [B]]
    assert store.most_at_once == 2
    store.open.set()
    await asyncio.gather(*appending)
    assert store.appended == [[A], [B], [C]]


async def test_what_is_handed_in_at_once_stays_together_and_alone() -> None:
    handed = Handed()
    tasks = await handed.behind_another(commit(A))
    await_both = asyncio.create_task(handed.grouping.append(named(B, C)))
    await handed.store.has_appended(2)
    await handed.release(tasks)
    await await_both
    assert handed.appended == [[B, C], [A]]


async def test_a_group_holds_no_more_events_than_it_may() -> None:
    handed = Handed(Limits(events=3))
    commits = [commit(A, events=2), commit(B, events=2), commit(C)]
    await handed.release(await handed.behind_another(*commits))
    assert handed.appended == [[A], [B, C]]


async def test_a_group_holds_no_more_bytes_than_it_may() -> None:
    handed = Handed(Limits(commit_bytes=1000))
    commits = [
        with_data(one, size) for one, size in zip(named(A, B, C), (600, 400, 1), strict=True)
    ]
    large = with_data(commit(D), 2000)
    outcomes = await handed.release(await handed.behind_another(*commits, large))
    assert handed.appended == [[A, B], [C], [D]]
    assert all(isinstance(one, tuple) for one in outcomes)


def with_data(one: Commit, size: int) -> Commit:
    data = b'"' + b"x" * (size - 2) + b'"' if size > 1 else b"1"
    return evolve(one, events=tuple(evolve(event, data=data) for event in one.events))


@pytest.mark.parametrize("groups", [1, 3])
async def test_so_many_groups_and_no_more_are_under_way(groups: int) -> None:
    handed = Handed(Limits(events=2), groups)
    tasks = await handed.behind_another(*(commit(new_id()) for _ in range(20)))
    await handed.store.has_appended(groups)
    await handed.release(tasks)
    assert handed.store.most_at_once == groups
    assert len(handed.store.appended) == 11


async def test_two_commits_of_one_aggregate_never_share_a_group() -> None:
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B, A, C, A))
    outcomes = await handed.release(tasks)
    assert handed.appended == [[A, B, C], [A], [A]]
    assert [isinstance(one, StoreConflict) for one in outcomes] == [False, False, True, False, True]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=40),
    st.integers(1, 3),
    st.integers(4, 9),
)
@settings(deadline=None, max_examples=60)
async def test_of_commits_to_one_aggregate_the_first_one_wins(
    sent: list[tuple[int, int, bool]], groups: int, events: int
) -> None:
    store = RecordingEvents(MemoryEvents(Limits(events=events)))
    grouping = GroupingEvents(store, plain=0, groups=groups)
    tasks = []
    for name, number, pause in sent:
        task = asyncio.create_task(grouping.append([commit(str(UUID(int=name)), events=number)]))
        tasks.append((name, number, task))
        if pause:
            await asyncio.sleep(0)
    outcomes = await asyncio.gather(*(task for *_, task in tasks), return_exceptions=True)
    seen: set[int] = set()
    for (name, number, _), outcome in zip(tasks, outcomes, strict=True):
        if name in seen:
            assert isinstance(outcome, StoreConflict)
        else:
            ((position),) = outcome  # type: ignore[misc]
            assert position.version == number
        seen.add(name)
    for group in store.groups:
        assert len({one.aggregate_id for one in group}) == len(group)
        assert sum(len(one.events) for one in group) <= events


# When something goes wrong


async def test_a_conflict_costs_only_the_guilty_and_the_others_one_more_round() -> None:
    handed = Handed()
    await handed.store.inner.append([commit(B)])
    tasks = await handed.behind_another(*named(A, B, C, D))
    one, guilty, *others = await handed.release(tasks)
    assert isinstance(guilty, StoreConflict)
    assert guilty.refused == (B,)
    assert [position.version for (position,) in (one, *others)] == [1, 1, 1]
    assert handed.appended == [[A, B, C, D], [A, C, D]]


async def test_of_many_refused_all_hear_of_their_own_and_the_rest_goes_as_one() -> None:
    handed = Handed()
    guilty = [new_id() for _ in range(20)]
    for one in guilty:
        await handed.store.inner.append([commit(one)])
    innocent = [new_id() for _ in range(20)]
    mixed = [one for pair in zip(guilty, innocent, strict=True) for one in pair]
    outcomes = await handed.release(await handed.behind_another(*named(*mixed)))
    assert [one.refused for one in outcomes[::2]] == [(one,) for one in guilty]
    assert all(isinstance(one, tuple) for one in outcomes[1::2])
    assert handed.appended == [mixed, innocent]


async def test_one_whose_id_is_taken_is_found_by_halves() -> None:
    handed = Handed()
    taken = commit(new_id())
    await handed.store.inner.append([taken])
    stolen = event(B, 1, message_id=taken.events[0].metadata.message_id)
    commits = [*named(A), Commit("flake", B, START, (stolen,)), *named(C, D)]
    one, guilty, *others = await handed.release(await handed.behind_another(*commits))
    assert isinstance(guilty, StoreConflict)
    assert guilty.refused == ()
    assert [position.version for (position,) in (one, *others)] == [1, 1, 1]
    assert handed.appended == [[A, B, C, D], [A, B], [A], [B], [C, D]]


async def test_a_commit_that_was_stored_before_is_found_in_whatever_group_it_comes_again() -> None:
    handed = Handed()
    again = commit(B, events=2)
    (position,) = await handed.store.inner.append([again])
    outcomes = await handed.release(await handed.behind_another(commit(A), again, commit(C)))
    assert outcomes[1] == (position,)
    assert await handed.grouping.head() == 2 + 1 + 2


async def test_one_that_the_store_does_not_take_fails_alone() -> None:
    handed = Handed(Limits(event_bytes=100))
    large = with_data(commit(B), 101)
    ids_taken = evolve(commit(D), events=())
    tasks = await handed.behind_another(commit(A), large, commit(C), ids_taken)
    stored_one, too_large, stored_too, malformed = await handed.release(tasks)
    assert stored_one[0].version == stored_too[0].version == 1
    assert isinstance(too_large, Failed)
    assert too_large.code == "too_large"
    assert isinstance(malformed, ValueError)


async def test_that_the_server_is_away_reaches_all_and_is_not_tried_one_by_one() -> None:
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B, C))
    handed.store.errors[B] = away = Unavailable("away")
    assert await handed.release(tasks) == [away] * 3
    assert handed.appended == [[A, B, C]]
    handed.store.errors.clear()
    await asyncio.gather(*(handed.grouping.append([one]) for one in named(A, B, C)))
    assert await handed.grouping.head() == 4


@pytest.mark.parametrize(
    "error", [RuntimeError("a mistake"), AssertionError(), asyncio.CancelledError(), OSError(5, "")]
)
async def test_nobody_is_left_waiting_whatever_the_store_raises(error: BaseException) -> None:
    handed = Handed(Limits(events=2), groups=2)
    tasks = await handed.behind_another(*named(A, B, C, D))
    for name in (A, B):
        handed.store.errors[name] = error
    async with asyncio.timeout(5):
        outcomes = await handed.release(tasks)
    assert [type(one) for one in outcomes[:2]] == [type(error)] * 2
    assert [type(one) for one in outcomes[2:]] == [tuple] * 2
    handed.store.errors.clear()
    assert len(await handed.grouping.append([commit(A)])) == 1


async def test_one_handed_in_just_when_a_group_ends_is_not_left_waiting() -> None:
    for turns in range(20):
        handed = Handed()
        first = asyncio.create_task(handed.grouping.append([commit(A)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.gather(first, handed.grouping.append([commit(B)]))


async def test_a_commit_whose_caller_leaves_while_it_waits_is_left_out() -> None:
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B, C))
    tasks[1].cancel()
    outcomes = await handed.release(tasks)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert handed.appended == [[A, C]]


async def test_where_all_leave_nothing_is_sent() -> None:
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B, C))
    for task in tasks:
        task.cancel()
    await handed.release(tasks)
    assert handed.appended == []
    await handed.grouping.append([commit(D)])


async def test_a_caller_who_leaves_later_costs_the_others_nothing() -> None:
    handed = Handed()
    tasks = await handed.behind_another()
    handed.store.open.set()
    await handed.first
    handed.store.open.clear()
    tasks = [asyncio.create_task(handed.grouping.append([one])) for one in named(A, B, C)]
    await handed.store.has_appended(2)
    tasks[0].cancel()
    handed.store.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [asyncio.CancelledError, tuple, tuple]
    assert len(await handed.grouping.load("flake", A)) == 1


async def test_an_error_that_nobody_waits_for_is_no_noise() -> None:
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B))
    handed.store.errors[A] = Unavailable("away")
    handed.store.open.set()
    await handed.store.has_appended(2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    del tasks
    gc.collect()
    assert noise == []


def test_the_end_of_the_loop_leaves_nothing_behind() -> None:
    async def leave() -> Handed:
        handed = Handed()
        await handed.behind_another(*named(A, B, C))
        return handed

    handed = asyncio.run(leave())
    assert handed.appended == []


# On a real server


async def test_thousands_of_commits_of_many_events_at_once_are_all_stored(
    jetstream_events: JetStreamEvents,
) -> None:
    store = GroupingEvents(jetstream_events)
    commits = [commit(new_id(), events=20) for _ in range(2000)]
    positions = await asyncio.gather(*(store.append([one]) for one in commits))
    assert {position.version for (position,) in positions} == {20}
    assert await store.head() == 40_000


async def test_under_load_all_is_stored_once_whichever_way_it_went(
    jetstream_events: JetStreamEvents,
) -> None:
    store = GroupingEvents(jetstream_events)
    sent: list[tuple[Commit, Position]] = []

    async def write() -> None:
        flake, position = new_id(), START
        for number in range(20):
            one = commit(flake, position, events=1 + (number % 8 == 3))
            (position,) = await store.append([one])
            sent.append((one, position))

    await asyncio.gather(*(write() for _ in range(64)))
    log = await all_of(store.read())
    assert len(log) == sum(len(one.events) for one, _ in sent)
    for one, position in sent:
        start = position.sequence - len(one.events)
        assert log[start : position.sequence] == stored([one], position.sequence)

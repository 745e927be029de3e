"""Commits in groups: the same promises as one by one, and nobody waits for nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from attrs import define, evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.errors import Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.store.commit_groups import GroupingEvents, GroupLimits
from cim_domain.store.commit_policy import Grouping, Mode
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
from cim_domain.testing.records import all_of, commit, new_id, stored
from cim_domain.testing.store.conformance import EventStoreConformance, PersistentConformance


@define(kw_only=True)
class Forced(Grouping):
    """Always the same mode, also for a lone commit."""

    forced: Mode = Mode.GROUPED

    def begun(self, now: float) -> Mode:
        super().begun(now)
        return self.forced


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

    def __init__(self, inner: EventStore | None = None, **limits: int) -> None:
        self.store = RecordingEvents(inner)
        self.policy = Forced()
        self.grouping = GroupingEvents(
            self.store, self.policy, GroupLimits(**{"side_by_side": 1, **limits})
        )

    async def behind_another(self, *commits: Commit) -> Appends:
        """The appends of the commits, which wait until `release`."""
        self.store.open.clear()
        self.first = asyncio.create_task(self.grouping.append([commit(new_id())]))
        await self.store.has_appended(1)
        tasks = [asyncio.create_task(self.grouping.append([one])) for one in commits]
        # A turn of the loop, in which each of them is handed in.
        await asyncio.sleep(0)
        assert self.policy.under_way == len(commits) + 1
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


@pytest.mark.parametrize("mode", Mode)
class TestOverMemory(EventStoreConformance):
    @pytest.fixture
    def store(self, mode: Mode) -> GroupingEvents:
        return GroupingEvents(
            MemoryEvents(Limits(events=1000, event_bytes=5000)), Forced(forced=mode)
        )


@pytest.mark.parametrize("mode", Mode)
class TestOverJetStream(PersistentConformance):
    @pytest.fixture
    async def store(self, jetstream_events: JetStreamEvents, mode: Mode) -> GroupingEvents:
        return GroupingEvents(jetstream_events, Forced(forced=mode))

    @pytest.fixture
    async def reopen(
        self, nats_url: str, subjects: Subjects, mode: Mode
    ) -> AsyncIterator[Callable[[], Awaitable[EventStore]]]:
        links: list[Link] = []

        async def again() -> EventStore:
            links.append(await Link.open(load_settings(), name="another", url=nats_url))
            return GroupingEvents(JetStreamEvents(links[-1], subjects), Forced(forced=mode))

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


async def test_with_little_load_a_commit_is_sent_before_anything_else_happens() -> None:
    store = RecordingEvents()
    store.open.clear()
    grouping = GroupingEvents(store)
    appending = [asyncio.create_task(grouping.append([one])) for one in named(A, B, C)]
    await asyncio.sleep(0)
    assert store.appended == [[A], [B], [C]]
    store.open.set()
    await asyncio.gather(*appending)


async def test_what_is_handed_in_at_once_stays_together_and_alone() -> None:
    handed = Handed()
    tasks = await handed.behind_another(commit(A))
    await_both = asyncio.create_task(handed.grouping.append(named(B, C)))
    await handed.store.has_appended(2)
    await handed.release(tasks)
    await await_both
    assert handed.appended == [[B, C], [A]]


async def test_a_group_holds_no_more_events_than_it_may() -> None:
    handed = Handed(events=5)
    commits = [commit(A, events=3), commit(B, events=2), commit(C), commit(D, events=7)]
    outcomes = await handed.release(await handed.behind_another(*commits))
    assert handed.appended == [[A, B], [C], [D]]
    assert [position.version for (position,) in outcomes] == [3, 2, 1, 7]


async def test_a_group_holds_no_more_events_than_the_store_takes() -> None:
    handed = Handed(MemoryEvents(Limits(events=3)))
    commits = [commit(A, events=2), commit(B, events=2), commit(C)]
    await handed.release(await handed.behind_another(*commits))
    assert handed.appended == [[A], [B, C]]


async def test_a_group_holds_no_more_bytes_than_it_may() -> None:
    handed = Handed(data=1000)
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


@pytest.mark.parametrize("side_by_side", [1, 3])
async def test_so_many_groups_and_no_more_are_under_way(side_by_side: int) -> None:
    handed = Handed(side_by_side=side_by_side, events=2)
    tasks = await handed.behind_another(*(commit(new_id()) for _ in range(20)))
    await handed.store.has_appended(side_by_side)
    await handed.release(tasks)
    assert handed.store.most_at_once == side_by_side
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
    st.integers(1, 9),
)
@settings(deadline=None, max_examples=60)
async def test_of_commits_to_one_aggregate_the_first_one_wins(
    sent: list[tuple[int, int, bool]], side_by_side: int, events: int
) -> None:
    store = RecordingEvents()
    policy = Forced()
    grouping = GroupingEvents(store, policy, GroupLimits(events=events, side_by_side=side_by_side))
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
    assert policy.under_way == 0
    for group in store.groups:
        assert len({one.aggregate_id for one in group}) == len(group)
        assert len(group) == 1 or sum(len(one.events) for one in group) <= events


# When something goes wrong


async def test_a_conflict_costs_only_the_guilty_and_the_others_one_more_round() -> None:
    handed = Handed()
    await handed.store.inner.append([commit(B)])
    tasks = await handed.behind_another(*named(A, B, C, D))
    one, guilty, *others = await handed.release(tasks)
    assert isinstance(guilty, StoreConflict)
    assert guilty.refused == (B,)
    assert [position.version for (position,) in (one, *others)] == [1, 1, 1]
    assert handed.appended == [[A, B, C, D], [A], [B], [C], [D]]


async def test_a_commit_that_was_stored_before_is_found_in_whatever_group_it_comes_again() -> None:
    handed = Handed()
    again = commit(B, events=2)
    (position,) = await handed.store.inner.append([again])
    outcomes = await handed.release(await handed.behind_another(commit(A), again, commit(C)))
    assert outcomes[1] == (position,)
    assert await handed.grouping.head() == 2 + 1 + 2


async def test_one_that_the_store_does_not_take_fails_alone() -> None:
    handed = Handed(MemoryEvents(Limits(event_bytes=100)))
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
    handed = Handed(events=2, side_by_side=2)
    tasks = await handed.behind_another(*named(A, B, C, D))
    for name in (A, B):
        handed.store.errors[name] = error
    async with asyncio.timeout(5):
        outcomes = await handed.release(tasks)
    assert [type(one) for one in outcomes[:2]] == [type(error)] * 2
    assert [type(one) for one in outcomes[2:]] == [tuple] * 2
    assert handed.policy.under_way == 0
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
    assert handed.policy.under_way == 0


async def test_where_all_leave_nothing_is_sent() -> None:
    handed = Handed()
    tasks = await handed.behind_another(*named(A, B, C))
    for task in tasks:
        task.cancel()
    await handed.release(tasks)
    assert handed.appended == []
    await handed.grouping.append([commit(D)])
    assert handed.policy.under_way == 0


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


async def test_under_load_both_ways_are_tried_and_all_is_stored_once(
    jetstream_events: JetStreamEvents,
) -> None:
    policy = Grouping(epoch=64)
    store = GroupingEvents(jetstream_events, policy)
    sent: list[tuple[Commit, Position]] = []

    async def write() -> None:
        flake, position = new_id(), START
        while len(policy.cost) < 2 or len(sent) < 2000:
            one = commit(flake, position, events=1 + (position.version == 3))
            (position,) = await store.append([one])
            sent.append((one, position))

    await asyncio.gather(*(write() for _ in range(64)))
    assert set(policy.cost) == set(Mode)
    assert policy.under_way == 0
    log = await all_of(store.read())
    assert len(log) == sum(len(one.events) for one, _ in sent)
    for one, position in sent:
        start = position.sequence - len(one.events)
        assert log[start : position.sequence] == stored([one], position.sequence)

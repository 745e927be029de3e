"""Every command that an aggregate has seen is known, however long ago and wherever it is known."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from uuid import uuid1, uuid4

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.commands.executor import Executor
from cim_domain.commands.processed_commands import Chunk, Place, ProcessedCommands
from cim_domain.commands.snapshots import MemorySnapshots
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.store.decorator import EventsAround
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, EventStore, Position, Slice
from cim_domain.testing.records import event
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.stacks import Stack
from tests.cim_domain.tallies import Add, numbered, request, tally_domain

DOMAIN = tally_domain()
EVENT = event(numbered(0), 1, "tally.added").metadata


def remember(
    remembered: ProcessedCommands, command_id: str, version: int, *, events: int = 1
) -> int:
    """Take in so many events of one command; gives the version after them."""
    for _ in range(events):
        version += 1
        taken = evolve(EVENT, causation_id=command_id, aggregate_version=version)
        remembered.take_in(taken, version + 1000)
    return version


def again(remembered: ProcessedCommands) -> ProcessedCommands:
    """As it is read from a snapshot."""
    return ProcessedCommands(
        full=[Chunk.from_bytes(chunk.to_bytes()) for chunk in remembered.full],
        newest=Chunk.from_bytes(remembered.newest.to_bytes()),
        size=remembered.size,
    )


# One aggregate's memory


@given(st.lists(st.integers(1, 4), max_size=80), st.integers(1, 9), st.integers(0, 80))
@settings(deadline=None)
def test_of_each_command_that_was_seen_it_is_known_where_its_events_are(
    numbers: Sequence[int], size: int, restored_at: int
) -> None:
    remembered = ProcessedCommands(size=size)
    seen: dict[str, Place] = {}
    version = 0
    for place, events in enumerate(numbers):
        if place == restored_at:
            remembered = again(remembered)
        command_id = numbered(place * 7919 + 1)
        seen[command_id] = Place(version + 1001, events)
        version = remember(remembered, command_id, version, events=events)
        assert all(remembered.places(one) == [there] for one, there in seen.items())
    assert not remembered.places(numbered(999_999))
    assert {len(chunk) for chunk in remembered.full} <= {size}
    assert len(remembered.newest) <= size
    assert again(remembered) == remembered


def test_chunks_are_the_same_whoever_has_seen_the_commands() -> None:
    first, second = ProcessedCommands(size=10), ProcessedCommands(size=10)
    for number in range(95):
        if number == 37:
            second = again(second)
        for one in (first, second):
            remember(one, numbered(number), 2 * number, events=1 + number % 2)
    assert first == second
    assert len(first.full) == 9


def test_events_that_do_not_follow_one_another_are_not_one_commands_commit() -> None:
    # As in a log that was brought in from elsewhere, where one cause has led to many things.
    remembered = ProcessedCommands()
    for sequence in (3, 4, 9):
        remembered.take_in(EVENT, sequence)
    assert remembered.places(EVENT.causation_id) == [Place(3, 2), Place(9, 1)]


def test_one_with_more_events_than_a_commit_can_have_does_no_harm() -> None:
    remembered = ProcessedCommands()
    remember(remembered, numbered(1), 0, events=2500)
    places = remembered.places(numbered(1))
    assert [one.first for one in places] == [1001, 2025, 3049]
    assert sum(one.count for one in places) == 2500


def test_ids_that_tell_the_time_are_told_apart() -> None:
    node = 0x1234_5678_9ABC
    ids: list[str] = []
    while len(ids) < 2000:
        ids.append(str(uuid1(node, clock_seq=1)))
    remembered = ProcessedCommands()
    for number, one in enumerate(ids[:1000]):
        remember(remembered, one, number)
    assert not any(remembered.places(one) for one in ids[1000:])


@pytest.mark.parametrize("data", [b"1", bytes(24)])
def test_what_cannot_be_a_chunk_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Chunk.from_bytes(data)


@pytest.mark.parametrize("commands", [500, 20_000])
def test_a_command_takes_little_more_than_16_bytes(commands: int) -> None:
    ids = [str(uuid4()) for _ in range(commands)]
    tracemalloc.start()
    remembered = ProcessedCommands()
    for number, one in enumerate(ids):
        # As each comes from the log: a text of its own.
        remember(remembered, one.encode().decode(), number + 1000)
    traced = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert remembered.places(ids[-1])
    assert traced / commands < 24


# Through the executor

MANY = 400
STACKS = [
    Stack(cache=cache, snapshot_every=every, guessing=guessing)
    for cache in (0, 10)
    for every in (0, 50)
    for guessing in (False, True)
]
BEHIND = [
    Stack(guessing=True),
    Stack(cache=10),
    Stack(cache=10, guessing=True),
    Stack(cache=10, snapshot_every=50),
]
"""Those that may decide on less than the log holds, and then hear of it all at once."""


@pytest.fixture(params=["memory", "jetstream"])
async def store(request: pytest.FixtureRequest, link: Link) -> EventStore:
    if request.param == "memory":
        return MemoryEvents()
    subjects = Subjects("sums", prefix=f"t{uuid4().hex[:12]}")
    await ensure_log(link.requests, subjects)
    return JetStreamEvents(link, subjects)


async def send(instance: Executor, numbers: Sequence[int]) -> list[Outcome]:
    """The commands with these ids, which add different numbers of events, at once."""
    return await asyncio.gather(
        *(
            instance.execute(
                request(DOMAIN, Add(name="t", amounts=(1,) * (1 + n % 2)), numbered(n))
            )
            for n in numbers
        )
    )


@pytest.mark.parametrize("stack", STACKS, ids=str)
async def test_a_command_repeated_after_many_others_gets_its_first_outcome(
    store: EventStore, stack: Stack
) -> None:
    snapshots = MemorySnapshots()
    instance = stack.executor(DOMAIN, store, snapshots)
    first = await send(instance, range(1, MANY))
    assert {one.status for one in first} == {"accepted"}
    head = await store.head()
    some = (1, 2, 3, 200, 398, MANY - 1)
    assert await send(instance, some) == [first[number - 1] for number in some]
    assert await store.head() == head


@pytest.mark.parametrize("stack", [one for one in STACKS if not one.guessing], ids=str)
async def test_so_it_does_from_an_instance_that_was_not_there(
    store: EventStore, stack: Stack
) -> None:
    snapshots = MemorySnapshots()
    first = await send(stack.executor(DOMAIN, store, snapshots), range(1, MANY))
    other = stack.executor(DOMAIN, store, snapshots)
    assert await send(other, [2]) == [first[1]]
    some = (1, 2, 3, 200, 398, MANY - 1)
    assert await send(other, some) == [first[number - 1] for number in some]


async def test_among_new_commands_an_old_one_is_still_known(store: EventStore) -> None:
    instance = Stack(cache=10).executor(DOMAIN, store)
    first = await send(instance, range(1, MANY))
    outcomes = await send(instance, [5000, 2, 5001])
    assert outcomes[1] == first[1]
    version = (await send(instance, [MANY - 1]))[0].version or 0
    assert [outcomes[0].version, outcomes[2].version] == [version + 1, version + 3]


@pytest.mark.parametrize("stack", BEHIND, ids=str)
async def test_a_command_that_another_instance_saw_long_ago_gets_its_first_outcome(
    store: EventStore, stack: Stack
) -> None:
    snapshots = MemorySnapshots()
    instance, other = (stack.executor(DOMAIN, store, snapshots) for _ in range(2))
    await send(instance, [1])
    first = await send(other, range(2, MANY))
    head = await store.head()
    # As far as the first instance remembers there is one command, and all the others are news.
    assert await send(instance, [3]) == [first[1]]
    assert await store.head() == head


async def test_what_an_old_command_has_done_is_told_by_its_own_events_alone() -> None:
    store = CountingEvents(MemoryEvents())
    instance = Stack(cache=10).executor(DOMAIN, store)
    first = await send(instance, range(1, MANY))
    store.loaded.clear()
    store.read_from.clear()
    assert await send(instance, [3]) == [first[2]]
    place = (first[2].sequence or 0) - len(first[2].events)
    assert store.read_from == [(place, first[2].sequence)]
    assert store.loaded == []


class CountingEvents(EventsAround):
    """A store on another one that notes what is read and loaded."""

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.loaded: list[str] = []
        self.read_from: list[tuple[int, int | None]] = []

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        self.loaded.append(aggregate_id)
        return await self.inner.load(aggregate, aggregate_id, after)

    def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        self.read_from.append((after, until))
        return self.inner.read(after, until)

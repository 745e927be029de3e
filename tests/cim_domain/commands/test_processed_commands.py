"""Every command that an aggregate has seen is known, however long ago and wherever it is known."""

import asyncio
import struct
import tracemalloc
from collections.abc import Sequence
from uuid import UUID, uuid1, uuid4

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.commands.executor import Executor
from cim_domain.commands.processed_commands import RECENT, ProcessedCommand, ProcessedCommands
from cim_domain.commands.snapshots import MemorySnapshots
from cim_domain.identity import caused_id
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import EventStore
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
    return ProcessedCommands.restored(list(remembered.in_full()), remembered.marks())


# One aggregate's memory


steps = st.lists(
    st.one_of(
        st.tuples(st.just("command"), st.integers(1, 3)),
        st.tuples(st.just("keep"), st.integers(1, 6)),
        st.tuples(st.just("restore"), st.just(0)),
    ),
    max_size=80,
)


@given(steps, st.integers(1, 6))
@settings(deadline=None)
def test_a_command_that_was_seen_is_never_denied(
    steps: Sequence[tuple[str, int]], recent: int
) -> None:
    remembered = ProcessedCommands(recent)
    seen: dict[str, ProcessedCommand] = {}
    version = 0
    for what, number in steps:
        if what == "command":
            command_id = numbered(len(seen) * 7919 + 1)
            version = remember(remembered, command_id, version, events=number)
            seen[command_id] = ProcessedCommand(version, version + 1000, ("tally.added",) * number)
        elif what == "keep":
            remembered.keep_recent(number)
        else:
            remembered = again(remembered)
        for command_id, done in seen.items():
            found = remembered.get(command_id)
            assert found == done or (found is None and remembered.may_have_forgotten(command_id))
    assert [one for one, _ in remembered.in_full()] == list(seen)[
        -len(list(remembered.in_full())) :
    ]


@given(st.integers(1, 300))
def test_the_latest_are_known_in_full_and_no_more_than_twice_as_many(commands: int) -> None:
    remembered = ProcessedCommands(recent=20)
    version = 0
    for number in range(commands):
        version = remember(remembered, numbered(number), version)
        in_full = list(remembered.in_full())
        assert min(20, number + 1) <= len(in_full) <= 40
        assert in_full[-1] == (
            numbered(number),
            ProcessedCommand(version, version + 1000, ("tally.added",)),
        )


def test_what_was_never_seen_is_hardly_ever_taken_for_forgotten() -> None:
    remembered = ProcessedCommands(recent=1)
    for number in range(20_000):
        remember(remembered, str(UUID(int=number)), number)
    # One in 200,000; twenty of 20,000 would be next to impossible.
    assert sum(remembered.may_have_forgotten(str(uuid4())) for _ in range(20_000)) < 20


def test_ids_that_tell_the_time_are_told_apart() -> None:
    node = 0x1234_5678_9ABC
    ids: list[str] = []
    while len(ids) < 2000:
        ids.append(str(uuid1(node, clock_seq=1)))
    remembered = ProcessedCommands(recent=1)
    for number, one in enumerate(ids[:1000]):
        remember(remembered, one, number)
    assert not any(remembered.may_have_forgotten(one) for one in ids[1000:])


def test_one_that_is_known_in_full_is_not_forgotten() -> None:
    remembered = ProcessedCommands(recent=1)
    for number in range(10):
        remember(remembered, numbered(number), number)
    assert not remembered.may_have_forgotten(numbered(9))


def test_restored_it_knows_the_same_and_goes_on_in_the_same_way() -> None:
    first = ProcessedCommands()
    version = 0
    for number in range(2000):
        version = remember(first, numbered(number), version, events=1 + number % 2)
    second = again(first)
    for number in range(2000, 3000):
        remember(first, numbered(number), version)
        version = remember(second, numbered(number), version)
    assert list(first.in_full()) == list(second.in_full())
    assert sorted(struct.iter_unpack("<I", first.marks())) == sorted(
        struct.iter_unpack("<I", second.marks())
    )


@pytest.mark.parametrize("marks", [b"1", b"12345"])
def test_what_cannot_be_marks_is_no_memory(marks: bytes) -> None:
    with pytest.raises(struct.error):
        ProcessedCommands.restored([], marks)


def test_a_command_in_full_takes_400_bytes_at_most_and_an_older_one_8() -> None:
    def bytes_of(commands: int, recent: int) -> float:
        ids = [str(uuid4()) for _ in range(commands)]
        tracemalloc.start()
        remembered = ProcessedCommands(recent)
        for number, one in enumerate(ids):
            # As each comes from the log: a text of its own.
            remember(remembered, one.encode().decode(), number + 1000)
        traced = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert remembered.get(ids[-1])
        return traced / commands

    assert bytes_of(1000, recent=1000) < 400
    assert bytes_of(30_000, recent=16) < 8


def test_the_events_ids_follow_from_the_commands() -> None:
    done = ProcessedCommand(3, 9, ("tally.added", "tally.renamed"))
    assert [(one.id, one.type) for one in done.events(numbered(1))] == [
        (caused_id(numbered(1), 0), "tally.added"),
        (caused_id(numbered(1), 1), "tally.renamed"),
    ]


# Through the executor

MANY = 2 * RECENT + 150
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
    some = (1, 2, 3, 200, 399, 400, MANY - 1)
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
    some = (1, 2, 3, 200, 399, 400, MANY - 1)
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

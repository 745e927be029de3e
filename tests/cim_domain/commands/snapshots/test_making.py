"""Snapshots: when they are made, and what they are good for."""

import asyncio
import base64

import pytest
from attrs import evolve

from cim_domain.commands.executor import Executor
from cim_domain.commands.processed_commands import CHUNK, ProcessedCommands
from cim_domain.commands.repository import LoadedAggregate, ReplayingRepository
from cim_domain.commands.snapshots import MemorySnapshots, SnapshottingRepository
from cim_domain.model.aggregate import AggregateModel
from cim_domain.store.memory import MemoryEvents
from cim_domain.testing.records import all_of
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.snapshots.instances import (
    DOMAIN,
    ID,
    MODEL,
    Instance,
    SlowSnapshots,
    content,
)
from tests.cim_domain.tallies import Add, numbered, request


async def test_a_snapshot_is_made_every_so_many_events(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    instance = Instance(events, snapshots, every=10)
    await instance.add(9)
    assert await snapshots.get("tally", ID) is None
    versions = []
    for _ in range(25):
        await instance.add()
        versions.append((await content(snapshots))["version"])
    assert versions == [10] * 10 + [20] * 10 + [30] * 5


async def test_with_a_snapshot_only_what_follows_it_is_loaded(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    await Instance(events, snapshots).add(25)
    another = Instance(events, snapshots)
    assert (await another.add()).version == 26
    assert another.store.loaded == [20]
    assert await another.total() == 26


async def test_a_repeated_command_is_found_in_the_snapshot(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    first = await Instance(events, snapshots).send(Add(name="t", amounts=(1,) * 12), numbered(1))
    another = Instance(events, snapshots)
    assert await another.send(Add(name="t", amounts=(1,) * 12), numbered(1)) == first
    assert 0 not in another.store.loaded


async def test_a_command_is_answered_before_its_snapshot_is_written(events: MemoryEvents) -> None:
    snapshots = SlowSnapshots()
    instance = Instance(events, snapshots)
    outcome = await instance.executor.execute(request(DOMAIN, Add(name="t", amounts=(1,) * 10)))
    assert outcome.status == "accepted"
    settling = asyncio.create_task(instance.repository.settle())
    await instance.executor.execute(request(DOMAIN, Add(name="t", amounts=(1,) * 10)))
    assert await snapshots.get("tally", ID) is None
    assert not settling.done()
    snapshots.open.set()
    await settling
    assert (await content(snapshots))["version"] == 10


class Kept(ReplayingRepository):
    """Always the same aggregate, whose commands lie in chunks of ten; `inner` has its snapshots."""

    def __init__(self, events: MemoryEvents, inner: SnapshottingRepository) -> None:
        super().__init__(DOMAIN, events)
        self._inner = inner
        self._known = LoadedAggregate(MODEL.initial, commands=ProcessedCommands(size=10))

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        return self._known

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        self._inner.store(model, aggregate_id, known)


async def add_many(events: MemoryEvents, snapshots: MemorySnapshots, number: int) -> list[Outcome]:
    """So many commands, a snapshot after each ten of them."""
    inner = SnapshottingRepository(ReplayingRepository(DOMAIN, events), snapshots, 10)
    executor = Executor(DOMAIN, events, Kept(events, inner), source="cim-domain-sums")
    outcomes = []
    for each in range(number):
        outcomes.append(await executor.execute(request(DOMAIN, Add(name="t"), numbered(each))))
        await inner.settle()
    return outcomes


async def test_older_commands_lie_beside_the_snapshot_and_are_written_once(
    events: MemoryEvents,
) -> None:
    snapshots = CountingSnapshots()
    outcomes = await add_many(events, snapshots, 100)
    assert snapshots.written == [
        ID,
        *(one for number in range(9) for one in (f"{ID}.{number}", ID)),
    ]
    assert len(base64.b64decode((await content(snapshots))["commands"])) == 10 * 16
    another = Instance(events, snapshots)
    for number in (0, 11, 55, 99):
        assert await another.send(Add(name="t"), numbered(number)) == outcomes[number]
    assert await events.head() == 100
    assert 0 not in another.store.loaded


class CountingSnapshots(MemorySnapshots):
    """Notes under which ids something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        self.written.append(aggregate_id)
        await super().put(aggregate, aggregate_id, data)


@pytest.mark.parametrize("broken", [b"", bytes(160)])
async def test_a_snapshot_beside_which_something_is_missing_is_ignored(
    events: MemoryEvents, snapshots: MemorySnapshots, broken: bytes
) -> None:
    outcomes = await add_many(events, snapshots, 40)
    await snapshots.put("tally", f"{ID}.1", broken)
    another = Instance(events, snapshots)
    assert await another.send(Add(name="t"), numbered(15)) == outcomes[15]
    assert another.store.loaded[0] == 0


async def test_however_many_commands_an_aggregate_has_seen_it_has_snapshots(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    known = LoadedAggregate(MODEL.initial)
    instance = Instance(events, snapshots)
    await instance.add()
    (record,) = await all_of(events.read())
    for number in range(3 * CHUNK):
        metadata = evolve(
            record.metadata, causation_id=numbered(number), aggregate_version=number + 1
        )
        known.take_in(known.state, metadata, number + 1)
    instance.repository.store(MODEL, ID, known)
    await instance.repository.settle()
    assert (await content(snapshots))["version"] == 3 * CHUNK
    largest = max(map(len, snapshots._data.values()))
    assert largest < 150_000

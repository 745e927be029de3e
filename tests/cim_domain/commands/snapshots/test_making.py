"""Snapshots: when they are made, and what they are good for."""

import asyncio

from cim_domain.commands.executor import Executor
from cim_domain.commands.processed_commands import RECENT
from cim_domain.commands.repository import CachingRepository, ReplayingRepository
from cim_domain.commands.snapshots import MemorySnapshots, SnapshottingRepository
from cim_domain.store.memory import MemoryEvents
from tests.cim_domain.commands.snapshots.instances import (
    DOMAIN,
    ID,
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


async def test_a_snapshot_with_every_command_in_full_is_never_made(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    repository = CachingRepository(
        SnapshottingRepository(ReplayingRepository(DOMAIN, events), snapshots, 1)
    )
    executor = Executor(DOMAIN, events, repository, source="cim-domain-sums")
    old, *_ = await asyncio.gather(
        *(
            executor.execute(request(DOMAIN, Add(name="t"), numbered(number)))
            for number in range(3 * RECENT)
        )
    )
    # Known only by the whole history.
    assert await executor.execute(request(DOMAIN, Add(name="t"), numbered(0))) == old
    await executor.execute(request(DOMAIN, Add(name="t")))
    found = await content(snapshots)
    assert len(found["commands"]) <= 2 * RECENT
    assert found["older"]

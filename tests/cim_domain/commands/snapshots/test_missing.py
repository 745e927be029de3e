"""Snapshots that cannot be had or made are missed by nobody."""

import asyncio
from typing import Any, Literal, Self

import pytest
from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Domain, Event, decides, evolves
from cim_domain.commands.snapshots import BucketSnapshots, MemorySnapshots
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.memory import MemoryEvents
from tests.cim_domain.commands.snapshots.instances import Instance, SlowSnapshots, content, remove


async def test_without_them_everything_goes_on(events: MemoryEvents) -> None:
    snapshots = SlowSnapshots()
    snapshots.open.set()
    await Instance(events, snapshots).add(15)
    snapshots.away = True
    away = Instance(events, snapshots)
    assert (await away.add(20)).version == 35
    assert away.store.loaded[0] == 0
    snapshots.away = False
    back = Instance(events, snapshots)
    assert (await back.add()).version == 36
    assert back.store.loaded == [10]


async def test_the_bucket_can_be_removed_at_any_time(
    link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    snapshots = BucketSnapshots(bucket)
    await Instance(events, snapshots).add(25)
    another = Instance(events, snapshots)
    await another.add()
    assert another.store.loaded == [20]
    await remove(link, bucket)
    async with asyncio.timeout(2):
        assert (await another.add(20)).version == 46
        assert await Instance(events, snapshots).total() == 46
    await ensure_stream(link.requests, bucket_stream(bucket._bucket))
    await another.add(10)
    last = Instance(events, snapshots)
    assert (await last.add()).version == 57
    assert last.store.loaded[0] > 0


async def test_a_bucket_that_was_never_there_is_missed_by_nobody(
    link: Link, events: MemoryEvents
) -> None:
    instance = Instance(events, BucketSnapshots(Bucket(link, "never_there")))
    async with asyncio.timeout(2):
        assert (await instance.add(20)).version == 20


async def test_one_that_is_too_large_for_a_message_is_left_out(
    link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    snapshots = BucketSnapshots(bucket)
    instance = Instance(events, snapshots)
    await instance.add(10)
    assert (await instance.add(10, note="x" * 120_000)).version == 20
    assert (await content(snapshots))["version"] == 10
    assert link.client.is_connected
    assert link.reconnects == 0
    another = Instance(events, snapshots)
    assert (await another.add()).version == 21
    assert another.store.loaded == [10]


class Put(Command, type="box.put"):
    name: str
    value: Literal["tuple", "large", "set", "key", "plain"]


class WasPut(Event, type="box.was_put"):
    value: str


HELD: dict[str, Any] = {
    "tuple": (1, 2),
    "large": 2**70,
    "set": {1, 2},
    "key": {1: "a"},
    "plain": [1, {"a": None}],
}


@frozen
class Box(Aggregate, key="name"):
    """A state of which nobody knows whether JSON can hold it."""

    value: Any = None

    @decides
    def put(self, command: Put) -> WasPut:
        return WasPut(value=command.value)

    @evolves
    def was_put(self, event: WasPut) -> Self:
        return evolve(self, value=HELD[event.value])


@pytest.mark.parametrize("value", ["tuple", "large", "set", "key"])
async def test_a_state_that_json_would_change_has_no_snapshot_and_loses_nothing(
    events: MemoryEvents, snapshots: MemorySnapshots, value: Any
) -> None:
    domain = Domain("boxes", aggregates=[Box])
    box = Put(name="b", value=value)
    instance = Instance(events, snapshots, every=1, domain=domain)
    assert (await instance.send(Put(name="b", value="plain"))).status == "accepted"
    before = await snapshots.get("box", domain.id_for(box))
    assert before
    assert (await instance.send(box)).status == "accepted"
    assert await snapshots.get("box", domain.id_for(box)) == before
    known = await Instance(events, snapshots, domain=domain).repository.load(
        domain.aggregates["box"], domain.id_for(box)
    )
    assert known.state == Box(HELD[value])

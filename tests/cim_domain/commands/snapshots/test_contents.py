"""What is in a snapshot: all that is known of an aggregate, for every client to read."""

from typing import Any
from uuid import uuid4

import nats
import orjson
import pytest
from attrs import evolve

from aggregates.nix.config import ActivateConfig, CheckedConfiguration, CreateConfig, UpdateConfig
from aggregates.nix.flake import AddFlakeInput, CreateFlake
from aggregates.nix.module import CheckedModuleContent, CreateModule, DeleteModule, UpdateModule
from aggregates.nix.overlay import CheckedOverlayContent, CreateOverlay
from aggregates.nix.package import BuildPackage
from aggregates.nix.values import ActivationType
from cim_domain import Command, Domain
from cim_domain.commands.fingerprint import fingerprint
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.commands.snapshots import (
    BucketSnapshots,
    MemorySnapshots,
    read_snapshot,
    write_snapshot,
)
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.memory import MemoryEvents
from tests.cim_domain.commands.snapshots.instances import ID, MODEL, Instance, remove

NIX = Domain.find("nix")
CONFIGURATION = CheckedConfiguration(system="x86_64-linux", path="/srv/web", hostname="web-1")
HISTORIES: dict[str, list[Command]] = {
    "flake": [
        CreateFlake(path="/srv/web"),
        AddFlakeInput(path="/srv/web", name="nixpkgs", url="github:NixOS/nixpkgs"),
        AddFlakeInput(
            path="/srv/web", name="utils", url="github:a/b", follows={"nixpkgs": "nixpkgs"}
        ),
    ],
    "module": [
        CreateModule(name="web", module=CheckedModuleContent(options={"a": 1})),
        UpdateModule(name="web", module=CheckedModuleContent(options={"a": [1.5, None, "ü"]})),
        DeleteModule(name="web"),
    ],
    "overlay": [CreateOverlay(name="web", overlay=CheckedOverlayContent(additions={"a": 1}))],
    "config": [
        CreateConfig(name="web", configuration=CONFIGURATION),
        ActivateConfig(name="web", activation_type=ActivationType.SWITCH),
        ActivateConfig(name="web", activation_type=ActivationType.SWITCH),
        ActivateConfig(name="web", activation_type=ActivationType.TEST),
        UpdateConfig(
            name="web", configuration=CONFIGURATION.model_copy(update={"hostname": "web-2"})
        ),
    ],
    "package": [BuildPackage(flake_ref="github:a/a", attribute="hello")],
}


def test_there_is_a_history_of_every_aggregate() -> None:
    assert set(HISTORIES) == set(NIX.aggregates)


@pytest.mark.parametrize("name", HISTORIES)
async def test_what_is_known_of_an_aggregate_is_the_same_again(
    events: MemoryEvents, name: str
) -> None:
    model = NIX.aggregates[name]
    instance = Instance(events, MemorySnapshots(), domain=NIX)
    for command in HISTORIES[name]:
        assert (await instance.send(command)).status == "accepted"
        aggregate_id = NIX.id_for(command)
        known = await ReplayingRepository(NIX, events).load(model, aggregate_id)
        data = write_snapshot(model, "f", known)
        assert data
        again = read_snapshot(model, "f", data)
        assert again
        assert again.snapshot == known.position.version
        assert evolve(again, snapshot=known.snapshot) == known
        assert repr(again.state) == repr(known.state)


async def test_a_snapshot_is_an_entry_that_every_client_can_read(
    nats_url: str, link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    await Instance(events, BucketSnapshots(bucket)).add(12)
    client = await nats.connect(nats_url)
    try:
        kv = await client.jetstream().key_value(bucket._bucket)
        entry = await kv.get(f"tally.{ID}")
        assert entry.value
        found = orjson.loads(entry.value)
        assert (found["version"], found["state"]["total"]) == (10, 10)
        assert found["fingerprint"] == fingerprint(MODEL)
        assert await kv.keys() == [f"tally.{ID}"]

        await kv.put("tally.other", b"value")
        assert await bucket.get("tally.other") == b"value"
        await kv.delete("tally.other")
        assert await bucket.get("tally.other") is None
        await kv.purge(f"tally.{ID}")
        assert await BucketSnapshots(bucket).get("tally", ID) is None
    finally:
        await client.close()


@pytest.mark.parametrize("config", [{}, {"history": 5}, {"direct": True}])
async def test_a_bucket_that_another_client_made_is_taken(
    nats_url: str, link: Link, config: dict[str, Any]
) -> None:
    name = f"b{uuid4().hex[:12]}"
    client = await nats.connect(nats_url)
    try:
        kv = await client.jetstream().create_key_value(bucket=name, **config)
        await kv.put("tally.one", b"before")
        await ensure_stream(link.requests, bucket_stream(name))
        mine = Bucket(link, name)
        assert await mine.get("tally.one") == b"before"
        await mine.put("tally.one", b"after")
        assert (await kv.get("tally.one")).value == b"after"
    finally:
        await client.close()


async def test_what_is_not_in_a_bucket_is_none_and_a_missing_bucket_no_answer(
    link: Link, bucket: Bucket
) -> None:
    assert await bucket.get("tally.nothing") is None
    await remove(link, bucket)
    for attempt in (bucket.get("tally.one"), bucket.put("tally.one", b"")):
        with pytest.raises(NoAnswer):
            await attempt

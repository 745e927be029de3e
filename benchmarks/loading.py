"""Rows 7 and 8: loading an aggregate out of a large log, and one with a long history."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from statistics import median
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.figures import Aim, Row, at_most, ratios
from benchmarks.filling import fill
from benchmarks.histories import Histories
from benchmarks.load import took
from benchmarks.stage import DOMAIN, LARGE, SMALL, Stage, connected
from cim_domain import Domain
from cim_domain.commands.repository import ReplayingRepository, Repository
from cim_domain.commands.snapshots import BucketSnapshots, SnapshottingRepository
from cim_domain.model.aggregate import AggregateModel
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.jetstream import JetStreamEvents

LONG = 1000

Recall = Callable[[], Awaitable[None]]
"""Loads the aggregate with the long history."""

WILDCARD = Aim(
    "7a", "load 10 events out of 1,000,000 ÷ a wildcard consumer's time", at_most(1 / 15)
)
SIZE = Aim("7b", "load 10 events out of 1,000,000 ÷ out of 10,000", at_most(1.5))
REPLAY = Aim("8a", "load 1,000 events of an aggregate ÷ eventsourcing on SQLite", at_most(0.7))
SNAPSHOT = Aim(
    "8b", "the same from a snapshot ÷ eventsourcing on SQLite without snapshots", at_most(1 / 8)
)
BOTH = Aim("8c", "the same from a snapshot ÷ eventsourcing on SQLite with snapshots", None)


async def from_large_log(stage: Stage) -> list[Row]:
    """Row 7: aggregates from all over the logs, each loaded once."""
    filled = await stage.filled()
    chance = random.Random(7)
    large, small, wide, beside = [], [], [], []
    async with stage.server(filled.directory) as url, _link(url) as link, connected(url) as client:
        from_large = JetStreamEvents(link, filled.large.subjects)
        from_small = JetStreamEvents(link, filled.small.subjects)
        for number in range(-1, stage.rounds):
            times: dict[str, list[float]] = {LARGE: [], SMALL: []}
            for _ in range(stage.size(100, 20)):
                for name, log, histories in (
                    (LARGE, from_large, filled.large),
                    (SMALL, from_small, filled.small),
                ):
                    times[name].append(await _load(log, histories, chance))
            if number >= 0:
                large.append(median(times[LARGE]) * 1e3)
                small.append(median(times[SMALL]) * 1e3)
        for _ in range(stage.rounds):
            pairs = []
            for _ in range(stage.size(10, 3)):
                flake = chance.randrange(filled.large.flakes)
                scan = await took(_consume(client, filled.large, flake))
                pairs.append((await _load(from_large, filled.large, chance), scan))
            beside.append(median(one for one, _ in pairs) * 1e3)
            wide.append(median(one for _, one in pairs) * 1e3)
    return [
        WILDCARD.measured(
            ratios(beside, wide), {"load (ms)": median(beside), "consumer (ms)": median(wide)}
        ),
        SIZE.measured(
            ratios(large, small), {"large (ms)": median(large), "small (ms)": median(small)}
        ),
    ]


async def long_history(stage: Stage) -> list[Row]:
    """Row 8: from the log to the state, in this process as theirs."""
    aims = (REPLAY, SNAPSHOT, BOTH)
    if stage.no_peer:
        return [aim.skipped(stage.no_peer) for aim in aims]
    histories = Histories(Subjects(DOMAIN), 1, LONG)
    times: dict[str, list[float]] = {name: [] for name in ("replay", "snapshot", "peer", "both")}
    with _peers(stage) as (plain, snapshotting, aggregate_id):
        async with stage.server() as url, _link(url) as link:
            await fill(url, histories)
            replaying, from_snapshot = await _recalls(link, histories)
            for _ in range(stage.rounds):
                loads = stage.size(20, 3)
                found: dict[str, list[float]] = {name: [] for name in times}
                for _ in range(loads):
                    found["replay"].append(await took(replaying()))
                    found["peer"].append(plain(aggregate_id))
                    found["snapshot"].append(await took(from_snapshot()))
                    found["both"].append(snapshotting(aggregate_id))
                for name, seconds in found.items():
                    times[name].append(median(seconds) * 1e3)
    middle = {name: median(values) for name, values in times.items()}
    return [
        REPLAY.measured(
            ratios(times["replay"], times["peer"]),
            {"ours (ms)": middle["replay"], "eventsourcing (ms)": middle["peer"]},
        ),
        SNAPSHOT.measured(
            ratios(times["snapshot"], times["peer"]),
            {"ours (ms)": middle["snapshot"], "eventsourcing (ms)": middle["peer"]},
        ),
        BOTH.measured(
            ratios(times["snapshot"], times["both"]),
            {"ours (ms)": middle["snapshot"], "eventsourcing (ms)": middle["both"]},
        ),
    ]


async def _load(log: JetStreamEvents, histories: Histories, chance: random.Random) -> float:
    flake = histories.aggregate_id(chance.randrange(histories.flakes))

    async def load() -> None:
        if len(await log.load("flake", flake)) != histories.length:
            raise LookupError(f"the history of {flake} is not complete")

    return await took(load())


async def _consume(client: Client, histories: Histories, flake: int) -> None:
    """The same history by a consumer of its own, as one would think of it first."""
    stream = client.jetstream()
    consumer = await stream.pull_subscribe(
        histories.subjects.journal_of("flake", histories.aggregate_id(flake)),
        stream=histories.subjects.event_stream,
        config=ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True),
    )
    seen = 0
    while seen < histories.length:
        seen += len(await consumer.fetch(histories.length - seen, timeout=30))
    await consumer.unsubscribe()


async def _recalls(link: Link, histories: Histories) -> tuple[Recall, Recall]:
    """One way that replays all, and one that finds a snapshot."""
    domain = Domain.find(DOMAIN)
    flake = domain.aggregates["flake"]
    replaying = ReplayingRepository(domain, JetStreamEvents(link, histories.subjects))
    bucket = histories.subjects.snapshot_bucket
    await ensure_stream(link.requests, bucket_stream(bucket))
    snapshots = BucketSnapshots(Bucket(link, bucket))
    from_snapshot = SnapshottingRepository(replaying, snapshots)
    known = await replaying.load(flake, histories.aggregate_id(0))
    from_snapshot.store(flake, histories.aggregate_id(0), known)
    await from_snapshot.settle()
    return partial(_recall, replaying, flake, histories), partial(
        _recall, from_snapshot, flake, histories
    )


async def _recall(repository: Repository, model: AggregateModel, histories: Histories) -> None:
    known = await repository.load(model, histories.aggregate_id(0))
    if known.position.version != histories.length:
        raise LookupError(f"recalled version {known.position.version}")


@contextmanager
def _peers(stage: Stage) -> Iterator[Any]:
    """How the peer loads the same, without and with snapshots, and the aggregate's id."""
    from benchmarks.peers import eventsourcing as peer  # noqa: PLC0415 - it may not be installed

    directory = stage.new_directory("peer")
    plain = peer.PeerFlakes(env=dict(peer.sqlite(directory)))
    snapshotting = peer.PeerFlakesWithSnapshots(env=dict(peer.sqlite(directory, "snapshots")))
    flake = peer.history("/srv/long", LONG)
    aggregate_id: UUID = flake.id
    try:
        plain.save(flake)
        snapshotting.save(peer.history("/srv/long", LONG))
        yield (
            lambda one: peer.load_seconds(plain, one),
            lambda one: peer.load_seconds(snapshotting, one),
            aggregate_id,
        )
    finally:
        plain.close()
        snapshotting.close()


@asynccontextmanager
async def _link(url: str) -> AsyncIterator[Link]:
    link = await Link.open(load_settings(), name="loading", url=url)
    try:
        yield link
    finally:
        await link.drain()

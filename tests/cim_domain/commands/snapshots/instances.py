"""Instances of a service that make and use snapshots."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from cim_domain import Command, Domain
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.commands.snapshots import (
    EventAt,
    MemorySnapshots,
    Snapshots,
    SnapshottingRepository,
)
from cim_domain.errors import Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import START, Commit, EventStore, Position
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.tallies import Add, request, tally_domain

DOMAIN = tally_domain()
MODEL = DOMAIN.aggregates["tally"]
ID = DOMAIN.id_for(Add(name="t"))


class CountingEvents(EventsAround):
    """A store on another one that notes from which version on it is asked to load."""

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.loaded: list[int] = []

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        return await self.inner.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        self.loaded.append(after.version)
        return await self.inner.load(aggregate, aggregate_id, after)


class SlowSnapshots(MemorySnapshots):
    """Writes only while `open`, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.away = False

    async def get(self, aggregate: str, aggregate_id: str) -> bytes | None:
        if self.away:
            raise Unavailable("the bucket is away")
        return await super().get(aggregate, aggregate_id)

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        await self.open.wait()
        if self.away:
            raise Unavailable("the bucket is away")
        await super().put(aggregate, aggregate_id, data)


class Instance:
    """An executor without a cache that makes and uses snapshots."""

    def __init__(
        self,
        store: EventStore,
        snapshots: Snapshots,
        *,
        every: int = 10,
        domain: Domain = DOMAIN,
        event_at: EventAt | None = None,
    ) -> None:
        self.store = CountingEvents(store)
        self.domain = domain
        self.repository = SnapshottingRepository(
            ReplayingRepository(domain, self.store), snapshots, every, event_at
        )
        self.executor = Executor(
            domain, self.store, self.repository, source=f"cim-domain-{domain.name}"
        )

    async def add(self, times: int = 1, note: str = "", name: str = "t") -> Outcome:
        """So many commands of one event each, one after another; the last one's outcome."""
        outcome = await self.send(Add(name=name, note=note))
        for _ in range(times - 1):
            outcome = await self.send(Add(name=name, note=note))
        return outcome

    async def send(self, command: Command, command_id: str | None = None) -> Outcome:
        outcome = await self.executor.execute(request(self.domain, command, command_id))
        await self.repository.settle()
        return outcome

    async def total(self) -> int:
        """The total of the tally as the instance knows it."""
        refused = await self.executor.execute(request(DOMAIN, Add(name="t", amounts=(1_000_001,))))
        assert refused.error
        assert refused.error.code == "tally.full"
        return int(refused.error.details["total"])


async def content(snapshots: Snapshots) -> dict[str, Any]:
    data = await snapshots.get("tally", ID)
    assert data
    found: dict[str, Any] = orjson.loads(data)
    return found


async def remove(link: Link, bucket: Bucket) -> None:
    await call(link.requests, f"STREAM.DELETE.KV_{bucket._bucket}")

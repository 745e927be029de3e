"""Events on three replicas: the same promises, also while the leader dies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.patience import Patience
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.port import START, EventStore, Position, StoreConflict
from cim_domain.testing.cluster import leader_of, throwaway_cluster, urls_of
from cim_domain.testing.records import all_of, commit, new_id
from cim_domain.testing.server import crash, in_thread
from cim_domain.testing.store.conformance import PersistentConformance

pytestmark = pytest.mark.slow

PATIENT = Patience(budget=60)
"""Three servers on a busy machine may have no leader for longer than a service waits."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, EmbeddedServer]]:
    with in_thread(throwaway_cluster) as servers:
        yield servers


@pytest.fixture
async def links(cluster: dict[str, EmbeddedServer]) -> AsyncIterator[list[Link]]:
    """One to each server."""
    links = [
        await Link.open(load_settings(), name="test", url=server.url) for server in cluster.values()
    ]
    yield links
    for link in links:
        await link.close()


@pytest.fixture
async def replicated(links: list[Link], subjects: Subjects) -> AsyncIterator[Subjects]:
    """A domain whose event stream has three replicas."""
    await ensure_log(links[0].requests, subjects, replicas=3)
    yield subjects
    await call(links[0].requests, f"STREAM.DELETE.{subjects.event_stream}")


class TestOnThreeReplicas(PersistentConformance):
    @pytest.fixture
    async def store(self, links: list[Link], replicated: Subjects) -> JetStreamEvents:
        return JetStreamEvents(links[1], replicated, PATIENT)

    @pytest.fixture
    def reopen(
        self, links: list[Link], replicated: Subjects
    ) -> Callable[[], Awaitable[EventStore]]:
        async def again() -> EventStore:
            return JetStreamEvents(links[2], replicated, PATIENT)

        return again


async def test_a_leader_that_dies_costs_nothing_and_doubles_nothing(
    cluster: dict[str, EmbeddedServer], subjects: Subjects
) -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    links = [await Link.open(settings, name="w", url=urls_of(cluster)) for _ in range(6)]
    await ensure_log(links[0].requests, subjects, replicas=3)
    flakes = [new_id(), new_id()]
    done: dict[str, Position] = {}
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        store = JetStreamEvents(links[writer], subjects)
        flake, position = flakes[writer % 2], START
        while not enough.is_set():
            attempt = commit(flake, position, events=1 + 2 * (writer // 2 % 2))
            try:
                (position,) = await store.append([attempt])
            except StoreConflict:
                for each in await store.load("flake", flake, position):
                    found = each.metadata
                    position = Position(found.aggregate_version, found.sequence)
                continue
            for number, each in enumerate(reversed(attempt.events)):
                done[each.metadata.message_id] = Position(
                    position.version - number, position.sequence - number
                )

    writers = [asyncio.create_task(write(number)) for number in range(6)]

    async def grown(by: int) -> None:
        target = len(done) + by
        async with asyncio.timeout(30):
            while len(done) < target:
                finished, _ = await asyncio.wait(writers, timeout=0.01)
                for one in finished:
                    one.result()

    await grown(100)
    crash(await leader_of(links[0], subjects.event_stream, cluster))
    await grown(300)
    enough.set()
    await asyncio.gather(*writers)

    log = await all_of(JetStreamEvents(links[0], subjects).read())
    found = {
        one.metadata.message_id: Position(one.metadata.aggregate_version, one.metadata.sequence)
        for one in log
    }
    assert len(found) == len(log)
    assert found == done
    for link in links:
        await link.close()

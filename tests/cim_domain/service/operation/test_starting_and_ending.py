"""A start that JetStream is late for, and an end that nothing holds up."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from cim_domain import Domain, Process, reacts
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.config import RestartPolicy
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.testing.cluster import throwaway_cluster
from cim_domain.testing.server import crash, frozen, throwaway_server
from tests.cim_domain.service.servers import SUMS, asked
from tests.cim_domain.tallies import Added, Tallies, Tally

S = Subjects("sums")


class Stuck(Process):
    """Reacts without an end, unless it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may = asyncio.Event()

    @reacts
    async def added(self, event: Added) -> None:
        self.begun.set()
        await self.may.wait()


def service_of(process: Process | None, url: str, directory: Path, **options: Any) -> Service:
    processes = [process] if process else []
    domain = Domain("sums", aggregates=[Tally], projections=[Tallies()], processes=processes)
    nats = load_settings(url=url, data_directory=directory)
    return Service(domain, nats, load_service_settings(views="memory", **options))


async def test_it_ends_though_the_server_is_silent(tmp_path: Path) -> None:
    async with throwaway_server() as server:
        service = service_of(None, server.url, tmp_path, stop_silence=0.5)
        await service.start()
        with frozen(server):
            async with asyncio.timeout(8):
                await service.stop()


async def test_a_reaction_that_does_not_end_is_cut_and_comes_again_elsewhere(
    tmp_path: Path,
) -> None:
    async with throwaway_server() as server:
        stuck, other = Stuck(), Stuck()
        other.may.set()
        service = service_of(stuck, server.url, tmp_path, stop_patience=1, ack_wait=1)
        await service.start()
        link = await Link.open(load_settings(), name="test", url=server.url)
        reply = await asked(link, S.command("tally.add"), {"name": "a"})
        assert reply["status"] == "accepted"
        await link.close()
        await stuck.begun.wait()
        async with asyncio.timeout(10):
            await service.stop()
        async with (
            service_of(other, server.url, tmp_path, ack_wait=1),
            asyncio.timeout(20),
        ):
            await other.begun.wait()


async def test_what_is_in_flight_and_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    async with throwaway_server() as server:
        stuck = Stuck()
        service = service_of(stuck, server.url, tmp_path)
        await service.start()
        link = await Link.open(load_settings(), name="test", url=server.url)
        await asked(link, S.command("tally.add"), {"name": "a"})
        await stuck.begun.wait()
        stopping = asyncio.create_task(service.stop())
        await asyncio.wait([stopping], timeout=0.5)
        assert not stopping.done()
        stuck.may.set()
        await stopping
        consumer = f"$JS.API.CONSUMER.INFO.{S.event_stream}.process-stuck"
        found = orjson.loads((await link.requests.one(consumer, timeout=5)).data)
        assert (found["num_pending"], found["num_ack_pending"]) == (0, 0)
        await link.close()


@pytest.mark.slow
async def test_a_start_waits_until_jetstream_has_a_leader(tmp_path: Path) -> None:
    away = RestartPolicy(attempts=1000, first_delay=8, longest_delay=8)
    async with throwaway_cluster(restart=away) as servers:
        left, *others = servers.values()
        for server in others:
            crash(server)
        nats = load_settings(url=left.url, data_directory=tmp_path)
        settings = load_service_settings(views="memory", start_patience=60)
        async with Service(SUMS, nats, settings) as service:
            assert (await service.health())["checks"]["stream"]["last_sequence"] == 0

"""A log that has lost an event: who meets it says so at once, and nobody guesses."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cim_domain.cli.doctor.examination import streams
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.errors import Failed
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.views.memory import MemoryViews
from tests.cim_domain.damage import cut, flip
from tests.cim_domain.service.servers import SUMS, Client, server_in, tallies_at

S = Subjects("sums")

Damage = Callable[[Path, str, bytes], None]


async def health_when_it_waits(client: Client) -> Any:
    async with asyncio.timeout(15):
        while True:
            report = await client.service.health()
            if report["checks"]["projection.tallies"]["state"] == "waiting":
                return report
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("damage", [flip, cut])
async def test_views_stop_before_a_lost_event_and_commands_to_its_aggregate_are_refused(
    tmp_path: Path, kept_views: str, damage: Damage
) -> None:
    data = tmp_path / "server"
    async with server_in(data) as server, tallies_at(server.url, tmp_path, "memory") as client:
        for amount, name in enumerate(["one", "two", "two", "one", "two"], 101):
            await client.add(name, amount)
        assert await client.health() == "healthy"
    damage(data, S.event_stream, b'"amount":103')
    async with server_in(data) as server, tallies_at(server.url, tmp_path, kept_views) as client:
        if damage is cut:
            # The server numbers on behind what it knows to have lost.
            assert (await client.add("three"))["sequence"] == 6
        report = await health_when_it_waits(client)
        assert report["status"] == "unhealthy"
        checks = report["checks"]
        assert "event 3 " in checks["projection.tallies"]["error"]
        assert checks["projection.tallies"]["position"] == 2
        assert checks["stream"]["status"] == "unhealthy"
        assert checks["stream"]["lost"] == 3
        (log,) = (one for one in await streams(client.link, S, 1) if one.name == "log")
        assert log.status == ("fail" if damage is cut else "ok")
        if damage is flip:
            async with asyncio.timeout(5):
                refused = await client.add("two")
            assert refused["error"]["code"] == "corrupt_history"
            assert refused["error"]["details"] == {"sequence": 3}
            assert (await client.add("one"))["status"] == "accepted"


async def test_views_that_have_read_a_lost_event_are_kept(tmp_path: Path, kept_views: str) -> None:
    data = tmp_path / "server"
    async with server_in(data) as server, tallies_at(server.url, tmp_path, kept_views) as client:
        await client.add("one", 101)
        await client.add("two", 102)
        assert await client.names(2) == ["one", "two"]
    flip(data, S.event_stream, b'"amount":102')
    async with server_in(data) as server, tallies_at(server.url, tmp_path, kept_views) as client:
        assert await client.names(2) == ["one", "two"]
        assert (await client.add("one"))["sequence"] == 3
        assert await client.total("one", 3) == 102


async def test_a_rebuild_ends_at_a_lost_event(tmp_path: Path) -> None:
    data = tmp_path / "server"
    async with server_in(data) as server, tallies_at(server.url, tmp_path, "memory") as client:
        for amount in (101, 102, 103):
            await client.add("one", amount)
    flip(data, S.event_stream, b'"amount":102')
    (model,) = SUMS.projections.values()
    async with server_in(data) as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        log, views = JetStreamEvents(link, S), MemoryViews()
        runner = ProjectionRunner(SUMS, model, log, views, MemoryDeadLetters(), S)

        async def build() -> None:
            views_to_be = await views.rebuild(model)
            async with asyncio.timeout(10), aclosing(runner.build(views_to_be)) as steps:
                async for _ in steps:
                    pass

        with pytest.raises(Failed) as caught:
            await build()
        assert (caught.value.code, caught.value.details["sequence"]) == ("corrupt_history", 2)
        assert runner.position == 1
        await link.close()

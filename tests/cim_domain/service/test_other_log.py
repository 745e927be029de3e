"""A service whose connection leads to another log: it stores nothing there, and says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.service.service import Service
from cim_domain.store.jetstream import ensure_log
from cim_domain.testing.server import throwaway_server
from tests.cim_domain.nats.connection.connecting import free_port
from tests.cim_domain.service.servers import asked, server_with, sums_on
from tests.faults.proxy import Proxy

S = Subjects("sums")


@frozen
class Address:
    """Where the service finds its server: this one, or that one."""

    proxy: Proxy
    service: Service

    async def becomes(self, status: str) -> None:
        """Return once the service says that of itself: projections look every few seconds."""
        async with asyncio.timeout(20):
            while (await self.service.health())["status"] != status:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def leads_to(self, server: EmbeddedServer) -> None:
        reconnects = (await self.service.health())["checks"]["connection"].get("reconnects", 0)
        self.proxy.target = _port(server)
        await self.proxy.cut(1.0)
        async with asyncio.timeout(20):
            while True:
                found = (await self.service.health())["checks"]["connection"]
                if found["status"] == "healthy" and found["reconnects"] > reconnects:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def service_at(server: EmbeddedServer, directory: Path) -> AsyncIterator[Address]:
    proxy = Proxy(_port(server))
    await proxy.listen()
    try:
        async with sums_on(f"nats://127.0.0.1:{proxy.port}", directory) as service:
            yield Address(proxy, service)
    finally:
        await proxy.refuse()


@asynccontextmanager
async def link_to(server: EmbeddedServer) -> AsyncIterator[Link]:
    link = await Link.open(load_settings(), name="test", url=server.url)
    try:
        yield link
    finally:
        await link.close()


def _port(server: EmbeddedServer) -> int:
    return int(server.url.rpartition(":")[2])


async def stored(link: Link) -> int:
    state = (await call(link.requests, f"STREAM.INFO.{S.event_stream}"))["state"]
    return int(state["last_seq"])


async def add(link: Link, name: str, **fields: Any) -> Any:
    return await asked(link, S.command("tally.add"), {"name": name, **fields})


async def test_on_a_leaf_node_with_a_log_of_that_name_nothing_is_stored(tmp_path: Path) -> None:
    port = free_port()
    at_hub_config = (
        f'leafnodes {{ listen: "127.0.0.1:{port}" }}\n'
        f'jetstream {{ domain: hub, store_dir: "{tmp_path}/hub/js" }}'
    )
    at_leaf_config = (
        f'leafnodes {{ remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ] }}\n'
        f'jetstream {{ domain: leaf, store_dir: "{tmp_path}/leaf/js" }}'
    )
    async with (
        server_with(tmp_path / "hub", at_hub_config) as hub,
        server_with(tmp_path / "leaf", at_leaf_config) as leaf,
        link_to(hub) as at_hub,
        link_to(leaf) as at_leaf,
        service_at(hub, tmp_path) as address,
    ):
        assert (await add(at_hub, "first"))["status"] == "accepted"
        await ensure_log(at_leaf.requests, S)
        await address.leads_to(leaf)
        refused = await add(at_leaf, "there")
        assert (refused["status"], refused["error"]["code"]) == ("failed", "other_log")
        health = await address.service.health()
        assert health["status"] == "unhealthy"
        assert "another log" in health["checks"]["stream"]["error"]
        assert (await stored(at_hub), await stored(at_leaf)) == (1, 0)
        await address.leads_to(hub)
        assert (await add(at_hub, "here"))["status"] == "accepted"
        await address.becomes("healthy")


@pytest.mark.parametrize("amounts", [[1], [1, 2], [-1]], ids=["event", "batch", "rejection"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
async def test_at_a_server_that_was_set_up_anew_commands_are_refused_until_the_old_one_is_back(
    tmp_path: Path, amounts: list[int], known: bool
) -> None:
    async with (
        throwaway_server() as first,
        throwaway_server() as second,
        link_to(first) as at_first,
        link_to(second) as at_second,
        service_at(first, tmp_path) as address,
    ):
        await ensure_log(at_second.requests, S)
        if known:
            assert (await add(at_first, "one"))["sequence"] == 1
        before = await stored(at_first)
        await address.leads_to(second)
        refused = await add(at_second, "one", amounts=amounts)
        assert (refused["status"], refused["error"]["code"]) == ("failed", "other_log")
        assert (await address.service.health())["status"] == "unhealthy"
        assert await stored(at_second) == 0
        await address.leads_to(first)
        assert (await add(at_first, "one"))["sequence"] == before + 1
        await address.becomes("healthy")


async def test_views_take_nothing_of_another_log(tmp_path: Path) -> None:
    async with (
        throwaway_server() as first,
        throwaway_server() as second,
        link_to(first) as at_first,
        link_to(second) as at_second,
    ):
        async with sums_on(second.url, tmp_path / "other"):
            for _ in range(3):
                assert (await add(at_second, "theirs"))["status"] == "accepted"
        async with service_at(first, tmp_path) as address:
            sequence = (await add(at_first, "ours"))["sequence"]
            await asked(
                at_first, S.query("tally.get"), {"name": "ours"}, X_Min_Sequence=str(sequence)
            )
            await address.leads_to(second)
            async with asyncio.timeout(20):
                while "error" not in (names := await asked(at_second, S.query("tally.names"), {})):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert names["error"]["code"] == "other_log"
            await address.leads_to(first)
            assert (await add(at_first, "ours too"))["sequence"] == sequence + 1
            at = str(sequence + 1)
            names = await asked(at_first, S.query("tally.names"), {}, X_Min_Sequence=at)
            assert names == ["ours", "ours too"]
            await address.leads_to(second)
            projection = (await address.service.health())["checks"]["projection.tallies"]
            assert projection["status"] == "unhealthy"


async def test_a_server_without_any_log_is_not_given_one(tmp_path: Path) -> None:
    async with (
        throwaway_server() as first,
        throwaway_server() as second,
        link_to(second) as at_second,
        service_at(first, tmp_path) as address,
    ):
        await address.leads_to(second)
        refused = await add(at_second, "one")
        assert (refused["status"], refused["error"]["code"]) == ("failed", "log_missing")
        assert (await address.service.health())["status"] == "unhealthy"


async def test_a_log_that_is_made_anew_on_the_same_connection_is_noticed(tmp_path: Path) -> None:
    async with (
        throwaway_server() as server,
        link_to(server) as link,
        sums_on(server.url, tmp_path) as service,
    ):
        assert (await add(link, "one"))["sequence"] == 1
        assert (await add(link, "two"))["sequence"] == 2
        await call(link.requests, f"STREAM.DELETE.{S.event_stream}")
        await ensure_log(link.requests, S)
        # Nothing tells of it before; afterwards nobody is told that it is stored.
        refused = await add(link, "three")
        assert (refused["status"], refused["error"]["code"]) == ("failed", "other_log")
        assert (await add(link, "four"))["error"]["code"] == "other_log"
        assert (await service.health())["status"] == "unhealthy"

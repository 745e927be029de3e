"""Views name the log that they are of: other logs, and older copies, beside the same views."""

import asyncio
import shutil
from pathlib import Path

import pytest

from cim_domain.nats.jetstream.api import call
from cim_domain.testing.server import throwaway_server
from tests.cim_domain.nats.connection.connecting import free_port
from tests.cim_domain.service.servers import server_in, tallies_at


async def test_at_another_server_nothing_is_answered_of_the_first(
    tmp_path: Path, kept_views: str
) -> None:
    async with throwaway_server() as first, throwaway_server() as second:
        async with tallies_at(first.url, tmp_path, kept_views) as client:
            for name in ("one", "two"):
                await client.add(name, 5)
            assert await client.names(2) == ["one", "two"]
        async with tallies_at(second.url, tmp_path, kept_views) as client:
            assert await client.total("one") == "not_found"
            assert (await client.add("nine"))["sequence"] == 1
            assert await client.total("nine", 1) == 1
            assert await client.names(1) == ["nine"]
            assert await client.health() == "healthy"
        async with tallies_at(first.url, tmp_path, kept_views) as client:
            assert await client.names() == ["one", "two"]
            assert (await client.add("one"))["sequence"] == 3
            assert await client.total("one", 3) == 6
            assert await client.health() == "healthy"


async def test_two_installations_on_one_server_and_one_directory_share_nothing(
    tmp_path: Path, kept_views: str
) -> None:
    async with (
        throwaway_server() as server,
        tallies_at(server.url, tmp_path, kept_views, "north") as north,
        tallies_at(server.url, tmp_path, kept_views, "south") as south,
    ):
        for _ in range(3):
            await north.add("northern")
        assert (await south.add("southern"))["sequence"] == 1
        assert await north.names(3) == ["northern"]
        assert await south.names(1) == ["southern"]
        assert (await north.health(), await south.health()) == ("healthy", "healthy")


@pytest.mark.parametrize("others", [0, 2, 5], ids=["shorter", "as long", "longer"])
async def test_views_that_are_ahead_of_an_older_copy_of_the_log_are_built_anew(
    tmp_path: Path, kept_views: str, others: int
) -> None:
    data, copy = tmp_path / "server", tmp_path / "copy"
    async with server_in(data) as server, tallies_at(server.url, tmp_path, kept_views) as client:
        await client.add("one", 5)
        assert await client.total("one", 1) == 5
    shutil.copytree(data, copy)
    async with server_in(data) as server, tallies_at(server.url, tmp_path, kept_views) as client:
        assert await client.total("one", 1) == 5
        await client.add("one", 5)
        await client.add("lost")
        assert await client.names(3) == ["lost", "one"]
    shutil.rmtree(data)
    copy.rename(data)
    async with server_in(data) as server:
        if others:
            async with tallies_at(server.url, tmp_path / "elsewhere", "memory") as client:
                for number in range(others):
                    await client.add(f"other {number}")
        async with tallies_at(server.url, tmp_path, kept_views) as client:
            head = 1 + others
            expected = sorted(["one", *(f"other {number}" for number in range(others))])
            assert sorted(await client.names(head)) == expected
            assert await client.total("one", head) == 5
            assert await client.health() == "healthy"
            assert (await client.add("next"))["sequence"] == head + 1
            assert await client.total("next", head + 1) == 1


async def test_a_running_service_refuses_an_older_copy_until_it_is_restarted(
    tmp_path: Path, kept_views: str
) -> None:
    data, copy, port = tmp_path / "server", tmp_path / "copy", free_port()
    async with server_in(data, port) as server, tallies_at(server.url, tmp_path, kept_views) as one:
        await one.add("one")
    shutil.copytree(data, copy)
    url = f"nats://127.0.0.1:{port}"
    async with server_in(data, port):
        stack = tallies_at(url, tmp_path, kept_views)
        client = await stack.__aenter__()
        await client.add("lost")
        assert await client.names(2) == ["lost", "one"]
    shutil.rmtree(data)
    copy.rename(data)
    async with server_in(data, port):
        async with asyncio.timeout(20):
            # Nobody announces it.
            while await client.health() != "unhealthy" or await client.names() != "other_log":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        refused = await client.add("next")
        assert refused["error"]["code"] == "other_log"
        assert "older copy" in refused["error"]["message"]
        await stack.__aexit__(None, None, None)
        async with tallies_at(url, tmp_path, kept_views) as client:
            assert await client.names(1) == ["one"]
            assert (await client.add("next"))["sequence"] == 2
            assert await client.names(2) == ["next", "one"]
            assert await client.health() == "healthy"


async def test_when_the_log_is_deleted_nothing_is_answered_from_its_views(
    tmp_path: Path, kept_views: str
) -> None:
    async with (
        throwaway_server() as server,
        tallies_at(server.url, tmp_path, kept_views) as client,
    ):
        await client.add("one")
        assert await client.names(1) == ["one"]
        await call(client.link.requests, f"STREAM.DELETE.{client.subjects.event_stream}")
        async with asyncio.timeout(20):
            while await client.names() != "log_missing":  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.05)
        assert await client.health() == "unhealthy"

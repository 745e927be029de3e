"""The embedded server: its directory has one owner, who ends what was left behind there."""
# ruff: noqa: ASYNC240 - a few small local files

import asyncio
import json
import os
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server.embedded import EmbeddedServer, find_url, server_binary
from tests.cim_domain.nats.server.serving import options, owner_process, port_of


class TestDataDirectory:
    async def test_a_second_owner_is_refused_and_the_first_undisturbed(self, data: Path) -> None:
        async with owner_process(data) as (owner, _, url):
            with pytest.raises(ConfigurationError) as refusal:
                await EmbeddedServer(options(data)).start()
            assert str(data) in str(refusal.value)
            assert f"in use by process {owner.pid}: stop that process" in str(refusal.value)
            assert find_url(data) == url

    async def test_a_second_owner_in_the_same_process_is_refused(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
                await EmbeddedServer(options(data)).start()
            assert find_url(data) == server.url

    async def test_is_free_again_after_a_stop(self, data: Path) -> None:
        for _ in range(2):
            async with EmbeddedServer(options(data)):
                pass

    async def test_an_open_directory_is_closed_when_it_is_empty(self, data: Path) -> None:
        data.mkdir(mode=0o755)
        async with EmbeddedServer(options(data)):
            assert stat.S_IMODE(data.stat().st_mode) == 0o700

    async def test_an_open_directory_with_other_files_is_refused_and_left(self, data: Path) -> None:
        data.mkdir(mode=0o755)
        (data / "thesis.txt").write_text("mine")
        with pytest.raises(ConfigurationError, match="open to other users and holds other files"):
            await EmbeddedServer(options(data)).start()
        assert stat.S_IMODE(data.stat().st_mode) == 0o755
        assert [path.name for path in data.iterdir()] == ["thesis.txt"]

    async def test_a_file_in_its_place_is_refused(self, data: Path) -> None:
        data.write_text("no directory")
        with pytest.raises(ConfigurationError, match="cannot be used: File exists"):
            await EmbeddedServer(options(data)).start()

    async def test_a_url_is_found_only_while_the_server_lives(self, data: Path) -> None:
        assert find_url(data) is None
        async with EmbeddedServer(options(data)) as server:
            assert find_url(data) == server.url
        assert find_url(data) is None

    async def test_a_torn_state_file_is_no_url_and_no_obstacle(self, data: Path) -> None:
        data.mkdir(mode=0o700)
        (data / "server.json").write_text('{"pid": 1')
        assert find_url(data) is None
        async with EmbeddedServer(options(data)) as server:
            assert find_url(data) == server.url


class TestLeftBehind:
    async def test_an_orphan_is_ended_by_the_next_owner(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            port = port_of(server.url)
        config = data / "nats-server.conf"
        config.write_text(config.read_text().replace("port: -1", f"port: {port}"))
        orphan = await asyncio.create_subprocess_exec(server_binary(), "--config", config)
        try:
            (data / "server.json").write_text(
                json.dumps({"pid": orphan.pid, "config": str(config), "url": "nats://orphan"})
            )
            async with EmbeddedServer(options(data, port=None, preferred_port=port)) as server:
                await asyncio.wait_for(orphan.wait(), 10)
                assert server.pid != orphan.pid
                assert find_url(data) == server.url
        finally:
            if orphan.returncode is None:
                orphan.kill()
            await orphan.wait()

    async def test_a_stranger_with_the_recorded_pid_is_left_alone(self, data: Path) -> None:
        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input())", stdin=PIPE, stdout=PIPE
        )
        data.mkdir(mode=0o700)
        (data / "server.json").write_text(
            json.dumps({"pid": stranger.pid, "config": "/x.conf", "url": "nats://stranger"})
        )
        assert find_url(data) is None
        async with EmbeddedServer(options(data)):
            pass
        said, _ = await asyncio.wait_for(stranger.communicate(b"alive\n"), 10)
        assert said == b"alive\n"

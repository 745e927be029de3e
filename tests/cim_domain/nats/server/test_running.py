"""The embedded server: what it is like, and where it listens."""
# ruff: noqa: ASYNC240 - a few small local files

import asyncio
import json
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import trustme

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server.embedded import EmbeddedServer, ServerStatus, find_url
from tests.cim_domain.nats.server.serving import info, options, port_of


class TestRunning:
    async def test_answers_on_loopback_and_tells_its_version(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            said = await info(server.url)
            assert urlsplit(server.url).hostname == "127.0.0.1"
            assert said["host"] == "127.0.0.1"
            assert said["version"] == server.version
            assert said["jetstream"] is True
            assert server.status() == ServerStatus("running")

    async def test_jetstream_lies_in_the_data_directory_and_syncs_always(self, data: Path) -> None:
        changes = {"extra_config": 'http: "127.0.0.1:-1"', "max_payload": 4096}
        async with EmbeddedServer(options(data, **changes)) as server:
            ports = json.loads(next(data.glob(f"ports/*_{server.pid}.ports")).read_text())

            def ask() -> Any:
                with urlopen(f"{ports['monitoring'][0]}/jsz") as answer:
                    return json.load(answer)["config"]

            config = await asyncio.to_thread(ask)
            assert config["store_dir"] == str(data / "jetstream")
            assert config["sync_always"] is True
            assert (await info(server.url))["max_payload"] == 4096

    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
    async def test_it_gets_none_of_the_environment_but_what_it_needs(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
        monkeypatch.setenv("GOMAXPROCS", "1")
        async with EmbeddedServer(options(data)) as server:
            environment = Path(f"/proc/{server.pid}/environ").read_bytes()
        assert b"hunter2" not in environment
        assert b"GOMAXPROCS=1" in environment

    async def test_all_it_writes_is_closed_to_other_users(self, data: Path) -> None:
        before = os.umask(0)
        try:
            async with EmbeddedServer(options(data)):
                written = [data, *data.rglob("*")]
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in written}
        finally:
            os.umask(before)
        assert modes["data"] == 0o700
        assert modes["nats-server.conf"] == modes["server.json"] == 0o600
        assert modes["nats-server.log"] == modes["owner.lock"] == 0o600
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}

    async def test_a_path_may_hold_anything(self, tmp_path: Path) -> None:
        data = tmp_path / os.fsdecode(b"a \"b\" 'c' \\x41 $HOME {d} #e \n f\xff \xc3\xbc")
        async with EmbeddedServer(options(data)) as server:
            assert find_url(data) == server.url
            assert (data / "jetstream").is_dir()

    async def test_ctrl_c_at_the_terminal_does_not_reach_it(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            assert server.pid is not None
            assert os.getpgid(server.pid) == os.getsid(server.pid) == server.pid

    async def test_its_name_stays_across_starts_and_differs_between_directories(
        self, data: Path, tmp_path: Path
    ) -> None:
        names = []
        for directory in (data, data, tmp_path / "other"):
            async with EmbeddedServer(options(directory)) as server:
                names.append((await info(server.url))["server_name"])
        assert names[0] == names[1] != names[2]

    async def test_takes_extra_configuration_such_as_tls_before_all_else(
        self, data: Path, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        extra = (
            """tls { cert_file: "../cert.pem", key_file: "../key.pem", handshake_first: true }"""
        )
        async with EmbeddedServer(options(data, extra_config=extra)) as server:
            context = ssl.create_default_context()
            authority.configure_trust(context)
            address = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(
                address.hostname, address.port, ssl=context
            )
            assert address.scheme == "tls"
            assert (await reader.readline()).startswith(b"INFO")
            writer.close()
            await writer.wait_closed()


class TestPorts:
    async def test_takes_the_next_free_port_when_the_preferred_one_is_taken(
        self, data: Path, taken_port: int
    ) -> None:
        wanted = options(data, port=None, preferred_port=taken_port)
        async with EmbeddedServer(wanted) as server:
            assert taken_port < port_of(server.url) < taken_port + 100
            assert (await info(server.url))["port"] == port_of(server.url)

    async def test_two_that_want_the_same_port_at_once_both_come_up(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        one, two = (
            EmbeddedServer(options(tmp_path / name, port=None, preferred_port=port))
            for name in ("one", "two")
        )
        try:
            urls = await asyncio.gather(one.start(), two.start())
            assert len({port_of(url) for url in urls}) == 2
        finally:
            await asyncio.gather(one.stop(), two.stop())

    async def test_refuses_when_the_port_it_must_use_is_taken(
        self, data: Path, taken_port: int
    ) -> None:
        with pytest.raises(ConfigurationError, match=f"port {taken_port} on 127.0.0.1 is in use"):
            await EmbeddedServer(options(data, port=taken_port)).start()
        assert find_url(data) is None

    async def test_comes_back_on_a_port_where_it_left_clients(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            port = port_of(server.url)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()
        await asyncio.wait_for(reader.read(), 5)  # the side that closes first keeps the port busy
        writer.close()
        await writer.wait_closed()
        async with EmbeddedServer(options(data, port=port)) as server:
            assert port_of(server.url) == port

    @pytest.mark.parametrize("port", [-1, 65536])
    async def test_refuses_what_is_no_port(self, data: Path, port: int) -> None:
        with pytest.raises(ConfigurationError, match="is no port"):
            await EmbeddedServer(options(data, port=port)).start()

"""A service as a process: what ends it, and what it leaves behind."""

import asyncio
import os
import re
import select
import signal
import socket
from pathlib import Path

import pytest

from cim_domain.client import DomainClient
from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.model.domain import Domain
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.directory import DataDirectory
from cim_domain.nats.server.embedded import RestartPolicy, ServerOptions, find_url
from cim_domain.service.runner import ENDED, LOST, run_service
from cim_domain.service.settings import load_service_settings
from cim_domain.testing.process import service_process
from cim_domain.testing.server import throwaway_server
from cim_domain.wire.outcome import Outcome

PORT = ("--port", "0")
NIX = Domain.find("nix")
IN_FLIGHT = 200


def server_of(directory: Path) -> int:
    """The id of the embedded server's process."""
    state = DataDirectory(directory).read_state()
    assert state is not None
    return state.pid


def wait_for_end(descriptor: int) -> None:
    """Wait until the process behind a descriptor of `os.pidfd_open` has ended."""
    try:
        assert select.select([descriptor], [], [], 20)[0], "the process is still there"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_has_what_is_in_flight_answered_and_leaves_nothing_behind(tmp_path, ending):
    data = tmp_path / "data"
    replies: asyncio.Queue[Outcome] = asyncio.Queue()

    async def receive(message):
        replies.put_nowait(Outcome.from_wire(message.data))

    with service_process("nix", data_directory=data, arguments=PORT) as service:
        server, url = os.pidfd_open(server_of(data)), find_url(data)
        link = await Link.open(load_settings(), name="test", url=url)
        inbox = link.client.new_inbox()
        await link.client.subscribe(inbox, cb=receive)
        # Held still, so that the signal comes before the first of them is answered.
        service.process.send_signal(signal.SIGSTOP)
        for number in range(IN_FLIGHT):
            await link.client.publish(
                "nix.cmd.flake.create", b'{"path": "/srv/%d"}' % number, reply=inbox
            )
        await round_trip(link.client)
        service.process.send_signal(ending)
        service.process.send_signal(signal.SIGCONT)
        service.process.send_signal(ending)
        async with asyncio.timeout(20):
            outcomes = [await replies.get() for _ in range(IN_FLIGHT)]
        assert [one.status for one in outcomes] == ["accepted"] * IN_FLIGHT
        assert await asyncio.to_thread(service.wait) == ENDED
        await link.close()
    await asyncio.to_thread(wait_for_end, server)
    assert find_url(data) is None
    assert not any("Traceback" in line for line in service.log)


def test_a_service_that_is_killed_takes_its_server_along(tmp_path):
    data = tmp_path / "data"
    with service_process("nix", data_directory=data, arguments=PORT) as service:
        server = os.pidfd_open(server_of(data))
        service.process.kill()
        service.wait()
    wait_for_end(server)


def test_what_was_accepted_is_there_after_a_restart(tmp_path):
    data = tmp_path / "data"

    async def send() -> Outcome:
        url = find_url(data)
        async with DomainClient.open("nix", load_settings(), url=url) as client:
            return await client.send("flake.create", {"path": "/srv/web"})

    with service_process("nix", data_directory=data, arguments=PORT) as service:
        assert asyncio.run(send()).status == "accepted"
        service.process.kill()
        service.wait()
    with service_process("nix", data_directory=data, arguments=PORT):
        assert asyncio.run(send()).status == "rejected"


def test_a_second_service_on_the_same_data_directory_is_refused_and_the_first_goes_on(tmp_path):
    data = tmp_path / "data"
    with service_process("nix", data_directory=data, arguments=PORT) as first:
        with (
            pytest.raises(RuntimeError, match=f"in use by process {first.process.pid}"),
            service_process("nix", data_directory=data, arguments=PORT),
        ):
            pass
        assert first.process.poll() is None
        assert find_url(data)


def test_a_log_that_is_no_terminal_has_plain_lines_with_times(tmp_path):
    with service_process("nix", data_directory=tmp_path / "data", arguments=PORT) as service:
        service.process.terminate()
        service.wait()
    for line in service.log:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ cim_domain[.\w]* ", line)


async def test_a_server_that_dies_for_good_ends_the_service_as_lost(tmp_path):
    data = tmp_path / "data"
    options = ServerOptions(data_directory=data, port=0, restart=RestartPolicy(attempts=0))
    settings = load_service_settings(views="memory", store_patience=0.5)
    ready = asyncio.Event()
    running = asyncio.create_task(
        run_service(
            NIX,
            load_settings(data_directory=data),
            settings,
            server=options,
            on_ready=lambda _: ready.set(),
        )
    )
    await ready.wait()
    os.kill(server_of(data), signal.SIGKILL)
    assert await running == LOST


async def test_a_server_that_is_started_again_shows_in_health(tmp_path):
    data = tmp_path / "data"
    ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        run_service(
            NIX,
            load_settings(data_directory=data),
            load_service_settings(views="memory"),
            server=ServerOptions(data_directory=data, port=0, sync_always=False),
            on_ready=ready.set_result,
        )
    )
    async with DomainClient.open("nix", load_settings(), url=await ready, retry=30) as client:
        before = (await client.health())["checks"]["server"]
        os.kill(server_of(data), signal.SIGKILL)
        after = before
        while not after["restarts"]:
            after = (await client.health())["checks"]["server"]
    assert (before["status"], before["restarts"]) == ("healthy", 0)
    assert (after["status"], after["restarts"]) == ("healthy", 1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == ENDED


async def test_a_connection_that_is_closed_for_good_ends_the_service_as_lost(tmp_path):
    ready = asyncio.Event()
    async with throwaway_server() as server:
        nats = load_settings(
            urls=server.url,
            data_directory=tmp_path,
            reconnect={"attempts": 1, "first_delay": 0.01, "ceiling": 0.02},
        )
        settings = load_service_settings(views="memory", store_patience=0.5)
        running = asyncio.create_task(
            run_service(NIX, nats, settings, on_ready=lambda _: ready.set())
        )
        await ready.wait()
    assert await running == LOST


async def test_a_signal_while_it_starts_ends_it_at_once(tmp_path):
    reached = asyncio.Event()

    async def say_nothing(reader, writer):
        reached.set()
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = mute.sockets[0].getsockname()[1]
    nats = load_settings(
        urls=f"nats://127.0.0.1:{port}", data_directory=tmp_path, connect_timeout=60
    )
    running = asyncio.create_task(run_service(NIX, nats))
    await reached.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await running == ENDED
    mute.close()
    await mute.wait_closed()


async def test_what_cannot_start_leaves_no_server_running(tmp_path):
    data = tmp_path / "data"
    settings = load_service_settings(views="nonsense")
    with pytest.raises(ConfigurationError, match="CIM_DOMAIN_VIEWS"):
        await run_service(
            NIX,
            load_settings(data_directory=data),
            settings,
            server=ServerOptions(data_directory=data, port=0),
        )
    assert find_url(data) is None


async def test_a_configured_server_that_is_away_is_not_replaced_by_an_embedded_one(tmp_path):
    data = tmp_path / "data"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{held.getsockname()[1]}"
        nats = load_settings(urls=url, data_directory=data, connect_timeout=0.2)
        with pytest.raises(Unavailable):
            await run_service(NIX, nats)
    assert not data.exists()

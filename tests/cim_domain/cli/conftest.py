"""A service that really runs, and the command line beside it."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from typer.testing import CliRunner

from cim_domain.cli.app import app
from cim_domain.testing.process import ServiceProcess, clean_environment, service_process
from tests.cim_domain.views.conftest import server as postgresql

__all__ = ["postgresql"]


@frozen
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The JSON lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Ran]


@pytest.fixture(scope="session")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service of this session keeps its data."""
    return tmp_path_factory.mktemp("service") / "data"


@pytest.fixture(scope="session")
def service(data_directory: Path) -> Iterator[ServiceProcess]:
    """``cim-domain serve nix`` with an embedded server. Tests share it: each has its own paths."""
    with service_process("nix", data_directory=data_directory, arguments=("--port", "0")) as one:
        yield one


@pytest.fixture
def run() -> Iterator[Cli]:
    """The command line, without any setting save those that a test gives as `env`."""
    root, kit = logging.getLogger(), logging.getLogger("cim_domain")
    handlers, level, kit_level = root.handlers[:], root.level, kit.level
    # The configuration's own variable, too: a command that is given --config sets it.
    unset = dict.fromkeys((*(os.environ.keys() - clean_environment().keys()), "CIM_DOMAIN_CONFIG"))

    def run(*arguments: str, stdin: str | None = None, **env: str) -> Ran:
        result = CliRunner().invoke(app, arguments, input=stdin, env={**unset, **env})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    kit.setLevel(kit_level)


@pytest.fixture
def cli(run: Cli, service: ServiceProcess, data_directory: Path) -> Cli:
    """The command line beside the service, found by the data directory."""

    def beside(*arguments: str, stdin: str | None = None, **env: str) -> Ran:
        return run(*arguments, stdin=stdin, NATS_DATA_DIRECTORY=str(data_directory), **env)

    return beside

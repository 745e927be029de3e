"""How fast the command line starts: by what it loads, since times are the machine's."""

import subprocess
import sys

import pytest

import cim_domain
from cim_domain.cli.catalogue import COMMANDS, loaded

RUN = """
import sys
from cim_domain.cli.app import app
try:
    app(sys.argv[1:], prog_name="cim-domain")
except SystemExit:
    pass
print("MODULES", *sorted(sys.modules))
"""

MODEL = {"pydantic", "nats", "attrs", "cim_domain.client", "cim_domain.model", "asyncio"}
SERVICE = {
    "sqlalchemy", "cattrs", "nkeys", "cim_domain.service", "cim_domain.views", "cim_domain.testing",
    "cim_domain.projections", "cim_domain.nats.server", "cim_domain.commands",
    "cim_domain.model.domain",
}  # fmt: skip


def modules(*arguments: str, **environment: str) -> set[str]:
    """What is loaded when a command has ended."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_what_asks_nobody_loads_no_model_and_no_client(arguments: tuple[str, ...]) -> None:
    found = modules(*arguments)
    assert not found & (MODEL | SERVICE)
    assert len(found) < 380


@pytest.mark.parametrize("name", ["send", "query", "submit", "schedule", "status", "cancel"])
def test_what_asks_a_service_loads_none_itself(name: str) -> None:
    found = modules(name, "--help")
    assert not found & SERVICE
    assert len(found) < 640


def test_the_help_has_the_first_sentence_of_each_command() -> None:
    for name, (_, _, summary) in COMMANDS.items():
        assert (loaded(name).help or "").splitlines()[0] == summary, name


def test_the_vocabulary_is_loaded_by_name() -> None:
    for name in cim_domain.__all__:
        assert getattr(cim_domain, name).__name__ in {name, "Callable", "dict"}
    assert set(cim_domain.__all__) <= set(dir(cim_domain))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        cim_domain.Nonsense  # noqa: B018

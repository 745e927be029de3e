"""A domain anywhere in somebody's code, in every command; and files that hide packages."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cim_domain.testing.process import clean_environment, service_process
from tests.cim_domain.cli.conftest import Cli, Ran

STOCK = """
from typing import Self
from attrs import evolve, frozen
from cim_domain import *

class AddPart(Command, type="part.add"):
    number: str

class PartAdded(Event, type="part.added"):
    number: str

@frozen
class Part(Aggregate, key="number"):
    added: bool = False

    @decides
    def add(self, command: AddPart) -> PartAdded | None:
        return None if self.added else PartAdded(number=command.number)

    @evolves
    def was_added(self, event: PartAdded) -> Self:
        return evolve(self, added=True)

class PartView(View, indexed=("number",)):
    number: str

class GetPart(Query, type="part.get"):
    number: str

class Parts(Projection):
    @projects
    def added(self, _: PartView | None, event: PartAdded) -> PartView:
        return PartView(number=event.number)

    @answers
    async def get(self, query: GetPart, views: Views) -> PartView | None:
        return await views.first(PartView, number=query.number)

def inventory() -> Domain:
    return Domain("inventory", aggregates=[Part], projections=[Parts()])
"""
STANDS_AT = "acme.stock:inventory"
PART = '{"number": "7"}'


def cim_domain(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cim_domain.cli", *arguments],
        cwd=directory, env=clean_environment(NATS_DATA_DIRECTORY=str(directory / "data")),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def write(directory: Path, file: str, text: str) -> None:
    (directory / file).parent.mkdir(parents=True, exist_ok=True)
    (directory / file).write_text(text)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a service runs of a domain that stands in the working directory's own code."""
    directory = tmp_path_factory.mktemp("acme")
    write(directory, "acme/stock.py", STOCK)
    data, arguments = directory / "data", ("--port", "0")
    with service_process(STANDS_AT, data_directory=data, arguments=arguments, directory=directory):
        sent = cim_domain("send", "part.add", PART, "--domain", STANDS_AT, directory=directory)
        assert sent.returncode == 0, sent.stderr
        yield directory


@pytest.fixture
def run_in(run: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command line in a directory; what it imports there is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)

    def run_in(directory: Path, *arguments: str) -> Ran:
        monkeypatch.chdir(directory)
        return run(*arguments, NATS_DATA_DIRECTORY=str(directory / "data"))

    yield run_in
    for name in sys.modules.keys() - before:
        if name.partition(".")[0] == "acme":
            del sys.modules[name]


@pytest.fixture
def running(run_in: Cli, served: Path) -> Cli:
    """The command line beside that service."""
    return functools.partial(run_in, served)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("query", "part.get", PART, "-d", STANDS_AT, "--min-sequence", "1"), '"number": "7"'),
        (("query", "inventory.query.part.get", PART, "-d", STANDS_AT), '"number": "7"'),
        (("submit", "part.add", PART, "-d", STANDS_AT, "--wait"), "accepted"),
        (("schedule", "part.add", PART, "-d", STANDS_AT, "--after", "1h"), "scheduled"),
        (("events", STANDS_AT), "part.added"),
        (("state", STANDS_AT, "part", "7"), "added"),
        (("history", STANDS_AT, "part", "7"), "part.added"),
        (("health", STANDS_AT), "cim-domain-inventory"),
        (("projections", "list", STANDS_AT), "parts"),
        (("projections", "rebuild", STANDS_AT, "parts", "--json"), '"position": 1'),
        (("doctor", STANDS_AT), "INVENTORY_EVENTS"),
        (("dlq", "list", STANDS_AT, "--json"), "[]"),
        (("dlq", "replay", STANDS_AT, "--all", "--json"), "[]"),
        (("dlq", "discard", STANDS_AT, "--all", "--json"), '{"discarded": 0}'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_command_takes_where_the_domain_stands(running, arguments, said):
    ran = running(*arguments)
    assert ran.code == 0, ran.err
    assert said in ran.out


def test_a_tree_of_causes_has_the_domain_loaded(running):
    correlation = str(uuid4())
    running("send", "part.add", '{"number": "8"}', "-d", STANDS_AT, "--command-id", correlation)
    ran = running("events", STANDS_AT, "--correlation", correlation)
    assert "part.added" in ran.out
    assert ran.err == ""


def test_a_stored_command_is_found_and_cancelled(running):
    command_id = str(uuid4())
    options = ("-d", STANDS_AT, "--after", "1h", "--command-id", command_id)
    assert running("schedule", "part.add", '{"number": "9"}', *options).code == 0
    assert running("cancel", STANDS_AT, command_id).code == 0
    assert "cancelled" in running("status", STANDS_AT, command_id).out


def test_a_domain_beside_the_subject_of_another_is_refused(running):
    ran = running("send", "nix.cmd.flake.create", "{}", "-d", STANDS_AT)
    assert ran.code == 2
    assert "'inventory'" in ran.err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("acme.stok:inventory", "module_not_found"),
        ("acme.stock:inventroy", "attribute_not_found"),
        ("acme.stock:Part", "not_a_domain"),
        ("acme.stock", "invalid_name"),
        ("acme/stock.py:inventory", "invalid_path"),
        ("acme.broken:inventory", "import_failed"),
        ("acme.failing:make", "factory_failed"),
        ("nowhere", "domain_not_found"),
    ],
)
def test_what_cannot_be_loaded_exits_2_with_a_code(run_in, tmp_path: Path, text, code):
    write(tmp_path, "acme/stock.py", STOCK)
    write(tmp_path, "acme/broken.py", "import nothing_of_that_name\n")
    write(tmp_path, "acme/failing.py", "def make():\n    raise RuntimeError('no stock')\n")
    ran = run_in(tmp_path, "state", text, "part", "7", "--json")
    assert ran.code == 2
    assert ran.document["error"]["code"] == code
    assert len(ran.err.splitlines()) == 1


def test_the_trace_of_a_factory_is_shown_where_it_is_wanted(tmp_path: Path):
    write(tmp_path, "failing.py", "def make():\n    raise RuntimeError('no stock')\n")
    assert "Traceback" not in cim_domain("serve", "failing:make", directory=tmp_path).stderr
    shown = cim_domain("serve", "failing:make", "--debug", directory=tmp_path).stderr
    assert "in make\n    raise RuntimeError('no stock')" in shown


def test_commands_that_need_no_code_run_none(tmp_path: Path):
    for side in ("aggregates", "projections"):
        write(tmp_path, f"{side}/__init__.py", "raise RuntimeError('run')\n")
        write(tmp_path, f"{side}/nix/__init__.py", "raise RuntimeError('run')\n")
    for command in (("events", "nix"), ("send", "nix.cmd.flake.create"), ("doctor", "nix")):
        ran = cim_domain(
            *command, "--url", "nats://127.0.0.1:1", "--timeout", "0.2", directory=tmp_path
        )
        assert ran.returncode == 3, ran.stderr


@pytest.mark.parametrize("regular", [(), ("aggregates",), ("projections",)])
def test_domains_of_all_directories_are_found_past_a_file_that_hides_them(tmp_path: Path, regular):
    write(tmp_path, "aggregates/depot/stock.py", STOCK)
    for side in regular:
        write(tmp_path, f"{side}/__init__.py", "")
    for name, views in (("nix", "flakes"), ("depot", None)):
        code = (
            "from cim_domain.cli.reading.domain import read_domain;"
            f" print(*read_domain({name!r}).projections)"
        )
        ran = python(code, directory=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert views is None or views in ran.stdout.split()


@pytest.mark.parametrize("side", ["aggregates", "projections"])
def test_a_module_that_hides_a_package_is_named(tmp_path: Path, side):
    write(tmp_path, f"{side}.py", "")
    ran = cim_domain("serve", "nix", directory=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error: {side}.py hides the 'nix' in ")


@pytest.mark.parametrize("side", ["aggregates", "projections"])
def test_a_program_is_told_of_a_package_that_hides_the_others(tmp_path: Path, side):
    write(tmp_path, f"{side}/__init__.py", "")
    ran = python("from cim_domain import Domain; Domain.find('nix')", directory=tmp_path)
    assert f"LoadError: {side}/__init__.py hides the 'nix' in " in ran.stderr


def test_a_package_that_fails_is_told_where_it_is_needed_and_nowhere_else(tmp_path: Path):
    write(tmp_path, "aggregates/__init__.py", "raise RuntimeError('broken')\n")
    ran = cim_domain("serve", "nix", directory=tmp_path)
    assert ran.returncode == 2
    assert "RuntimeError: broken (aggregates/__init__.py:1)" in ran.stderr
    write(tmp_path, "acme/stock.py", STOCK)
    code = (
        "from cim_domain.cli.reading.domain import read_domain;"
        f" print(read_domain({STANDS_AT!r}).name)"
    )
    assert python(code, directory=tmp_path).stdout == "inventory\n"


def python(code: str, *, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_mistakes_of_a_model_are_told_and_a_list_in_json(run_in, tmp_path):
    wrong = STOCK.replace('key="number"', 'key="nr"').replace("added: bool = False", "added: bool")
    assert wrong != STOCK
    write(tmp_path, "acme/wrong.py", wrong)
    ran = run_in(tmp_path, "state", "acme.wrong:inventory", "part", "7", "--json")
    assert ran.code == 2
    error = ran.document["error"]
    assert error["code"] == "usage"
    found = error["details"]["mistakes"]
    assert [word in line for word, line in zip(("default", "'nr'"), found, strict=True)] == [
        True
    ] * 2
    assert error["message"].splitlines()[1:] == found
    for line in found:
        assert line in ran.err


def test_what_cannot_be_loaded_is_a_list_in_json_too(run_in, tmp_path):
    ran = run_in(tmp_path, "state", "acme_nowhere:domain", "part", "7", "--json")
    error = ran.document["error"]
    assert (ran.code, error["code"]) == (2, "module_not_found")
    assert error["details"]["mistakes"] == [error["message"]]

"""`serve` as people call it: its own options, and the domains it finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cim_domain.testing.process import clean_environment, service_process

SHOP = """\
from typing import Self

from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Event, decides, evolves


class PlaceOrder(Command, type="order.place"):
    number: str


class OrderPlaced(Event, type="order.placed"):
    number: str


@frozen
class Order(Aggregate, key="number"):
    placed: bool = False

    @decides
    def place(self, command: PlaceOrder) -> OrderPlaced:
        return OrderPlaced(number=command.number)

    @evolves
    def was_placed(self, event: OrderPlaced) -> Self:
        return evolve(self, placed=True)
"""


@pytest.mark.parametrize("packages", [("shop",), ("", "shop")], ids=["namespace", "package"])
def test_a_domain_of_the_working_directory_is_served(run, tmp_path: Path, packages):
    aggregates = tmp_path / "aggregates"
    (aggregates / "shop").mkdir(parents=True)
    for package in packages:
        (aggregates / package / "__init__.py").touch()
    (aggregates / "shop" / "order.py").write_text(SHOP)
    data = tmp_path / "data"
    with service_process(
        "shop", data_directory=data, arguments=("--port", "0"), directory=tmp_path
    ):
        ran = run(
            "send", "shop.cmd.order.place", '{"number": "7"}', "--json",
            NATS_DATA_DIRECTORY=str(data),
        )  # fmt: skip
        assert ran.document["status"] == "accepted"
        # Nobody needs the domain's code to look at its log.
        assert "order.placed" in run("events", "shop", NATS_DATA_DIRECTORY=str(data)).out


def test_a_domain_with_a_mistake_is_named_without_a_traceback(tmp_path):
    (tmp_path / "aggregates" / "shop").mkdir(parents=True)
    (tmp_path / "aggregates" / "shop" / "order.py").write_text("import nothing_of_that_name\n")
    ran = serve("shop", directory=tmp_path)
    assert ran.returncode == 2
    assert "nothing_of_that_name (aggregates/shop/order.py:1)" in ran.stderr.replace("'", "")
    assert "Traceback" not in ran.stderr
    assert "Traceback" in serve("shop", "--debug", directory=tmp_path).stderr


SERVE_ANYWHERE = "nix", "--port", "0"
AT = "postgresql://cim:secret@127.0.0.1"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda url: url.replace("cim@/", "nobody:secret@/"), ("'nobody'", "does not exist")),
        (lambda url: url.replace("/views_", "/absent_"), ("'absent_", "does not exist")),
        (lambda url: f"{url}&port=1", ("'cim'", ".s.PGSQL.1")),
        (lambda _: f"{AT}:1/views", ("127.0.0.1:1", "'cim'", "'views'")),
        (lambda _: f"{AT}:port/views", ("the URL of the views is none",)),
    ],
    ids=["role", "database", "socket", "port", "no port"],
)  # fmt: skip
def test_views_that_cannot_be_kept_in_a_database_are_told_with_it_and_the_role(
    tmp_path, postgresql, change, named
):
    url = change(postgresql.create_database().replace("+psycopg", ""))
    data = str(tmp_path / "data")
    ran = serve(*SERVE_ANYWHERE, "--data-directory", data, directory=tmp_path, CIM_DOMAIN_VIEWS=url)
    said = " ".join(ran.stderr.split())
    assert ran.returncode == 2, said
    assert all(word in said for word in named), said
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_data_directory_that_others_can_read_and_have_filled_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    tmp_path.chmod(0o755)
    ran = serve("nix", "--data-directory", str(tmp_path), directory=tmp_path)
    assert ran.returncode == 2
    assert "open to other users and holds other files" in ran.stderr


def test_an_empty_data_directory_is_closed_to_others(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with service_process("nix", data_directory=data, arguments=("--port", "0")):
        assert data.stat().st_mode & 0o777 == 0o700
        assert (data / "nix-views.sqlite3").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("colour", "expected"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_and_only_where_they_are_wanted(tmp_path, colour, expected):
    leader, follower = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cim_domain.cli", "doctor", "--url", "nats://127.0.0.1:1"],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env=clean_environment(TERM="xterm-256color", NATS_CONNECT_TIMEOUT="0.2", **colour),
        cwd=tmp_path,
    ) as doctor:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 1000):
                shown += part
        except OSError:  # what Linux says when nobody has the terminal open any more
            pass
        os.close(leader)
    assert doctor.returncode == 3
    assert b"fail" in shown
    assert (b"\x1b[31m" in shown) is expected


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "cim_domain.cli", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as helping:
        helping.stdout.close()
        errors = helping.stderr.read()
    assert "Traceback" not in errors


def serve(*arguments: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cim_domain.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env=clean_environment(NATS_DATA_DIRECTORY=str(directory / "data"), **environment),
        timeout=60,
    )

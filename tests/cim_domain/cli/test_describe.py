"""`describe`, and what a shell may complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from cim_domain.testing.process import clean_environment

RUN = "from cim_domain.cli.app import app; app(prog_name='cim-domain')"

SHOP = """
from attrs import frozen
from cim_domain import *

class PlaceOrder(Command, type="order.place"):
    number: str
    items: tuple[str, ...] = ()

class OrderPlaced(Event, type="order.placed", version=2, formerly="order.made"):
    number: str
    note: str | None = None

@upcasts(OrderPlaced, 1)
def _same(old: Json) -> Json:
    return old

@frozen
class Order(Aggregate, key="number"):
    @decides
    def place(self, command: PlaceOrder) -> OrderPlaced:
        return OrderPlaced(number=command.number)

    @evolves
    def placed(self, event: OrderPlaced) -> "Order":
        return self

class OrderView(View, indexed=("number",)):
    number: str

class ListOrders(Query, type="order.list"):
    limit: int = 50

class Orders(Projection):
    @projects
    def placed(self, view: OrderView | None, event: OrderPlaced) -> OrderView:
        return OrderView(number=event.number)

    @answers
    async def list_orders(self, query: ListOrders, views: Views) -> Page[OrderView]:
        return await views.find(OrderView)

class Again(Process):
    @reacts
    async def placed(self, event: OrderPlaced) -> PlaceOrder | None:
        return None
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "aggregates" / "pictureshop"
    package.mkdir(parents=True)
    (package / "order.py").write_text(SHOP)
    (tmp_path / "where.py").write_text("""
from cim_domain import Domain
from aggregates.pictureshop.order import *

shop = Domain("pictureshop", aggregates=[Order], projections=[Orders()], processes=[Again()])
""")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_line(directory: Path, *arguments: str, **environment: str) -> str:
    """What the command line writes, as a process of its own: it loads somebody's code."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=directory, check=False, capture_output=True, text=True,
        env=clean_environment(PYTHONPATH=":".join(sys.path), **environment),
    )  # fmt: skip
    assert not done.returncode or environment, done.stderr
    return done.stdout


def test_a_domain_is_described_with_the_fields_of_all_its_messages(shop: Path) -> None:
    shown = command_line(shop, "describe", "where:shop")
    for words in (
        "aggregate order by number",
        "command order.place",
        "number  str",
        "items   tuple[str, ...] = []",
        "event   order.placed version 2 formerly order.made",
        "note    str | None = null",
        "projection orders version 1",
        "view    order_view found by number",
        "query   order.list gives Page[OrderView]",
        "limit  int = 50",
        "process again",
        "sends   order.place",
    ):
        assert words in shown, shown


def test_programs_get_the_same(shop: Path, run) -> None:
    found = run("describe", "nix", "--json").document
    assert found["domain"] == "nix"
    flake = next(one for one in found["aggregates"] if one["name"] == "flake")
    create = next(one for one in flake["commands"] if one["type"] == "flake.create")
    path = next(one for one in create["fields"] if one["name"] == "path")
    assert path == {"name": "path", "type": "str", "required": True}
    assert {"name", "version", "events", "views", "queries"} == set(found["projections"][0])


def test_what_is_no_domain_exits_2(run) -> None:
    ran = run("describe", "nowhere")
    assert (ran.code, ran.out) == (2, "")


# Completion


def completed(directory: Path, *words: str) -> set[str]:
    """What bash is given for the last of the words."""
    shown = command_line(
        directory,
        COMP_WORDS=" ".join(["cim-domain", *words]),
        COMP_CWORD=str(len(words)),
        _CIM_DOMAIN_COMPLETE="complete_bash",
    )
    return set(shown.split())


@pytest.mark.parametrize(
    ("words", "among"),
    [
        (("desc",), {"describe"}),
        (("describe", "pict"), {"pictureshop"}),
        (("events", "ni"), {"nix"}),
        (("send", "pict"), {"pictureshop.cmd."}),
        (("send", "pictureshop."), {"pictureshop.cmd.order.place"}),
        (("send", "nix.cmd.flake.cr"), {"nix.cmd.flake.create"}),
        (("submit", "nix.submit.flake.cr"), {"nix.submit.flake.create"}),
        (("schedule", "nix.flake"), set()),
        (("query", "nix.query.flake.g"), {"nix.query.flake.get"}),
        (("send", "--domain", "pictureshop", "ord"), {"order.place"}),
        (("send", "-d", "where:shop", "ord"), {"order.place"}),
        (("query", "-d", "where:shop", "ord"), {"order.list"}),
        (("history", "nix", "fl"), {"flake"}),
        (("state", "nowhere", "fl"), set()),
    ],
)
def test_a_shell_completes(shop: Path, words: tuple[str, ...], among: set[str]) -> None:
    found = completed(shop, *words)
    assert among <= found
    assert among or not found

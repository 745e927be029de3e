"""A domain is found by its name, or where it stands in code; else it is said what is missing."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cim_domain import Domain, ModelError
from cim_domain.errors import LoadError

THING = """
from typing import Self
from attrs import evolve, frozen
from cim_domain import Aggregate, Command, Domain, Event, decides, evolves

class Make(Command, type="thing.make"):
    name: str

class Made(Event, type="thing.made"):
    name: str

@frozen
class Thing(Aggregate, key="name"):
    made: bool = False

    @decides
    def make(self, command: Make) -> Made:
        return Made(name=command.name)

    @evolves
    def was_made(self, event: Made) -> Self:
        return evolve(self, made=True)
"""

VIEW = """
from aggregates.{name}.thing import Made
from cim_domain import Projection, View, projects

class ThingView(View):
    name: str

class Things(Projection):
    @projects
    def made(self, view: ThingView | None, event: Made) -> ThingView:
        return ThingView(name=event.name)
"""

PLACES = (
    THING
    + """
def make() -> Domain:
    return Domain("inventory", aggregates=[Thing])

inventory = make()

class Domains:
    inventory = inventory

async def later() -> Domain:
    return make()

def of(name: str) -> Domain:
    return Domain(name, aggregates=[Thing])

def fail() -> Domain:
    raise RuntimeError("no stock")

def leave() -> Domain:
    raise SystemExit

def wrong() -> Domain:
    return Domain("Inventory", aggregates=[Thing])

def nothing() -> None:
    pass

def coroutine():
    return later()

class Lazy:
    @property
    def domain(self) -> Domain:
        raise ValueError("no connection")

lazy = Lazy()
number = 7
"""
)

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules, ``write({"acme/domain.py": "..."})``, where Python finds them."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(files: dict[str, str]) -> None:
        for file, text in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)

    yield write
    for name in sys.modules.keys() - before:
        del sys.modules[name]


@pytest.fixture
def acme(write: Write) -> None:
    write({"acme/inventory/domain.py": PLACES, "acme/inventory/stock.py": "", "acme/single.py": ""})


@pytest.mark.parametrize("attribute", ["inventory", "make", "Domains.inventory"])
def test_a_domain_or_what_makes_one_is_loaded_from_where_it_stands(acme, attribute):
    assert Domain.load(f"acme.inventory.domain:{attribute}").name == "inventory"


def test_a_name_is_loaded_as_it_is_found():
    assert Domain.load("nix").aggregates == Domain.find("nix").aggregates


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("acmee.inventory.domain:make", "module_not_found", "'acmee' is not .*mean 'acme'"),
        ("acme.stock.domain:make", "module_not_found", "'acme' .* has no 'stock'"),
        ("acme.inventory.domian:make", "module_not_found", "'acme.inventory' .*mean 'domain'"),
        ("acme.single.domain:make", "module_not_found", "'acme.single' .* is no package"),
        ("acme.inventory.domain:inventroy", "attribute_not_found", "mean 'inventory'"),
        ("acme.inventory.domain:Domains.inventroy", "attribute_not_found", "mean 'inventory'"),
        ("acme.inventory.domain:lazy.domain", "import_failed", "ValueError: no connection"),
        ("acme.inventory.domain:number", "not_a_domain", "is an int"),
        ("acme.inventory.domain:nothing", "not_a_domain", "makes nothing"),
        ("acme.inventory.domain:Thing", "not_a_domain", "makes a Thing"),
        ("acme.inventory.domain:later", "not_a_domain", "is async"),
        ("acme.inventory.domain:coroutine", "not_a_domain", "makes a coroutine"),
        ("acme.inventory.domain:of", "not_a_domain", "without arguments: .*'name'"),
        ("acme.inventory.domain:fail", "factory_failed", r"no stock \(acme/inv.*domain.py:\d+\)"),
        ("acme.inventory.domain:leave", "factory_failed", "SystemExit"),
        ("acme/inventory.py:make", "invalid_path", "MODULE:ATTRIBUTE"),
        ("acme.inventory.domain:", "invalid_path", "MODULE:ATTRIBUTE"),
        (":make", "invalid_path", "MODULE:ATTRIBUTE"),
        ("acme..inventory:make", "invalid_path", "MODULE:ATTRIBUTE"),
        ("acme.inventory:domain:make", "invalid_path", "MODULE:ATTRIBUTE"),
    ],
)
def test_what_is_no_domain_is_told_with_the_part_that_is_wrong(acme, path, code, said):
    with pytest.raises(LoadError, match=said) as raised:
        Domain.load(path)
    assert raised.value.code == code


def test_a_failure_keeps_its_cause(acme):
    with pytest.raises(LoadError) as raised:
        Domain.load("acme.inventory.domain:fail")
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_mistake_in_the_model_is_told_as_it_is(acme):
    with pytest.raises(ModelError, match="snake case") as raised:
        Domain.load("acme.inventory.domain:wrong")
    assert not isinstance(raised.value, LoadError)


def test_a_name_that_is_nearly_one_is_suggested():
    with pytest.raises(LoadError, match="did you mean 'nix'"):
        Domain.find("nixs")


def test_every_module_of_a_domain_counts_with_and_without_packages(write):
    write(
        {
            "aggregates/depot/deep/er/thing.py": THING,
            "projections/depot.py": VIEW.format(name="depot.deep.er"),
            "aggregates/depot/__main__.py": "raise RuntimeError('run, not imported')",
            "aggregates/depot/tests/test_thing.py": "raise RuntimeError('no part of it')",
            "aggregates/depot/deep/conftest.py": "raise RuntimeError('no part of it')",
        }
    )
    found = Domain.find("depot")
    assert (*found.aggregates, *found.projections) == ("thing", "things")


def test_a_domain_may_do_without_a_read_side(write):
    write({"aggregates/plain/thing.py": THING})
    assert not Domain.find("plain").projections


def test_what_has_no_aggregate_is_no_domain(write):
    write({"aggregates/hollow/__init__.py": "", "projections/hollow/__init__.py": ""})
    with pytest.raises(LoadError, match="has an aggregate") as raised:
        Domain.find("hollow")
    assert raised.value.code == "domain_not_found"


@pytest.mark.parametrize("file", ["__init__.py", "things.py"])
@pytest.mark.parametrize(
    "line",
    [
        "from projection.typo.things import ThingView",
        "import projections.typo.thingz",
        "from aggregates.typo.thingz import Made",
        "import aggregate",
        "from cim_domain import Projektion",
        "1 +",
        "raise SystemExit",
    ],
)
def test_a_read_side_that_cannot_be_imported_is_never_dropped(write, file, line):
    write({"aggregates/typo/thing.py": THING, f"projections/typo/{file}": line + "\n"})
    with pytest.raises(LoadError, match=r"projections.typo.* cannot be imported") as raised:
        Domain.find("typo")
    assert raised.value.code == "import_failed"
    assert "line 1" in str(raised.value) or f"projections/typo/{file}:1" in str(raised.value)


def test_a_projection_that_wants_arguments_is_told(write):
    wants = VIEW.format(name="wanting") + "\n    def __init__(self, size: int) -> None: ...\n"
    write({"aggregates/wanting/thing.py": THING, "projections/wanting/things.py": wants})
    with pytest.raises(LoadError, match=r"Things \(.*without arguments.*'size'"):
        Domain.find("wanting")


@pytest.mark.parametrize(
    "file", ["test_thing.py", "deep/thing_test.py", "scripts/load.py", "tests/thing.py"]
)
def test_tests_and_scripts_are_not_imported(write, file):
    write(
        {
            "aggregates/yard/thing.py": THING,
            f"aggregates/yard/{file}": "raise RuntimeError('no part of it')",
            f"projections/yard/{file}": "raise RuntimeError('no part of it')",
        }
    )
    assert set(Domain.find("yard").aggregates) == {"thing"}


def test_bases_are_not_found(write):
    write(
        {
            "aggregates/bases/thing.py": THING,
            "projections/bases/things.py": VIEW.format(name="bases")
            + """
import abc
from cim_domain import Event

class _Wanting(Projection):
    def __init__(self, size: int) -> None: ...

class Wanting(Projection, abc.ABC):
    @abc.abstractmethod
    def size(self) -> int: ...

class Shared(Event):
    at: int
""",
        }
    )
    assert set(Domain.find("bases").projections) == {"things"}


def test_all_mistakes_of_all_modules_are_told_at_once(write):
    wrong = "\nfrom cim_domain import Command\nclass Odd(Command, typ='odd.do'):\n    json: str\n"
    write(
        {
            "aggregates/many/thing.py": THING.replace('key="name"', 'key="nam"'),
            "aggregates/many/messages.py": wrong,
            "projections/many/things.py": VIEW.format(name="many")
            + "\nclass Empty(Projection): pass\n",
        }
    )
    with pytest.raises(ModelError) as raised:
        Domain.find("many")
    words = ["'nam'", "typ=", "'json'", "Empty"]
    assert [sum(word in line for line in raised.value.mistakes) for word in words] == [1] * 4


def test_every_module_that_cannot_be_imported_is_told(write):
    write(
        {
            "aggregates/broken/thing.py": THING,
            "aggregates/broken/other.py": "import nowhere_at_all\n",
            "projections/broken/things.py": "1 +\n",
        }
    )
    with pytest.raises(LoadError) as raised:
        Domain.find("broken")
    assert raised.value.code == "import_failed"
    assert [line.split()[0] for line in raised.value.mistakes] == [
        "aggregates.broken.other",
        "projections.broken.things",
    ]

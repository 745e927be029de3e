"""An aggregate's fingerprint: the same everywhere, and another where its states may be others."""

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cim_domain.commands.fingerprint import fingerprint
from cim_domain.model.aggregate import AggregateModel, read_aggregate

SOURCE = """
from enum import Enum
from typing import Self

from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Event, decides, evolves

FACTOR = 2
NAMES = frozenset({"a", "b", "c", "d", "e", "f"})


class Kind(Enum):
    SMALL = "small"


def scaled(number):
    return number * FACTOR


def unused(number):
    return number


class Fill(Command, type="box.fill"):
    name: str
    by: int = 1


class Filled(Event, type="box.filled"):
    by: int = 1

    def twice(self):
        return 2 * self.by


@frozen
class Part:
    size: int = 0
    kind: Kind = Kind.SMALL

    @classmethod
    def of(cls, size):
        return cls(size)


@frozen
class Box(Aggregate, key="name"):
    total: int = 0
    parts: tuple[Part, ...] = ()

    @decides
    def fill(self, command: Fill) -> Filled:
        return Filled(by=command.by)

    @evolves
    def was_filled(self, event: Filled) -> Self:
        later = lambda: scaled(event.twice())
        return evolve(
            self,
            total=self._plus(later()) if "a" in NAMES else 0,
            parts=(*self.parts, Part.of(event.by)),
        )

    def _plus(self, number, more=0):
        return self.total + number + more
"""


def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    """The fingerprint of the box that a module of this source has."""
    path = tmp_path / f"m{len(list(tmp_path.iterdir()))}" / "boxes.py"
    path.parent.mkdir()
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("boxes", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "boxes", module)
    spec.loader.exec_module(module)
    return fingerprint(read_aggregate(module.Box))


CHANGES = {
    "a field more": ("total: int = 0\n    parts", "total: int = 0\n    more: int = 0\n    parts"),
    "a field's type": ("total: int = 0\n    parts", "total: float = 0\n    parts"),
    "a field's default": ("total: int = 0\n    parts", "total: int = 1\n    parts"),
    "a field of a part": ("size: int = 0", "size: float = 0"),
    "a part's name": ("size: int = 0", "width: int = 0"),
    "the values of an enum": ('SMALL = "small"', 'SMALL = "s"'),
    "how it evolves": ("(*self.parts, Part", "(Part"),
    "a constant in that": ('"a" in NAMES', '"b" in NAMES'),
    "a method of its own": ("self.total + number", "self.total - number"),
    "the default of a parameter": ("more=0", "more=1"),
    "a function of the module": ("number * FACTOR", "number + FACTOR"),
    "a constant of the module": ("FACTOR = 2", "FACTOR = 3"),
    "a set of the module": ('"e", "f"}', '"e", "g"}'),
    "a method of a part": ("return cls(size)", "return cls(size + 1)"),
    "a method of the event": ("2 * self.by", "3 * self.by"),
    "a default of the event": (
        'type="box.filled"):\n    by: int = 1',
        'type="box.filled"):\n    by: int = 2',
    ),
    "the event's version": ('type="box.filled"', 'type="box.filled", version=2'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_another_where_the_state_may_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before, after = CHANGES[change]
    assert SOURCE.count(before) == 1
    assert of(tmp_path, monkeypatch, SOURCE) != of(
        tmp_path, monkeypatch, SOURCE.replace(before, after)
    )


# Code that lies elsewhere

PARTS = {
    "boxes.py": """
import functools
from decimal import Decimal
from typing import Annotated, Self

from attrs import evolve, frozen
from pydantic import AfterValidator
from scales.rates import RATE, scaled
from scales import sizes
from cim_domain import Aggregate, Command, Event, decides, evolves, upcasts

half = functools.partial(scaled, by=2)


class Fill(Command, type="box.fill"):
    name: str


class Filled(Event, type="box.filled", version=2):
    by: Annotated[int, AfterValidator(sizes.checked)] = 1


@frozen
class Box(Aggregate, key="name"):
    total: int = 0

    @decides
    def fill(self, command: Fill) -> Filled:
        return Filled()

    @evolves
    def was_filled(self, event: Filled) -> Self:
        from scales.late import more

        return evolve(self, total=int(half(event.by) * RATE) + sizes.Size.STEP + more())
""",
    "upcasters.py": """
from boxes import Filled
from cim_domain import upcasts


@upcasts(Filled, 1)
def by(old):
    return {**old, "by": 1}
""",
    "scales/__init__.py": "",
    "scales/rates.py": """
from decimal import Decimal
from functools import lru_cache

RATE = Decimal(2)


@lru_cache
def scaled(number, by):
    return number // by
""",
    "scales/sizes.py": """
from scales.limits import LEAST


class Size:
    STEP = 1


def checked(number):
    return max(number, LEAST)
""",
    "scales/limits.py": "LEAST = 0",
    "scales/late.py": "def more():\n    return 1",
}

ELSEWHERE = {
    "a constant of another module": ("scales/rates.py", "Decimal(2)", "Decimal(3)"),
    "a cached function of another module": ("scales/rates.py", "number // by", "number + by"),
    "what a partial function is given": ("boxes.py", "by=2", "by=3"),
    "a class variable": ("scales/sizes.py", "STEP = 1", "STEP = 2"),
    "a validator of an event": ("scales/sizes.py", "max(", "min("),
    "what a validator goes by": ("scales/limits.py", "0", "1"),
    "what is imported within a method": ("scales/late.py", "1", "2"),
    "an upcaster": ("upcasters.py", '"by": 1', '"by": 2'),
}

PRINT_BOX = """
import upcasters
from boxes import Box
from cim_domain.model.aggregate import read_aggregate
from cim_domain.commands.fingerprint import fingerprint

print(fingerprint(read_aggregate(Box)))
"""


def printed(directory: Path, program: str, *, seed: str = "0") -> str:
    path = os.pathsep.join([str(directory), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
    )
    return done.stdout


def written(directory: Path, parts: dict[str, str]) -> Path:
    for name, source in parts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return directory


@pytest.mark.parametrize("change", ELSEWHERE)
def test_it_is_another_wherever_the_code_lies_that_changes(tmp_path: Path, change: str) -> None:
    name, before, after = ELSEWHERE[change]
    assert PARTS[name].count(before) == 1
    changed = PARTS | {name: PARTS[name].replace(before, after)}
    first = printed(written(tmp_path / "a", PARTS), PRINT_BOX)
    assert printed(written(tmp_path / "b", changed), PRINT_BOX) != first
    assert printed(written(tmp_path / "c", PARTS), PRINT_BOX, seed="1") == first


def test_a_declared_version_takes_the_place_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def versioned(version: object, source: str = SOURCE) -> str:
        declared = source.replace('(Aggregate, key="name")', f'(Aggregate, key="name", {version})')
        return of(tmp_path, monkeypatch, declared)

    first = versioned("snapshot_version=1")
    assert versioned("snapshot_version=1", SOURCE.replace("FACTOR = 2", "FACTOR = 3")) == first
    assert versioned("snapshot_version=2") != first
    assert versioned("") != first


def test_code_without_source_is_the_same_while_it_runs_and_another_when_it_is_made_anew() -> None:
    def typed_in(source: str) -> AggregateModel:
        scope: dict[str, Any] = {"__name__": "typed_in"}
        exec(source, scope)
        return read_aggregate(scope["Box"])

    module = ModuleType("typed_in")
    sys.modules["typed_in"] = module
    try:
        first, again = typed_in(SOURCE), typed_in(SOURCE)
        assert fingerprint(first) == fingerprint(first)
        assert fingerprint(again) != fingerprint(first)
    finally:
        del sys.modules["typed_in"]


def test_a_domain_that_is_typed_in_has_one_too(tmp_path: Path) -> None:
    elsewhere = {"import upcasters", "from boxes import Box"}
    lines = [one for one in PRINT_BOX.splitlines() if one not in elsewhere]
    program = "\n".join([SOURCE, *lines])
    assert len(printed(tmp_path, program).strip()) == 32


def test_compiled_code_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "boxes.py").write_text(SOURCE)
    py_compile.compile(str(tmp_path / "boxes.py"), cfile=str(tmp_path / "boxes.pyc"))
    (tmp_path / "boxes.py").unlink()
    program = PRINT_BOX.replace("import upcasters", "")
    assert printed(tmp_path, program) == printed(tmp_path, program, seed="1")


PRINT = """
from boxes import Box
from cim_domain import Domain
from cim_domain.model.aggregate import read_aggregate
from cim_domain.commands.fingerprint import fingerprint

for name, model in sorted(Domain.find("nix").aggregates.items()):
    print(name, fingerprint(model))
print("box", fingerprint(read_aggregate(Box)))
"""


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "boxes.py").write_text(SOURCE)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        )
        for seed in ("0", "1", "4711")
    ]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(printed)) == 1
    assert len(set(printed[0].split())) == 12

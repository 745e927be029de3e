"""An aggregate's fingerprint: the same everywhere, and another where its states may be others."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cim_domain.commands.fingerprint import fingerprint
from cim_domain.model.aggregate import read_aggregate

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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FACTOR = 2\n", "# Why it is two.\nFACTOR = 2\n"),
        ("return Filled(by=command.by)", "return Filled(by=command.by + 1)"),
        ("def unused(number):\n    return number", "def unused(number):\n    return -number"),
        ("    name: str\n", "    name: str\n    why: str = ''\n"),
    ],
    ids=["a comment", "a decision", "what is not used", "a command"],
)
def test_it_is_the_same_where_states_cannot_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    assert SOURCE.count(before) == 1
    assert of(tmp_path, monkeypatch, SOURCE) == of(
        tmp_path, monkeypatch, SOURCE.replace(before, after)
    )


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

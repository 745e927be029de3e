"""What pyproject.toml asks for is in the locks, whole, with nothing else, and the same in each."""

import tomllib
from importlib.metadata import requires, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.documents import ROOT
from tests.installation.locks import LINE, LOCKS, locked

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]

BUILD = [*PYPROJECT["build-system"]["requires"], *GROUPS["build"]]
RUN = [*BUILD, *PROJECT["dependencies"]]
EXTRAS = [*chain.from_iterable(PROJECT["optional-dependencies"].values())]
EXAMPLES = [*RUN, *EXTRAS, *GROUPS["examples"]]
DEV = [*EXAMPLES, *GROUPS["dev"], *GROUPS["bench"]]
WANTED = {"build": BUILD, "run": RUN, "examples": EXAMPLES, "dev": DEV}


def closure(wanted: list[str], lock: dict[str, str]) -> set[str]:
    """All that is wanted and what that wants in turn. Fails where the lock does not satisfy it."""
    asked: set[tuple[str, str]] = set()
    open_ = [(Requirement(line), "") for line in wanted]
    while open_:
        requirement, extra = open_.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        assert name in lock, f"{requirement} is not locked"
        assert requirement.specifier.contains(lock[name]), (
            f"{requirement}, but locked: {lock[name]}"
        )
        for asked_extra in {"", *requirement.extras}:
            if (name, asked_extra) not in asked:
                asked.add((name, asked_extra))
                open_ += [(Requirement(line), asked_extra) for line in requires(name) or ()]
    return {name for name, _ in asked}


def test_there_is_a_lock_for_each_purpose():
    assert {lock.stem for lock in LOCKS} == WANTED.keys()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_versions_and_digests_and_no_address(lock: Path):
    text = lock.read_text()
    assert LINE.sub("", text) == ""
    assert ":/" not in text


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_holds_what_is_asked_for_and_nothing_else(name: str):
    assert closure(WANTED[name], locked(name)) == locked(name).keys()


@pytest.mark.parametrize(
    ("part", "whole"), [("build", "run"), ("run", "examples"), ("examples", "dev")]
)
def test_what_is_in_two_locks_has_one_version(part: str, whole: str):
    assert locked(part).items() <= locked(whole).items()


def test_the_tests_run_with_what_is_locked():
    assert {name: version(name) for name in locked("dev")} == locked("dev")

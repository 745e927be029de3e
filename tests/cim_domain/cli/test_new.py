"""`new`: what it writes works at once, passes strict checks, and never replaces anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from cim_domain.testing.process import clean_environment
from tests.docs.documents import ROOT, Block
from tests.docs.follower import Follower

FILES = [
    "aggregates/shop/__init__.py",
    "aggregates/shop/item.py",
    "projections/shop/__init__.py",
    "projections/shop/items.py",
    "tests/test_shop.py",
]
TOOLS = [
    ["ruff", "check"],
    ["ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "S101"],
    ["ruff", "format", "--check", "--isolated"],
    ["ruff", "format", "--check", "--isolated", "--line-length", "100"],
    ["mypy", "--strict", "--explicit-package-bases"],
]


def new(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cim_domain.cli", "new", *arguments],
        cwd=directory, env=clean_environment(), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def files_in(directory: Path) -> list[str]:
    return sorted(str(one.relative_to(directory)) for one in directory.rglob("*") if one.is_file())


def test_what_it_tells_to_do_next_can_be_pasted_and_works(tmp_path: Path):
    told = new("shop", directory=tmp_path)
    assert told.returncode == 0, told.stderr
    steps = [line.strip() for line in told.stdout.splitlines() if line.startswith("  ")]
    assert [step.split()[1] for step in steps] == ["-m", "serve", "send", "query"]
    output = '... 7 passed in ...\nstatus       accepted\n...  "title": "tea"\n...'
    with Follower(tmp_path) as follower:
        follower.follow(Block("sh", "\n".join(steps), 1, output))


def test_what_it_writes_passes_linter_formatter_and_strict_types(tmp_path: Path):
    assert new("shop", directory=tmp_path).returncode == 0
    assert files_in(tmp_path) == FILES
    for tool, *arguments in TOOLS:
        ran = subprocess.run(
            [sys.executable, "-m", tool, *arguments, "."],
            cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_another_directory_is_made_where_it_is_missing(tmp_path: Path, run):
    ran = run("new", "shop", "--directory", str(tmp_path / "my shop"), "--json")
    assert ran.document["files"] == files_in(tmp_path / "my shop") == FILES
    assert ran.document["next"][0] == f"cd '{tmp_path}/my shop'"


@pytest.mark.parametrize(
    "there", ["aggregates/shop/item.py", "tests", "projections/shop", "aggregates.py"]
)
def test_what_is_in_the_way_is_named_and_nothing_is_written(tmp_path: Path, there):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine = True\n")
    ran = new("shop", directory=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.split()[-1] == there
    assert files_in(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "mine = True\n"


def test_a_second_run_lists_all_that_the_first_one_wrote(tmp_path: Path):
    assert new("shop", directory=tmp_path).returncode == 0
    ran = new("shop", directory=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.split()[-len(FILES) :] == FILES


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Shop", "lower snake case"),
        ("my-shop", "lower snake case"),
        ("../shop", "lower snake case"),
        ("class", "Python's own"),
        ("nix", "aggregates.nix"),
    ],
)
def test_a_name_that_no_new_domain_can_have_is_refused(run, tmp_path: Path, name, said):
    ran = run("new", name, "--directory", str(tmp_path))
    assert ran.code == 2
    assert said in ran.err
    assert files_in(tmp_path) == []


def test_a_directory_that_cannot_be_made_is_no_traceback(run):
    ran = run("new", "shop", "--directory", "/proc/shop")
    assert ran.code == 2
    assert ran.err.startswith("error: ")


def test_where_it_cannot_finish_nothing_is_left(run, tmp_path: Path):
    """A name that is just short enough for a folder, and too long for the name of its test."""
    ran = run("new", "a" * 250, "--directory", str(tmp_path))
    assert ran.code == 2
    assert "too long" in ran.err
    assert list(tmp_path.iterdir()) == []

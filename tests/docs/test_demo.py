"""The demonstration works for a person at a terminal and for a pipe, and leaves nothing behind."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

DEMO = [sys.executable, "-m", "examples.demo"]
HEADINGS = [
    "What is running",
    "Commands, and events as they happen",
    "What caused what",
    "Queries",
    "Health",
]
TREE = """\
└── package.build_requested  event ID
    └── package.complete_build  cmd ID
        └── package.built  event ID
            └── package.cache  cmd ID
                └── package.cached  event ID
"""
SECONDS = 30

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of the reader's own, which the demonstration must not mind."""
    own = {"NATS_URL": "nats://127.0.0.1:1", "NATS_SUBJECT_PREFIX": "mine", "CIM_DOMAIN_VIEWS": "?"}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        **own,
    }


def test_a_pipe_gets_plain_text(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO,
        check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert_tells_everything(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_colour(environment: dict[str, str], tmp_path: Path) -> None:
    code, shown = at_a_terminal(environment)
    assert code == 0, shown
    assert _COLOUR.search(shown)
    assert_tells_everything(_COLOUR.sub("", shown).replace("\r\n", "\n"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_as_expected_is_told_and_is_no_success(
    environment: dict[str, str], tmp_path: Path
) -> None:
    spoilt = (
        "import examples.demo as demo; demo.FLAKE['path'] = 'web'; raise SystemExit(demo.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", spoilt],
        check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: the demonstration failed: flake.create: invalid, not accepted\n"
    assert "Everything was as expected" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_make_demo_runs_it() -> None:
    planned = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "demo"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert planned.stdout.endswith("python -m examples.demo\n")


def assert_tells_everything(text: str) -> None:
    places = [text.index(f"\n{heading}\n") for heading in HEADINGS]
    assert places == sorted(places)
    for word in ("accepted", "flake.exists", "is not absolute", "colour: Extra inputs"):
        assert word in text
    ids = r"([0-9a-f]{8} *){3}$"
    for aggregate in ("flake", "package", "module", "overlay", "config"):
        assert re.search(rf"^ +\d+ nix\.event\.{aggregate}\.\w+ +\d+ +{ids}", text, re.MULTILINE)
    assert TREE in re.sub(r"\b[0-9a-f]{8}\b", "ID", text)
    assert '"generation": 1' in text
    assert re.search(r"cim-domain-nix \S+ healthy", text)
    assert text.endswith("\nEverything was as expected.\n")


def at_a_terminal(environment: dict[str, str]) -> tuple[int, str]:
    """The demonstration's exit code and what a terminal is sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(timeout=SECONDS), shown.decode()

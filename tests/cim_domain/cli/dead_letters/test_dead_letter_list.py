"""How dead letters are listed: within the columns that there are, and whole."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cim_domain.cli.rendering.dead_letters import letters_text
from cim_domain.dead_letters import DeadLetter
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter

TIME = datetime(2026, 11, 21, 8, 30, 0, 250_000, UTC)
REASON = (
    "package.build_requested (sequence 1234567) cannot be projected by packages: ValueError:"
    " there is no such attribute in the flake (packages.py:40)"
)


def stored(number: int, **more: Any) -> StoredLetter:
    given: dict[str, Any] = {
        "consumer": "projection.dependencies",
        "subject": "nix.journal.13.package.d3d3d7a9-f70d-5a16-a76d-4dd53ba3ea59.built",
        "data": b"{}",
        "code": "cannot_project",
        "reason": REASON,
        "sequence": 1234567,
        "deliveries": 5,
        **more,
    }
    return StoredLetter(sequence=number, time=TIME, letter=DeadLetter(**given), cut_from=None)


@pytest.mark.parametrize("width", [80, 100, 132])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    shown = letters_text([stored(9), stored(1000)], width).plain
    assert max(map(len, shown.splitlines())) <= width
    assert " ".join(shown.split()).count(REASON) == 2
    assert "2026-11-21T08:30:00Z" in shown
    assert "at 1234567, tried 5 times" in " ".join(shown.split())


def test_where_there_is_no_terminal_a_letter_is_one_line() -> None:
    header, row = letters_text([stored(1)], None).plain.splitlines()
    assert header.split()[:3] == ["letter", "time", "consumer"]
    assert row.endswith(REASON)


def test_what_is_known_of_a_letter_comes_first() -> None:
    first, second, third = letters_text([stored(1)], 1000).plain.splitlines()
    assert first == "1  2026-11-21T08:30:00Z  projection.dependencies  cannot_project"
    assert second.endswith(".built at 1234567, tried 5 times")
    assert third == f"   {REASON}"


def test_a_word_longer_than_the_terminal_stays_whole() -> None:
    long = "x" * 200
    assert long in letters_text([stored(1, reason=long)], 80).plain

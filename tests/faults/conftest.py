"""The table of what came of each scenario, and what they have in common."""

import os
import random
from typing import Any

import pytest

from tests.cim_domain.views.conftest import server

__all__ = ["server"]

ROW = "fault scenario"

LONG = int(os.environ.get("FAULT_ROUNDS", "0"))
"""So many times the rounds of the short form; 0: the short form."""


@pytest.fixture
def seed() -> int:
    """What chance begins with: ``FAULT_SEED``, or another each time."""
    return int(os.environ.get("FAULT_SEED") or random.SystemRandom().getrandbits(32))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: list[dict[str, Any]] = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in report.user_properties
        if name == ROW
    ]
    if not rows:
        return
    terminalreporter.section("faults")
    widths = {name: max(len(str(row[name])) for row in (dict.fromkeys(rows[0], name), *rows))
              for name in rows[0]}  # fmt: skip
    widths = {name: max(width, len(name)) for name, width in widths.items()}
    for row in (dict(zip(widths, widths, strict=True)), *rows):
        line = "  ".join(str(row[name]).rjust(width) for name, width in widths.items())
        terminalreporter.write_line(line)

"""The rows as one table for people, or as one JSON document for programs."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Row, number


def show(rows: Sequence[Row], console: Console, *, quick: bool) -> None:
    """Print the table."""
    title = "cim-domain: medians of rounds taken in turn, with their spread"
    if quick:
        title += " - QUICK: sizes and loads are far smaller than the rows say"
    table = Table(title=title)
    for name in ("row", "what", "measured", "min to max", "to reach", "reached", "figures"):
        table.add_column(name, justify="right" if name in {"row", "measured"} else "left")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def document(rows: Sequence[Row], *, quick: bool) -> bytes:
    """The rows as JSON, with what they depend on."""
    content: dict[str, Any] = {
        "python": platform.python_version(),
        "cim_domain": version("cim-domain"),
        "cores": os.cpu_count(),
        "quick": quick,
        "rows": [row.as_dict() for row in rows],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def _cells(row: Row) -> tuple[str, ...]:
    aim = row.aim
    target = "-" if aim.target is None else str(aim.target)
    if row.value is None:
        return (aim.row, aim.what, "-", "-", target, "-", row.problem)
    return (
        aim.row,
        aim.what,
        f"{number(row.value)} {aim.unit}",
        f"{number(min(row.values))} to {number(max(row.values))}",
        target,
        {True: "yes", False: "NO", None: "-"}[row.reached],
        ", ".join(f"{name} {number(value)}" for name, value in row.figures.items()),
    )

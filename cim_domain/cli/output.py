"""Where commands write: results to standard output, everything else to standard error.

Text from elsewhere is never read as markup and never reaches a terminal with control characters.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from cim_domain.cli.escaping import escaped, escaped_json

WIDE = 100_000
"""Columns of a console that is no terminal: there, nothing is cut or wrapped."""


class Output:
    """Standard output and standard error of a command."""

    def __init__(self) -> None:
        self.console = _console(stderr=False)
        self.errors = _console(stderr=True)

    @property
    def width(self) -> int | None:
        """Columns of the terminal; where there is none, those that ``COLUMNS`` asks for, if any."""
        if self.console.is_terminal:
            return self.console.width
        asked = os.environ.get("COLUMNS", "")
        return int(asked) if asked.isdecimal() and int(asked) else None

    def show(self, what: RenderableType) -> None:
        """Write a result for people."""
        self.console.print(what, soft_wrap=isinstance(what, Text))

    def document(self, value: Any) -> None:
        """Write one JSON document, on one line."""
        print(json_text(value), file=self.console.file, flush=True)

    def note(self, text: str) -> None:
        """Tell people, beside the results, what goes on."""
        self.errors.print(Text(escaped(text), style="dim"), soft_wrap=True)

    def problem(self, message: str) -> None:
        """Tell what went wrong: a line or two."""
        first, *more = message.splitlines() or ["failed"]
        line = Text.assemble(("error: ", "bold red"), escaped(first))
        for each in more:
            line.append(f"\n       {escaped(each)}")
        self.errors.print(line, soft_wrap=True)


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that is fit for a terminal, too."""
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))


def columns(rows: Sequence[Sequence[Text | str]]) -> Text:
    """Rows of cells, aligned; nothing is cut, so that it can be searched and taken apart."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (width - cell.cell_len + 2))
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def _cell(cell: Text | str) -> Text:
    return cell if isinstance(cell, Text) else Text(escaped(cell))


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console

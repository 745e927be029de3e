"""Logging to stderr: for people at a terminal in colour, for collectors as plain lines.

    2026-11-21T08:30:00.250Z INFO cim_domain.service.service cim-domain-nix is ready

Whatever clients sent that finds its way into a message cannot start a line or move a cursor.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from cim_domain.cli.escaping import escaped

Level = Literal["debug", "info", "warning", "error", "critical"]


def configure_logging(level: Level) -> None:
    """Have this process log to stderr from now on; other libraries' from `warning` on at most."""
    if sys.stderr.isatty():
        handler: logging.Handler = RichHandler(
            console=Console(stderr=True),
            show_path=False,
            markup=False,
            highlighter=NullHighlighter(),
        )
        handler.setFormatter(_SafeFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("cim_domain").setLevel(number)


class _SafeFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, _: str | None = None) -> str:  # noqa: N802
        time = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        return time.isoformat(timespec="milliseconds") + "Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802
        return escaped(super().formatException(ei), lines=True)  # type: ignore[arg-type]

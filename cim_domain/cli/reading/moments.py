"""Reading when something was or shall be: a time, or a length of time before or after now."""

import re
from datetime import UTC, datetime, timedelta

from cim_domain.cli.exit_codes import usage
from cim_domain.wire.codec import read_time

_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)")
_AGO = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_at(text: str) -> datetime:
    """A time with its time zone, ``2030-01-01T08:00:00Z``. Ends the command over anything else."""
    try:
        return read_time(text)
    except ValueError:
        usage(f"--at {text!r}: expected a time with its zone, such as 2030-01-01T08:00:00Z")


def read_after(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``2h`` or ``3d``. Ends the command over anything else."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        usage(f"--after {text!r}: expected a length of time, such as 90s, 15m, 2h or 3d")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        usage(f"--after {text!r}: nobody can wait for so long")


def read_past(text: str) -> datetime:
    """A time of which the past is asked, with its zone. Ends the command over anything else."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        usage(f"--at: {text!r} is no time; expected 2026-11-21T08:30:00Z")
    if time.tzinfo is None:
        usage(f"--at: {text!r} could be any time: add the time zone, Z or +01:00")
    return time


def read_since(text: str) -> datetime:
    """A time, or a length of time before now. Ends the command over anything else."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        usage(f"--since: {text!r} is no time: expected 2026-11-21T08:30Z, or 90m, 12h, 7d")

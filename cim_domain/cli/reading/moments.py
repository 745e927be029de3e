"""Reading when something was or shall be: a time, or a length of time before or after now."""

import re
from datetime import UTC, datetime, timedelta

from cim_domain.cli.exit_codes import usage
from cim_domain.wire.codec import read_time

_NUMBER = r"\d{1,12}(?:\.\d{1,6})?"
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
# The units in their order, each once at most.
_LENGTH = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit in _SECONDS))


def read_at(text: str) -> datetime:
    """A time with its time zone, ``2030-01-01T08:00:00Z``. Ends the command over anything else."""
    try:
        return read_time(text)
    except ValueError:
        usage(f"--at {text!r}: expected a time with its zone, such as 2030-01-01T08:00:00Z")


def read_after(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``1h30m`` or ``3d``. Ends the command over anything else."""
    try:
        length = timedelta(seconds=float(text)) if re.fullmatch(_NUMBER, text) else _length(text)
    except OverflowError:
        usage(f"--after {text!r}: nobody can wait for so long")
    if length is None:
        usage(f"--after {text!r}: expected a length of time, such as 90s, 15m, 1h30m or 3d")
    return length


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
    try:
        if (ago := _length(text)) is not None:
            return datetime.now(UTC) - ago
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        usage(f"--since: {text!r} is no time: expected 2026-11-21T08:30Z, or 90m, 1d12h, 7d")


def _length(text: str) -> timedelta | None:
    """A length with its units, ``1h30m``. Raises `OverflowError`."""
    found = _LENGTH.fullmatch(text)
    if found is None or not text:
        return None
    parts = zip(found.groups(default="0"), _SECONDS.values(), strict=True)
    return timedelta(seconds=sum(float(number) * unit for number, unit in parts))

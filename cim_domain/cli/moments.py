"""Reading when something shall happen: a time, or a length of time from now."""

import re
from datetime import datetime, timedelta

from cim_domain.cli.session import usage
from cim_domain.codec import read_time

_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)")
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

"""Files with keys: there, readable, and nobody else's to read."""

import os
import stat
from pathlib import Path


def readable_file(path: Path) -> Path:
    """The path, absolute; raises `ValueError` unless it is a file that this process can read."""
    whole = path.expanduser().absolute()
    try:
        found = whole.is_file()
    except PermissionError:
        found = True  # Behind a directory that may not be entered: not readable, below.
    if not found:
        raise ValueError(f"there is no file {whole}; create it, or correct the path")
    if not os.access(whole, os.R_OK):
        raise ValueError(f"{whole} cannot be read by this user; give it read permission")
    return whole


def private_file(path: Path) -> Path:
    """As `readable_file`, and as with the keys of ssh: only the owner has any permission."""
    whole = readable_file(path)
    if stat.S_IMODE(whole.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{whole} is a secret that others may read; run: chmod 600 {whole}")
    return whole

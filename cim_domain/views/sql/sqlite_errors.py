"""What an error of SQLite means to who asked."""

import sqlite3
from pathlib import Path

from cim_domain.errors import Failed, RequestError, Unavailable
from cim_domain.views.layout import refused_value

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_AWAY = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
}
_READ_ONLY = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}
_UNFIT = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or a broken one."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED


def translated(path: Path, error: BaseException | None) -> RequestError:
    """The kit's error for one of the driver's."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name: str = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    if _FULL & {code, code & 0xFF}:
        return Unavailable(
            f"there is no room for the views {path} ({name}): free space on that disk; nothing was"
            " changed, and work goes on by itself then",
            code="views_full",
        )
    if code & 0xFF in _LOCKED:
        return Unavailable(
            f"another process has kept the views {path} locked for too long ({name}); nothing was"
            " changed, try again",
            code="views_locked",
        )
    if code & 0xFF in _READ_ONLY:
        return Unavailable(
            f"the views {path} can be read only ({name}): give this user the right to write that"
            " file and its directory, and mount the disk so that it can be written",
            code="views_unavailable",
        )
    if code & 0xFF in _AWAY:
        return Unavailable(
            f"the views {path} cannot be used ({name}): check that the file and its directory are"
            " there and may be written by this user",
            code="views_unavailable",
        )
    if code & 0xFF in _DAMAGED:
        return Unavailable(
            f"the views {path} are damaged ({name}): start the service again, which sets the file"
            " aside and builds the views anew",
            code="views_damaged",
        )
    if code & 0xFF in _UNFIT:
        return refused_value(f"{path}, {name}")
    return Failed(f"the views {path} failed: {name}", code="views_failed")

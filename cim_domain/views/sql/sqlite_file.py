"""The file in which SQLite keeps views: made private, checked, and set aside when it is no good.

A file beside it, ``NAME.lock``, is locked shared by every process that has the views open, so that
nobody sets a file aside under another's feet. It says "in use" until the last of them has ended in
order and without having met damage: a large file, which takes long to check, is checked only where
it still says so.
"""

import fcntl
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from attrs import define, field

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.views.sql.sqlite_errors import is_damage, translated
from cim_domain.views.sql.tables import FORMAT

CHECKED_ALWAYS = 64 * 1024 * 1024
"""Bytes up to which a file is checked at every opening: some 0.1 s, where it is in the cache."""

_IN_USE = b"in use\n"

APPLICATION = 0x43494D56
"""Says that a file holds views, in `PRAGMA application_id`."""

log = logging.getLogger(__name__)


@define(eq=False)
class SqliteFile:
    """One file. Methods block. Its `FORMAT` is in `PRAGMA user_version`."""

    path: Path
    _patience: float
    recovered: Path | None = field(default=None, init=False)
    _lock: int | None = field(default=None, init=False)
    _in_order: bool = field(default=False, init=False)
    """Whether the file is as far as is known as it should be: prepared, and no damage met."""

    def prepare(self) -> None:
        """Check the file, or make it. Raises `ConfigurationError` and `Unavailable`."""
        if not self.path.parent.is_dir():
            raise ConfigurationError(
                f"there is no directory {self.path.parent} for the views; create it"
            )
        if self.path.is_dir():
            raise ConfigurationError(f"{self.path}, for the views, is a directory; name a file")
        self.release()
        prepared = False
        try:
            self._prepare()
            prepared = True
        except OSError as error:
            raise Unavailable(
                f"the views {self.path} cannot be opened: {error.strerror}",
                code="views_unavailable",
            ) from error
        except sqlite3.Error as error:
            raise translated(self.path, error) from error
        finally:
            if not prepared:
                self.release()

    def met_damage(self) -> None:
        """Have the whole file checked when it is opened next."""
        self._in_order = False

    def release(self) -> None:
        """Let other processes set the file aside, if they must. Called with no connection open."""
        if self._lock is not None:
            if self._in_order and _taken_alone(self._lock):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None
            self._in_order = False

    def _prepare(self) -> None:
        self._lock = _private(self._beside(".lock"))
        alone = _alone(self._lock)
        # SQLite would open a file that cannot be written, and leave others that never can be.
        os.close(_private(self.path))
        trouble = self._trouble(suspect=alone and os.fstat(self._lock).st_size > 0)
        if trouble is not None:
            if not alone:
                raise ConfigurationError(
                    f"the views {self.path} are {trouble}, and another process has them open:"
                    " stop that one, then start again"
                )
            self._set_aside(trouble)
        self._make()
        os.pwrite(self._lock, _IN_USE, 0)
        self._in_order = True
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _trouble(self, *, suspect: bool) -> str | None:
        """Why the file is no good, if so. Raises `ConfigurationError` for one to leave alone."""
        try:
            with closing(self._connect()) as connection:
                made_by, version = (
                    _number(connection, "application_id"),
                    _number(connection, "user_version"),
                )
                if made_by != APPLICATION:
                    self._require_empty(connection, made_by)
                    return None
                if version > FORMAT:
                    raise ConfigurationError(
                        f"the views {self.path} are of format {version}, made by a newer release;"
                        f" this one knows {FORMAT}: run the newer release, or name another file"
                    )
                if version < FORMAT:
                    return f"of the older format {version}"
                if not suspect and self.path.stat().st_size > CHECKED_ALWAYS:
                    return None
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return "damaged"
            raise
        return None if found == "ok" else "damaged"

    def _require_empty(self, connection: sqlite3.Connection, made_by: int) -> None:
        tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if made_by or tables:
            raise ConfigurationError(
                f"{self.path} is another program's database, not a file of views; name another file"
            )

    def _set_aside(self, trouble: str) -> None:
        number = 1
        while self._beside(f".corrupt-{number}").exists():
            number += 1
        aside = self._beside(f".corrupt-{number}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            if self._beside(suffix).exists():
                self._beside(suffix).rename(aside.with_name(aside.name + suffix))
        self.recovered = aside
        log.warning(
            "the views %s are %s: set aside as %s, all views are built anew",
            self.path,
            trouble,
            aside,
        )

    def _make(self) -> None:
        os.close(_private(self.path))
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def _private(path: Path) -> int:
    """Open a file, made for its owner alone if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _alone(lock: int) -> bool:
    """Lock the file: exclusively if nobody has it, else shared, once no one has it exclusively."""
    if _taken_alone(lock):
        return True
    fcntl.flock(lock, fcntl.LOCK_SH)
    return False


def _taken_alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found

"""SQLite: one file, many readers, one writer at a time over all processes."""

import sqlite3
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, SingletonThreadPool

from cim_domain.errors import CimError
from cim_domain.views.columns import EXACT
from cim_domain.views.sql.backend import THREADS, WRITES
from cim_domain.views.sql.sqlite_errors import is_damage, translated
from cim_domain.views.sql.sqlite_file import SqliteFile

WRITER_CACHE = 16 * 1024
"""KiB of the file that the thread which writes keeps in memory."""

READER_CACHE = 2 * 1024
"""KiB that each of the others keeps: what is written beside it, it must read again anyway."""

# A commit is safe from a crash of the process, and the file from a crash of the machine; what the
# latter may lose of the last commits is read from the log again, since their checkpoint went along.
_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA cache_size = -{READER_CACHE}",
    "PRAGMA wal_autocheckpoint = 16384",
    "PRAGMA secure_delete = OFF",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)


@define(eq=False)
class SqliteBackend:
    """See `Backend`."""

    path: Path
    _patience: float = field(kw_only=True)
    seconds: float = field(default=60.0, init=False)
    _file: SqliteFile = field(init=False)
    _by_thread: dict[int, sqlite3.Connection] = field(factory=dict, init=False, repr=False)
    engine: sa.Engine = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.path = self.path.absolute()
        self._file = SqliteFile(self.path, self._patience)
        self.engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self.path)),
            # A connection for each thread: one that others have written beside forgets its pages.
            poolclass=SingletonThreadPool,
            pool_size=THREADS,
            hide_parameters=True,
            connect_args={"timeout": self._patience, "check_same_thread": False},
        )
        sa.event.listen(self.engine, "connect", self._connected)
        sa.event.listen(self.engine, "begin", _begin)

    @property
    def recovered(self) -> Path | None:
        """Where a file was set aside."""
        return self._file.recovered

    def prepare(self) -> None:
        """See `Backend`."""
        self._file.prepare()
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA cache_size = -{WRITER_CACHE}")

    def lock_registry(self, connection: sa.Connection) -> None:
        """See `Backend`: a transaction that writes is alone from its beginning."""

    def upsert(self, table: sa.Table) -> str:
        """See `Backend`."""
        insert = sqlite.insert(table)
        upsert = insert.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={column.key: insert.excluded[column.key] for column in _others(table)},
        )
        return str(upsert.compile(self.engine))

    def write_many(self, connection: sa.Connection, text: str, rows: list[tuple[Any, ...]]) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(text, rows)

    def index(self, connection: sa.Connection, index: sa.Index) -> None:
        """See `Backend`."""
        connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    def filled(self, connection: sa.Connection, table: sa.Table) -> None:
        """See `Backend`: plans do not depend on it."""

    def position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        """See `Backend`."""
        return sa.func.instr(text, part)

    def ascending(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Backend`: as it is."""
        return column

    @property
    def schema(self) -> str | None:
        """See `Backend`."""
        return None

    def make_schema(self, connection: sa.Connection) -> None:
        """See `Backend`: there is none."""

    def make_view(self, connection: sa.Connection, name: str, selected: str) -> None:
        """See `Backend`: nobody else has views in this file, but names may have been lost."""
        self.replace_view(connection, name, selected)

    def replace_view(self, connection: sa.Connection, name: str, selected: str) -> None:
        """See `Backend`."""
        self.drop_view(connection, name)
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {selected}")

    def drop_view(self, connection: sa.Connection, name: str) -> None:
        """See `Backend`: what was made of it finds the next of that name."""
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")

    def drop_table(self, connection: sa.Connection, name: str) -> None:
        """See `Backend`: what showed it fails until it shows another one."""
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")

    def shown(
        self,
        column: sa.ColumnElement[Any],
        plain: type,
        document: sa.ColumnElement[str],
        field: str,
    ) -> sa.ColumnElement[Any]:
        """See `Backend`: times are text here, and decimals, too."""
        if plain not in {str, Decimal} or '"' in field:
            return column
        whole = sa.func.json_extract(document, f'$."{field}"')
        if plain is Decimal:
            return whole
        return sa.case((sa.func.length(column) > EXACT, whole), else_=column)

    def is_refused(self, error: DBAPIError) -> bool:
        """See `Backend`."""
        return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR

    def allow(self, connection: sa.Connection, seconds: float) -> None:
        """See `Backend`: nothing but a lock is waited for within the database."""

    def interrupt(self, thread: int) -> None:
        """See `Backend`."""
        if (connection := self._by_thread.get(thread)) is not None:
            connection.interrupt()

    def cut(self, thread: int) -> None:
        """See `Backend`: there is nobody else who would have to answer."""
        self.interrupt(thread)

    def forget(self, thread: int) -> None:
        """See `Backend`: what was interrupted is over when the statement is."""

    def lacks_table(self, error: DBAPIError) -> bool:
        """See `Backend`: it has no code of its own."""
        return str(error.orig).startswith("no such table")

    def refusal(self, error: DBAPIError) -> CimError:
        """See `Backend`."""
        return self.translate(error)

    def translate(self, error: DBAPIError) -> CimError:
        """See `Backend`."""
        if isinstance(error.orig, sqlite3.Error) and is_damage(error.orig):
            self._file.met_damage()
        return translated(self.path, error.orig)

    def release(self) -> None:
        """See `Backend`."""
        self.engine.dispose()
        self._file.release()

    def _connected(self, connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        """Transactions begin where `_begin` says, not where the driver thinks."""
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()
        self._by_thread[threading.get_ident()] = connection


def _others(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if not column.primary_key]


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

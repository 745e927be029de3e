"""PostgreSQL: views that several instances of a service share.

A pooler may give every transaction another session. So nothing is kept in one: limits are set for
each transaction, locks end with it, and no statement is prepared by name.
"""

import os
import socket
import threading
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, SingletonThreadPool

from cim_domain.errors import CimError, ConfigurationError
from cim_domain.views.columns import EXACT
from cim_domain.views.sql.backend import THREADS
from cim_domain.views.sql.postgresql_errors import (
    NO_SUCH_TABLE,
    Place,
    is_session_lost,
    refusal,
    sqlstate,
    translated,
)

_CONNECT_SECONDS = 5
_CANCEL_SECONDS = 2
_LEAST = 5.0

_OTHER_COLUMNS = {"42P16"}
_REFUSED = ("42", "3F", "55P03", "40P01", "57014")
"""No right, a name that somebody has, no schema; or somebody reads there all the time."""

_SHOWN: Mapping[type, sa.types.TypeEngine[Any]] = {
    datetime: sa.DateTime(timezone=True),
    date: sa.Date(),
    UUID: sa.Uuid(),
}


@define(eq=False)
class PostgresqlBackend:
    """See `Backend`."""

    engine: sa.Engine
    _domain: str
    seconds: float
    _limits: sa.Select[Any] | None
    """Asked at the beginning of each transaction."""
    _by_thread: dict[int, Any] = field(factory=dict, init=False, repr=False)
    recovered: Path | None = field(default=None, init=False)

    @classmethod
    def at(cls, url: str, domain: str, *, patience: float) -> "PostgresqlBackend":
        """A database by its URL, with or without the driver's name in it.

        Raises `ConfigurationError`; errors never show the URL, which may hold a password.
        """
        try:
            given = sa.make_url(url)
        except (ArgumentError, ValueError):
            # Not from that error, whose text is the URL or a part of it.
            raise ConfigurationError(
                "the URL of the views is none: postgresql://user:password@host:5432/database"
            ) from None
        if given.drivername not in {"postgresql", "postgresql+psycopg"}:
            raise ConfigurationError(
                f"views cannot be kept at {given.drivername!r}: postgresql+psycopg is the way"
            )
        if given.password and "@" in f"{given.host}{given.database}":
            # The rest of the password is taken for a part of what errors show.
            raise ConfigurationError(
                "the URL of the views has more than one @: write those of the password as %40"
            )
        seconds = max(_LEAST, 6 * patience)
        try:
            engine = sa.create_engine(
                given.set(drivername="postgresql+psycopg"),
                paramstyle="format",
                hide_parameters=True,
                # A connection for each thread: who ends what one waits for ends nothing else.
                poolclass=SingletonThreadPool,
                pool_size=THREADS,
                pool_pre_ping=True,
                connect_args=_connect_args(domain, seconds, given.query),
            )
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "views in PostgreSQL need psycopg: pip install 'cim-domain[postgresql]'"
            ) from error
        backend = cls(engine, domain, seconds, _limits(patience, seconds, given.query))
        sa.event.listen(engine, "connect", backend._connected)
        sa.event.listen(engine, "begin", backend._begin)
        sa.event.listen(engine, "handle_error", _drop_lost_sessions)
        return backend

    def prepare(self) -> None:
        """See `Backend`."""
        with self.engine.connect() as connection:
            encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise ConfigurationError(
                f"the database at {self._place} has the encoding {encoding}; views need UTF8:"
                " createdb --encoding=UTF8 --template=template0"
            )

    def lock_registry(self, connection: sa.Connection) -> None:
        """See `Backend`."""
        digest = blake2b(f"cim views {self._domain}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest, signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))

    def upsert(self, table: sa.Table) -> str:
        """See `Backend`."""
        insert = postgresql.insert(table)
        others = [column.key for column in table.columns if not column.primary_key]
        upsert = insert.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={key: insert.excluded[key] for key in others},
        )
        return str(upsert.compile(self.engine))

    def write_many(self, connection: sa.Connection, text: str, rows: list[tuple[Any, ...]]) -> None:
        """See `Backend`: the driver sends them all before it waits for an answer."""
        connection.exec_driver_sql(text, rows)

    def index(self, connection: sa.Connection, index: sa.Index) -> None:
        """See `Backend`."""
        # IF NOT EXISTS looks before it waits: two who look at once would both make it.
        if index.table is not None:
            lock = f"LOCK TABLE {index.table.name} IN SHARE UPDATE EXCLUSIVE MODE"
            connection.exec_driver_sql(lock)
        connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    def filled(self, connection: sa.Connection, table: sa.Table) -> None:
        """See `Backend`: until it is analyzed, it is taken for nearly empty by every plan."""
        connection.exec_driver_sql(f"ANALYZE {table.name}")

    def position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        """See `Backend`."""
        return sa.func.strpos(text, part)

    def ascending(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Backend`."""
        return column.asc().nulls_first()

    @property
    def schema(self) -> str | None:
        """See `Backend`."""
        return self._domain

    def make_schema(self, connection: sa.Connection) -> None:
        """See `Backend`: IF NOT EXISTS would want the right to make one, even if it is there."""
        there = sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
        if connection.execute(there, {"name": self._domain}).one_or_none() is None:
            connection.execute(sa.schema.CreateSchema(self._domain))

    def make_view(self, connection: sa.Connection, name: str, selected: str) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {selected}")

    def replace_view(self, connection: sa.Connection, name: str, selected: str) -> None:
        """See `Backend`: rights to it, and what others have made of it, stay if the fields do."""
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {name} AS {selected}")
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _OTHER_COLUMNS:
                raise
            self.drop_view(connection, name)
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {selected}")

    def drop_view(self, connection: sa.Connection, name: str) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name} CASCADE")

    def drop_table(self, connection: sa.Connection, name: str) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name} CASCADE")

    def shown(
        self,
        column: sa.ColumnElement[Any],
        plain: type,
        document: sa.ColumnElement[str],
        field: str,
    ) -> sa.ColumnElement[Any]:
        """See `Backend`."""
        if plain is bool:
            return column != 0
        if plain in _SHOWN:
            return sa.cast(column, _SHOWN[plain])
        if plain not in {str, Decimal}:
            return column
        # A text of PostgreSQL has no NUL, and its JSON functions refuse a document with one.
        readable = sa.func.replace(document, "\\u0000", "\\ufffd")
        whole = sa.func.json_extract_path_text(sa.cast(readable, postgresql.JSON), field)
        if plain is Decimal:
            return sa.cast(whole, sa.Numeric())
        return sa.case((sa.func.length(column) > EXACT, whole), else_=column)

    def is_refused(self, error: DBAPIError) -> bool:
        """See `Backend`."""
        return (getattr(error.orig, "sqlstate", None) or "").startswith(_REFUSED)

    def allow(self, connection: sa.Connection, seconds: float) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")

    def interrupt(self, thread: int) -> None:
        """See `Backend`."""
        # It may be about to connect: who gives it up comes again.
        if (connection := self._by_thread.get(thread)) is not None:
            connection.cancel_safe(timeout=_CANCEL_SECONDS)

    def cut(self, thread: int) -> None:
        """See `Backend`: the driver waits for the socket, and learns that it has ended."""
        if (known := self._by_thread.get(thread)) is not None:
            with socket.socket(fileno=os.dup(known.fileno())) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def forget(self, thread: int) -> None:
        """See `Backend`: the next who asks for it gets another one."""
        if (connection := self._by_thread.pop(thread, None)) is not None:
            connection.close()

    def lacks_table(self, error: DBAPIError) -> bool:
        """See `Backend`."""
        return sqlstate(error) == NO_SUCH_TABLE

    def refusal(self, error: DBAPIError) -> CimError:
        """See `Backend`."""
        return refusal(self._place, error)

    def translate(self, error: DBAPIError) -> CimError:
        """See `Backend`."""
        return translated(self._place, error)

    def release(self) -> None:
        """See `Backend`."""
        self.engine.dispose()

    def _connected(self, connection: Any, _: ConnectionPoolEntry) -> None:
        self._by_thread[threading.get_ident()] = connection

    def _begin(self, connection: sa.Connection) -> None:
        if self._limits is not None:
            connection.execute(self._limits).close()

    @property
    def _place(self) -> Place:
        return Place(self.engine.url)


def _drop_lost_sessions(context: ExceptionContext) -> None:
    """Have the pool drop the session, and with it all that were opened before this failure.

    After a failover those that only read would go on reading what is left of the old server.
    """
    error = context.sqlalchemy_exception
    if isinstance(error, DBAPIError) and is_session_lost(sqlstate(error)):
        context.is_disconnect = True


def _limits(lock: float, statement: float, given: Mapping[str, Any]) -> sa.Select[Any] | None:
    """The statement that bounds a transaction's waits, in seconds, unless the URL does."""
    options = str(given.get("options", ""))
    wanted = {"lock_timeout": lock, "statement_timeout": statement}
    asked = [
        sa.func.set_config(name, str(int(seconds * 1000)), sa.true())
        for name, seconds in wanted.items()
        if name not in options
    ]
    return sa.select(*asked) if asked else None


def _connect_args(domain: str, seconds: float, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a connection is opened with, unless the URL says otherwise: a bound for every wait.

    Only what poolers know is told to the server.
    """
    ours: dict[str, Any] = {
        "client_encoding": "utf8",
        "connect_timeout": _CONNECT_SECONDS,
        "tcp_user_timeout": int(seconds * 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "application_name": f"cim-domain-{domain}",
        "prepare_threshold": None,
    }
    if _has_several(given.get("host", "")):
        # After a failover the one that takes writes is another one of them.
        ours["target_session_attrs"] = "read-write"
    return {name: value for name, value in ours.items() if name not in given}


def _has_several(host: str | tuple[str, ...]) -> bool:
    return "," in (host if isinstance(host, str) else ",".join(host))

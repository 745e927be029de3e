"""PostgreSQL: views that several instances of a service share."""

import os
import socket
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry, SingletonThreadPool

from cim_domain.errors import CimError, ConfigurationError, Failed, Unavailable
from cim_domain.views.layout import refused_value
from cim_domain.views.sql.backend import THREADS

_CONNECT_SECONDS = 5
_CANCEL_SECONDS = 2
_LEAST = 5.0

_LOCKED = {"40001", "40P01", "55P03", "57014"}
"""A transaction that lost against another, or waited for too long."""

_TOO_LARGE = {"54000"}
"""A value that an index cannot hold."""

_FULL = {"53100", "53200"}
_AWAY = ("08", "25006", "53", "57P")


@define(eq=False)
class PostgresqlBackend:
    """See `Backend`."""

    engine: sa.Engine
    _domain: str
    seconds: float
    _by_thread: dict[int, Any] = field(factory=dict, init=False, repr=False)
    recovered: Path | None = field(default=None, init=False)

    @classmethod
    def at(cls, url: str, domain: str, *, patience: float) -> "PostgresqlBackend":
        """A database by its URL, with or without the driver's name in it.

        Raises `ConfigurationError`; errors never show the URL, which may hold a password.
        """
        try:
            given = sa.make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(
                "the URL of the views is none: postgresql+psycopg://user:password@host/database"
            ) from error
        if given.drivername not in {"postgresql", "postgresql+psycopg"}:
            raise ConfigurationError(
                f"views cannot be kept at {given.drivername!r}: postgresql+psycopg is the way"
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
                connect_args=_connect_args(domain, patience, seconds, given.query),
            )
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "views in PostgreSQL need psycopg: pip install 'cim-domain[postgresql]'"
            ) from error
        backend = cls(engine, domain, seconds)
        sa.event.listen(engine, "connect", backend._connected)
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

    def allow(self, connection: sa.Connection, seconds: float) -> None:
        """See `Backend`."""
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")

    def interrupt(self, thread: int) -> None:
        """See `Backend`."""
        self._by_thread[thread].cancel_safe(timeout=_CANCEL_SECONDS)

    def cut(self, thread: int) -> None:
        """See `Backend`: the driver waits for the socket, and learns that it has ended."""
        with socket.socket(fileno=os.dup(self._by_thread[thread].fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    def forget(self, thread: int) -> None:
        """See `Backend`: the next who asks for it gets another one."""
        self._by_thread.pop(thread).close()

    def is_spoiled(self, error: DBAPIError) -> bool:
        """See `Backend`: as after a failover, where a session may have become read-only."""
        return (getattr(error.orig, "sqlstate", None) or "").startswith(_AWAY)

    def translate(self, error: DBAPIError) -> CimError:
        """See `Backend`."""
        state: str | None = getattr(error.orig, "sqlstate", None)
        if isinstance(error, DataError | IntegrityError) or state in _TOO_LARGE:
            return refused_value(f"{self._place}, {state or 'a value that it cannot hold'}")
        if state in _FULL:
            return Unavailable(
                f"there is no room for the views at {self._place} ({state}): free space there;"
                " nothing was changed, and work goes on by itself then",
                code="views_full",
            )
        if state in _LOCKED:
            return Unavailable(
                f"the views at {self._place} were locked for too long ({state}); nothing was"
                " changed, try again",
                code="views_locked",
            )
        if state is None or state.startswith(_AWAY):
            return Unavailable(
                f"the views at {self._place} cannot be used ({state or 'no connection'}): check"
                " that PostgreSQL runs there and takes this service's user and password",
                code="views_unavailable",
            )
        return Failed(f"the views at {self._place} failed: SQLSTATE {state}", code="views_failed")

    def release(self) -> None:
        """See `Backend`."""
        self.engine.dispose()

    def _connected(self, connection: Any, _: ConnectionPoolEntry) -> None:
        self._by_thread[threading.get_ident()] = connection

    @property
    def _place(self) -> str:
        url = self.engine.url
        return f"{url.host or 'the local socket'}/{url.database or ''}"


def _connect_args(
    domain: str, patience: float, seconds: float, given: Mapping[str, Any]
) -> dict[str, str | int]:
    """What a connection is opened with, unless the URL says otherwise: a bound for every wait."""
    milliseconds = int(seconds * 1000)
    ours: dict[str, str | int] = {
        "client_encoding": "utf8",
        "connect_timeout": _CONNECT_SECONDS,
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "application_name": f"cim-domain-{domain}",
        "options": f"-c lock_timeout={int(patience * 1000)} -c statement_timeout={milliseconds}",
    }
    return {name: value for name, value in ours.items() if name not in given}

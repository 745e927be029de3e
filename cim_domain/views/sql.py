"""Views in SQL databases: a SQLite file beside the service, or PostgreSQL, shared by instances.

Every view and generation has a table: organization, key, the view as JSON, a column and an index
for each indexed field, and a column of text that is searched. One more table, the registry, knows
the generations of every projection and how far each has read; a commit moves its checkpoint there
within the same transaction.

Views can be built again from the log, so nothing here is migrated. Views whose layout differs from
the code's (its indexed and searched fields, the JSON schema of its class) are built anew as if the
projection's version had been raised. A SQLite file that is damaged, or of an older format, is set
aside, and `SqlViews.recovered` says where.
"""

from pathlib import Path
from typing import Self

import sqlalchemy as sa
from attrs import define, field

from cim_domain.projection import ProjectionModel
from cim_domain.subjects import require_name
from cim_domain.view import View
from cim_domain.views.generations import (
    Generation,
    State,
    dropped_by_switch,
    fitting,
    live_of,
    may_switch,
    next_number,
)
from cim_domain.views.layout import Layouts, read_layouts
from cim_domain.views.port import ViewStore
from cim_domain.views.postgresql import PostgresqlBackend
from cim_domain.views.sql_backend import Backend
from cim_domain.views.sql_registry import Registry
from cim_domain.views.sql_store import SqlStore
from cim_domain.views.sql_tables import ViewTable, view_table
from cim_domain.views.sql_threads import READERS, Threads
from cim_domain.views.sqlite import SqliteBackend

PATIENCE = 5.0
"""Seconds that a statement waits for another process's lock."""


@define(eq=False)
class SqlViews:
    """A `ViewDatabase` in an SQL database.

    Nothing is opened before the first call of `open` or `rebuild`, which also raises
    `ConfigurationError` for a file or server that does not fit.
    """

    _backend: Backend = field(repr=False)
    _domain: str
    _registry: Registry = field(init=False, repr=False)
    _threads: Threads = field(init=False, repr=False)
    _live: dict[str, int] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        require_name(self._domain, "domain")
        self._registry = Registry.of(self._domain)
        self._threads = Threads(self._backend, self._set_up)

    @classmethod
    def sqlite(cls, path: Path, domain: str, *, patience: float = PATIENCE) -> Self:
        """Views in a file, which is made, for its owner alone, in a directory that exists.

        `patience`: seconds to wait while another process writes.
        """
        return cls(SqliteBackend(path, connections=READERS + 1, patience=patience), domain)

    @classmethod
    def postgresql(cls, url: str, domain: str, *, patience: float = PATIENCE) -> Self:
        """Views in a PostgreSQL database whose encoding is UTF8.

        `url` as SQLAlchemy has it: ``postgresql+psycopg://user:password@host/database``.
        `patience`: seconds to wait for a lock. Raises `ConfigurationError` for a URL that is none,
        and without the extra `postgresql`.
        """
        backend = PostgresqlBackend.at(url, domain, connections=READERS + 1, patience=patience)
        return cls(backend, domain)

    @property
    def recovered(self) -> Path | None:
        """Where a damaged file was set aside when this one was opened; None: there was none."""
        return self._backend.recovered

    async def open(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`. Raises `ConfigurationError`, `ModelError` and `Unavailable`."""
        layouts = read_layouts(model)
        return await self._threads.write(
            lambda connection: self._open(connection, model, layouts, anew=False)
        )

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`. Raises `ConfigurationError`, `ModelError` and `Unavailable`."""
        layouts = read_layouts(model)
        return await self._threads.write(
            lambda connection: self._open(connection, model, layouts, anew=True)
        )

    async def switch(self, rebuilt: ViewStore) -> bool:
        """See `ViewDatabase`. Raises `Superseded` and `Unavailable`."""
        name, number = rebuilt.model.name, rebuilt.generation
        switched = await self._threads.write(
            lambda connection: self._switch(connection, name, number)
        )
        if switched:
            self._live[name] = number
        return switched

    async def close(self) -> None:
        """See `ViewDatabase`."""
        await self._threads.close()

    def _set_up(self, connection: sa.Connection) -> None:
        self._backend.lock_registry(connection)
        self._registry.create(connection)

    def _open(
        self, connection: sa.Connection, model: ProjectionModel, layouts: Layouts, *, anew: bool
    ) -> SqlStore:
        self._backend.lock_registry(connection)
        known = self._registry.generations(connection, model.name, lock=anew)
        live = live_of(known)
        found = None if anew else fitting(known, model.version, layouts.fingerprint)
        if anew:
            for unfinished in known:
                if unfinished.state is State.BUILDING:
                    self._registry.drop(connection, model.name, unfinished.number)
        number = next_number(known) if found is None else found.number
        tables = {
            view: view_table(self._backend, self._domain, model.name, number, layouts[view])
            for view in model.views
        }
        if found is None:
            state = State.LIVE if live is None and not anew else State.BUILDING
            made = Generation(number, model.version, layouts.fingerprint, 0, state)
            self._registry.add(connection, model.name, made, list(tables.values()))
            live = made if state is State.LIVE else live
        if live is not None:
            self._live[model.name] = live.number
        return self._store(model, number, layouts, tables)

    def _store(
        self,
        model: ProjectionModel,
        number: int,
        layouts: Layouts,
        tables: dict[type[View], ViewTable],
    ) -> SqlStore:
        return SqlStore(
            model, number, self._threads, self._registry, layouts, tables, self._live.get
        )

    def _switch(self, connection: sa.Connection, name: str, number: int) -> bool:
        self._backend.lock_registry(connection)
        known = self._registry.generations(connection, name, lock=True)
        if not may_switch(known, number, name):
            return False
        live = live_of(known)
        if live is not None and live.number == number:
            return True
        for unneeded in dropped_by_switch(known, number):
            self._registry.drop(connection, name, unneeded.number)
        if live is not None:
            self._registry.become(connection, name, live.number, State.RETIRED)
        self._registry.become(connection, name, number, State.LIVE)
        return True

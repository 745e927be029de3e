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

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from attrs import define, field

from cim_domain.model.projection import ProjectionModel
from cim_domain.model.subjects import require_name
from cim_domain.model.view import View
from cim_domain.views.generations import (
    Generation,
    State,
    comes_into_use,
    first_state,
    fitting,
    may_switch,
    next_number,
    next_use,
    plan_switch,
    standing_in,
)
from cim_domain.views.layout import Layouts, read_layouts
from cim_domain.views.port import ViewStore
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.postgresql import PostgresqlBackend
from cim_domain.views.sql.registry import Registry
from cim_domain.views.sql.sqlite import SqliteBackend
from cim_domain.views.sql.store import SqlStore
from cim_domain.views.sql.tables import ViewTable, view_table
from cim_domain.views.sql.threads import READERS, Threads

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
    _live: dict[tuple[str, int, str], int] = field(factory=dict, init=False, repr=False)
    """The live generation of each projection, version and layout, as far as is known here."""

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

        def find(connection: sa.Connection) -> Generation:
            known = self._lock(connection, model.name)
            found = fitting(known, model.version, layouts.fingerprint)
            if found is None:
                return self._make(connection, model, layouts, known, first_state(known))
            if comes_into_use(known, found):
                self._registry.go_live(connection, model.name, found.number, next_use(known))
            return found

        found = await self._threads.write(find)
        if found.state is State.LIVE:
            self._live[model.name, found.version, found.layout] = found.number
        return self._store(model, found.number, layouts)

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        """See `ViewDatabase`. Raises as `open` does."""
        layouts = read_layouts(model)
        known = await self._threads.write(
            lambda connection: self._registry.generations(connection, model.name, lock=False)
        )
        found = standing_in(known, model.version, layouts.fingerprint)
        return None if found is None else self._store(model, found.number, layouts)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`. Raises `ConfigurationError`, `ModelError` and `Unavailable`."""
        layouts = read_layouts(model)

        def begin(connection: sa.Connection) -> Generation:
            known = self._lock(connection, model.name)
            for one in known:
                if one.state is State.BUILDING and one.of(model.version, layouts.fingerprint):
                    self._registry.drop(connection, model.name, one.number)
            return self._make(connection, model, layouts, known, State.BUILDING)

        made = await self._threads.write(begin)
        return self._store(model, made.number, layouts)

    async def switch(self, rebuilt: ViewStore) -> bool:
        """See `ViewDatabase`. Raises `Superseded` and `Unavailable`.

        The indexes are made right before it, each in a transaction of its own: others write, too.
        """
        name, number = rebuilt.model.name, rebuilt.generation
        if not await self._threads.write(
            lambda connection: may_switch(self._lock(connection, name), number, name)
        ):
            return False
        if not rebuilt.live:
            await self._index(rebuilt.model, number)
        switched = await self._threads.write(
            lambda connection: self._switch(connection, name, number)
        )
        if switched is None:
            return False
        self._live[name, switched.version, switched.layout] = number
        return True

    async def close(self) -> None:
        """See `ViewDatabase`."""
        await self._threads.close()

    def _set_up(self, connection: sa.Connection) -> None:
        self._backend.lock_registry(connection)
        self._registry.create(connection)

    def _lock(self, connection: sa.Connection, name: str) -> list[Generation]:
        """The generations of a projection, none of which changes until the transaction ends."""
        self._backend.lock_registry(connection)
        return self._registry.generations(connection, name, lock=True)

    def _make(
        self,
        connection: sa.Connection,
        model: ProjectionModel,
        layouts: Layouts,
        known: Sequence[Generation],
        state: State,
    ) -> Generation:
        made = Generation(
            number=next_number(known),
            version=model.version,
            layout=layouts.fingerprint,
            checkpoint=0,
            state=state,
            used=next_use(known) if state is State.LIVE else 0,
        )
        tables = list(self._tables(model, made.number, layouts).values())
        self._registry.add(connection, model.name, made, tables)
        if state is State.LIVE:
            for table in tables:
                for index in table.indexes:
                    self._backend.index(connection, index)
        return made

    def _tables(
        self, model: ProjectionModel, number: int, layouts: Layouts
    ) -> dict[type[View], ViewTable]:
        return {
            view: view_table(self._backend, self._domain, model.name, number, layouts[view])
            for view in model.views
        }

    def _store(self, model: ProjectionModel, number: int, layouts: Layouts) -> SqlStore:
        tables = self._tables(model, number, layouts)
        return SqlStore(
            model, number, self._threads, self._registry, layouts, tables, self._live.get
        )

    async def _index(self, model: ProjectionModel, number: int) -> None:
        for kept in self._tables(model, number, read_layouts(model)).values():
            for index in kept.indexes:
                await self._threads.write(partial(self._backend.index, index=index))
            await self._threads.write(partial(self._backend.filled, table=kept.table))

    def _switch(self, connection: sa.Connection, name: str, number: int) -> Generation | None:
        known = self._lock(connection, name)
        if not may_switch(known, number, name):
            return None
        rebuilt = next(found for found in known if found.number == number)
        if rebuilt.state is State.LIVE:
            return rebuilt
        planned = plan_switch(known, number)
        for unneeded in planned.dropped:
            self._registry.drop(connection, name, unneeded.number)
        if planned.retired is not None:
            self._registry.become(connection, name, planned.retired.number, State.RETIRED)
        self._registry.go_live(connection, name, number, next_use(known))
        return rebuilt

"""Views in SQL databases: a SQLite file beside the service, or PostgreSQL, shared by instances.

Every view and generation has a table: organization, key, the view as JSON, a column and an index
for each indexed field, and a column of text that is searched. One more table, the registry, knows
the generations of every projection, of which log they are, and how far each has read; a commit
moves its checkpoint there within the same transaction. Beside the tables are views of the database
with names that people read.

Views can be built again from the log, so nothing here is migrated. Views whose layout differs from
the code's (its indexed and searched fields, the JSON schema of its class) are built anew as if the
projection's version had been raised. A SQLite file that is damaged, or of an older format, is set
aside, and `SqlViews.recovered` says where.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from attrs import evolve

from cim_domain.model.projection import ProjectionModel
from cim_domain.model.subjects import require_name
from cim_domain.model.view import View
from cim_domain.views.database import GenerationalViews
from cim_domain.views.generations import IS_LIVE, Decide, Generation, Plan, State
from cim_domain.views.layout import Layouts
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.kept import KeptViews, kept_views
from cim_domain.views.sql.names import Names
from cim_domain.views.sql.postgresql import PostgresqlBackend
from cim_domain.views.sql.registry import Registry
from cim_domain.views.sql.sqlite import SqliteBackend
from cim_domain.views.sql.store import SqlStore
from cim_domain.views.sql.tables import ViewTable, view_table
from cim_domain.views.sql.threads import LONG, Threads

logger = logging.getLogger("cim_domain.views")

PATIENCE = 5.0
"""Seconds that a statement waits for another process's lock."""


class SqlViews(GenerationalViews):
    """A `ViewDatabase` in an SQL database.

    Nothing is opened before the first call of `open` or `rebuild`, which also raises
    `ConfigurationError` for a file or server that does not fit.
    """

    def __init__(self, backend: Backend, domain: str, log_id: str) -> None:
        super().__init__()
        self._backend = backend
        require_name(domain, "domain")
        self._place = domain, log_id
        self._names = Names.of(domain, backend)
        self._registry = Registry.of(domain, log_id, self._names)
        self._threads = Threads(backend, self._set_up)

    @classmethod
    def sqlite(cls, path: Path, domain: str, log_id: str, *, patience: float = PATIENCE) -> Self:
        """Views in a file, which is made, for its owner alone, in a directory that exists.

        `log_id` names the log that they are of: those of other logs stay beside them.
        `patience`: seconds to wait while another process writes.
        """
        return cls(SqliteBackend(path, patience=patience), domain, log_id)

    @classmethod
    def postgresql(cls, url: str, domain: str, log_id: str, *, patience: float = PATIENCE) -> Self:
        """Views in a PostgreSQL database whose encoding is UTF8.

        `url` as SQLAlchemy has it: ``postgresql+psycopg://user:password@host/database``.
        `patience`: seconds to wait for a lock; a statement may take six times as long. Raises
        `ConfigurationError` for a URL that is none, and without the extra `postgresql`.
        """
        return cls(PostgresqlBackend.at(url, domain, patience=patience), domain, log_id)

    @property
    def recovered(self) -> Path | None:
        """Where a damaged file was set aside when this one was opened; None: there was none."""
        return self._backend.recovered

    async def close(self) -> None:
        """See `ViewDatabase`. What is under way is given up where it does not end."""
        await self._threads.close()

    async def kept(self) -> list[KeptViews]:
        """All views that are kept here for the domain, of other logs and former projections, too.

        Raises `Unavailable` and `ConfigurationError`.
        """
        return await self._threads.write(
            lambda connection: kept_views(connection, self._registry.table)
        )

    async def remove(self, views: KeptViews) -> None:
        """Drop what is kept of a projection and a log; who still holds it finds it superseded.

        Raises as `kept` does.
        """
        registry = self._registry.of_log(views.log)

        def remove(connection: sa.Connection) -> None:
            self._backend.lock_registry(connection)
            for known in registry.generations(connection, views.projection, lock=True):
                if known.state is not State.DROPPED:
                    dropped = evolve(known, state=State.DROPPED)
                    registry.become(connection, views.projection, dropped)

        await self._threads.write(remove, LONG)

    def _set_up(self, connection: sa.Connection) -> None:
        self._backend.lock_registry(connection)
        self._registry.create(connection)
        for name in self._registry.drop_incomplete(connection):
            logger.warning("tables of the views of %s are gone: they are built anew", name)

    async def _generations(self, name: str) -> Sequence[Generation]:
        return await self._threads.write(
            lambda connection: self._registry.generations(connection, name, lock=False)
        )

    async def _change(
        self, model: ProjectionModel, layouts: Layouts, decide: Decide
    ) -> Plan | None:
        def change(connection: sa.Connection) -> Plan | None:
            self._backend.lock_registry(connection)
            plan = decide(self._registry.generations(connection, model.name, lock=True))
            if plan is None:
                return None
            for known in plan.changed:
                self._registry.become(connection, model.name, known)
            tables = self._tables(model, plan.found.number, layouts)
            if plan.made:
                self._registry.add(connection, model.name, plan.found, list(tables.values()))
                if plan.found.state is not State.BUILDING:
                    for index in _indexes(tables):
                        self._backend.index(connection, index)
            if plan.found.state in IS_LIVE:
                log_id = self._place[1]
                self._names.show(connection, log_id, model.name, plan.found.number, tables)
            return plan

        return await self._threads.write(change)

    async def _fill(self, model: ProjectionModel, number: int, layouts: Layouts) -> None:
        """Make the indexes right before the switch, each in a transaction of its own."""
        tables = self._tables(model, number, layouts)
        for index in _indexes(tables):
            await self._threads.write(partial(self._backend.index, index=index), LONG)
        for kept in tables.values():
            await self._threads.write(partial(self._backend.filled, table=kept.table), LONG)

    def _store(self, model: ProjectionModel, number: int, layouts: Layouts) -> SqlStore:
        tables = self._tables(model, number, layouts)
        return SqlStore(self, model, number, self._threads, self._registry, layouts, tables)

    def _tables(
        self, model: ProjectionModel, number: int, layouts: Layouts
    ) -> dict[type[View], ViewTable]:
        return {
            view: view_table(self._backend, self._place, model.name, number, layouts[view])
            for view in model.views
        }


def _indexes(tables: Mapping[type[View], ViewTable]) -> Iterator[sa.Index]:
    return (index for kept in tables.values() for index in kept.indexes)

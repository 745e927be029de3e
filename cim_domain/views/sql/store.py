"""One generation of a projection's views in a database."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa
from attrs import field, frozen

from cim_domain.errors import CimError
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import View
from cim_domain.views.columns import comparable
from cim_domain.views.criteria import organization
from cim_domain.views.database import GenerationalViews
from cim_domain.views.generations import gone, superseded
from cim_domain.views.layout import Layouts, read_view
from cim_domain.views.port import Change, Checkpoint, RowKey
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.reader import SqlReader
from cim_domain.views.sql.registry import Registry
from cim_domain.views.sql.tables import Tuple, ViewTable
from cim_domain.views.sql.threads import Threads

V = TypeVar("V", bound=View)
T = TypeVar("T")
Ask = Callable[[sa.Connection], T]


@frozen(eq=False)
class SqlStore:
    """One generation of one projection's views."""

    _database: GenerationalViews = field(repr=False)
    model: ProjectionModel
    generation: int
    _threads: Threads
    _registry: Registry
    _layouts: Layouts
    _tables: Mapping[type[View], ViewTable]

    @property
    def live(self) -> bool:
        """See `ViewStore`."""
        return self._database.is_live(self.model, self._layouts, self.generation)

    @property
    def complete(self) -> bool:
        """See `ViewStore`."""
        return self._database.is_complete(self.model, self._layouts, self.generation)

    @property
    def backend(self) -> Backend:
        """The kind of database."""
        return self._threads.backend

    async def checkpoint(self) -> Checkpoint:
        """See `ViewStore`. Tables that are gone are noticed, too."""
        name, number = self.model.name, self.generation

        def checkpoint(connection: sa.Connection) -> Checkpoint:
            found = self._registry.checkpoint(connection, name, number)
            for kept in self._tables.values():
                connection.execute(kept.present).close()
            return found

        return await self._while_kept(self._threads.look, checkpoint)

    async def load(self, view: type[V], rows: Iterable[RowKey]) -> dict[RowKey, V]:
        """See `ViewStore`. Raises `Superseded` once the generation has been dropped."""
        kept = self.table(view)
        wanted: dict[str, dict[str, RowKey]] = {}
        for row in rows:
            wanted.setdefault(comparable(row[0]), {})[comparable(row[1])] = row

        def load(connection: sa.Connection) -> dict[RowKey, V]:
            return {
                keys[key]: read_view(view, document)
                for owner, keys in wanted.items()
                for key, document in kept.load(connection, owner, list(keys))
            }

        return await self._while_kept(self._threads.read_as_writer, load)

    async def commit(
        self, changes: Sequence[Change], *, expected: int, checkpoint: Checkpoint
    ) -> None:
        """See `ViewStore`."""
        name, number = self.model.name, self.generation
        for change in changes:
            self.table(change.view)

        def commit(connection: sa.Connection) -> None:
            self._registry.move(connection, name, number, expected, checkpoint)
            for kept, upserts, deletes in self._rows(changes):
                if upserts:
                    self.backend.write_many(connection, kept.upsert, upserts)
                if deletes:
                    self.backend.write_many(connection, kept.delete, deletes)

        await self._while_kept(self._threads.write, commit)

    async def skip(self, event: Checkpoint, *, expected: int) -> None:
        """See `ViewStore`."""
        name, number = self.model.name, self.generation
        await self._while_kept(
            self._threads.write,
            lambda connection: self._registry.skip(connection, name, number, expected, event),
        )

    async def has_skipped(self, sequence: int) -> bool:
        """See `ViewStore`."""
        name, number = self.model.name, self.generation
        return await self._while_kept(
            self._threads.look,
            lambda connection: self._registry.has_skipped(connection, name, number, sequence),
        )

    def reader(self, organization_id: str | None) -> SqlReader:
        """See `ViewStore`. Queries get `Unavailable` once the generation has been dropped."""
        return SqlReader(self, organization(organization_id))

    def table(self, view: type[View]) -> ViewTable:
        """The table of a view. Raises `ModelError` for a view of another projection."""
        self._layouts[view]
        return self._tables[view]

    async def read(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call a query's function in a reader's thread."""
        dropped = gone(self.model.name, self.generation)
        return await self._unless_dropped(self._threads.read, ask, dropped)

    def _rows(
        self, changes: Sequence[Change]
    ) -> Iterator[tuple[ViewTable, list[Tuple], list[Tuple]]]:
        for view, kept in self._tables.items():
            of_view = [change for change in changes if change.view is view]
            upserts = [kept.row(change) for change in of_view if change.value is not None]
            deletes = [kept.row(change) for change in of_view if change.value is None]
            yield kept, upserts, deletes

    async def _while_kept(self, do: Callable[[Ask[T]], Awaitable[T]], ask: Ask[T]) -> T:
        return await self._unless_dropped(do, ask, superseded(self.model.name, self.generation))

    async def _unless_dropped(
        self, read: Callable[[Ask[T]], Awaitable[T]], ask: Ask[T], dropped: CimError
    ) -> T:
        try:
            return await read(ask)
        except CimError as error:
            if error.__cause__ is not None and await self._is_dropped():
                raise dropped from error
            raise

    async def _is_dropped(self) -> bool:
        name, number = self.model.name, self.generation
        return await self._threads.look(
            lambda connection: self._registry.is_dropped(connection, name, number)
        )

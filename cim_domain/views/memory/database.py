"""Views in memory: for services that build them anew at every start, and for tests.

They do what the SQL adapters do: a view is kept as JSON and read back, columns are compared by the
same values. Everything is gone when the process ends.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from attrs import define, evolve, field

from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import View
from cim_domain.views.columns import comparable
from cim_domain.views.criteria import organization
from cim_domain.views.database import GenerationalViews
from cim_domain.views.generations import (
    TAKES_EVENTS,
    Decide,
    Generation,
    Plan,
    State,
    closed,
    gone,
    superseded,
)
from cim_domain.views.layout import Layouts, read_view
from cim_domain.views.memory.reader import MemoryReader
from cim_domain.views.memory.table import Table, row_of
from cim_domain.views.port import Change, Checkpoint, CheckpointMoved, RowKey, Superseded
from cim_domain.views.yielding import Turns

V = TypeVar("V", bound=View)


@define(eq=False)
class _Kept:
    """One generation with its rows."""

    known: Generation
    tables: dict[str, Table]
    """By the name of the view: two versions of the code have a class each."""
    skipped: set[int] = field(factory=set)


class MemoryViews(GenerationalViews):
    """A `ViewDatabase` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, dict[int, _Kept]] = {}
        self._turns = Turns()
        self._closed = False

    async def close(self) -> None:
        """See `ViewDatabase`; the views are gone."""
        self._closed = True
        self._kept.clear()
        self._live.clear()

    def kept(self, name: str, number: int) -> _Kept:
        """A generation as it is now. Raises `Superseded` for one that was dropped."""
        self._require_open()
        found = self._kept[name][number]
        if found.known.state is State.DROPPED:
            raise superseded(name, number)
        return found

    async def _generations(self, name: str) -> Sequence[Generation]:
        self._require_open()
        return [kept.known for kept in self._kept.get(name, {}).values()]

    async def _change(
        self, model: ProjectionModel, layouts: Layouts, decide: Decide
    ) -> Plan | None:
        plan = decide(await self._generations(model.name))
        if plan is None:
            return None
        kept = self._kept.setdefault(model.name, {})
        for known in plan.changed:
            kept[known.number].known = known
            if known.state is State.DROPPED:
                kept[known.number].tables.clear()
        if plan.made:
            tables = {view.view_name: Table(layouts[view], self._turns) for view in model.views}
            kept[plan.found.number] = _Kept(plan.found, tables)
        return plan

    async def _fill(self, model: ProjectionModel, number: int, layouts: Layouts) -> None:
        """Nothing: values are found by at any time."""

    def _store(self, model: ProjectionModel, number: int, layouts: Layouts) -> "MemoryStore":
        return MemoryStore(self, model, number, layouts)

    def _require_open(self) -> None:
        if self._closed:
            raise closed()


@define(eq=False)
class MemoryStore:
    """One generation of one projection's views."""

    _database: MemoryViews = field(repr=False)
    model: ProjectionModel = field(repr=False)
    generation: int
    _layouts: Layouts = field(repr=False)

    @property
    def live(self) -> bool:
        """See `ViewStore`."""
        return self._database.is_live(self.model, self._layouts, self.generation)

    @property
    def complete(self) -> bool:
        """See `ViewStore`."""
        return self._database.is_complete(self.model, self._layouts, self.generation)

    async def checkpoint(self) -> Checkpoint:
        """See `ViewStore`."""
        return self._taking().known.checkpoint

    async def load(self, view: type[V], rows: Iterable[RowKey]) -> dict[RowKey, V]:
        """See `ViewStore`. Raises `Superseded` once the generation has been dropped."""
        self._layouts[view]
        table = self._database.kept(self.model.name, self.generation).tables[view.view_name]
        found = {}
        for owner, key in rows:
            row = table.get(comparable(owner), comparable(key))
            if row is not None:
                found[owner, key] = read_view(view, row.document)
        return found

    async def commit(
        self, changes: Sequence[Change], *, expected: int, checkpoint: Checkpoint
    ) -> None:
        """See `ViewStore`."""
        kept = self._taking(expected)
        encoded = [row_of(self._layouts[change.view], change) for change in changes]
        for change, (owner, key, row) in zip(changes, encoded, strict=True):
            kept.tables[change.view.view_name].put(owner, key, row)
        kept.known = evolve(kept.known, checkpoint=checkpoint)

    async def skip(self, event: Checkpoint, *, expected: int) -> None:
        """See `ViewStore`."""
        kept = self._taking(expected)
        kept.skipped.add(event.sequence)
        kept.known = evolve(kept.known, checkpoint=event)

    async def has_skipped(self, sequence: int) -> bool:
        """See `ViewStore`."""
        return sequence in self._taking().skipped

    def reader(self, organization_id: str | None) -> MemoryReader:
        """See `ViewStore`. Queries get `Unavailable` once the generation has been dropped."""
        return MemoryReader(self._layouts, self._table_to_read, organization(organization_id))

    def _table_to_read(self, view: type[View]) -> Table:
        try:
            return self._database.kept(self.model.name, self.generation).tables[view.view_name]
        except Superseded as error:
            raise gone(self.model.name, self.generation) from error

    def _taking(self, expected: int | None = None) -> _Kept:
        kept = self._database.kept(self.model.name, self.generation)
        if kept.known.state not in TAKES_EVENTS:
            raise superseded(self.model.name, self.generation)
        if expected not in {None, kept.known.checkpoint.sequence}:
            raise CheckpointMoved(f"the views {self.model.name!r} are not at {expected} any more")
        return kept

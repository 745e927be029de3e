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
from cim_domain.views.generations import (
    TAKES_EVENTS,
    Generation,
    State,
    closed,
    comes_into_use,
    first_state,
    fitting,
    gone,
    may_switch,
    next_number,
    next_use,
    plan_switch,
    standing_in,
    superseded,
)
from cim_domain.views.layout import Layouts, read_layouts, read_view
from cim_domain.views.memory.reader import MemoryReader
from cim_domain.views.memory.table import Table, row_of
from cim_domain.views.port import Change, CheckpointMoved, RowKey, Superseded, ViewStore
from cim_domain.views.yielding import Turns

V = TypeVar("V", bound=View)


@define(eq=False)
class _Kept:
    """One generation with its rows."""

    known: Generation
    tables: dict[str, Table]
    """By the name of the view: two versions of the code have a class each."""
    skipped: set[int] = field(factory=set)


@define(eq=False)
class MemoryViews:
    """A `ViewDatabase` in memory."""

    _kept: dict[str, dict[int, _Kept]] = field(factory=dict, init=False, repr=False)
    _turns: Turns = field(factory=Turns, init=False, repr=False)
    _closed: bool = field(default=False, init=False)

    async def open(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        self._require_open()
        layouts = read_layouts(model)
        known = self._known(model.name)
        found = fitting(known, model.version, layouts.fingerprint)
        if found is None:
            found = self._new(model, layouts, first_state(known))
        elif comes_into_use(known, found):
            self._become(model.name, found.number, State.LIVE)
        return MemoryStore(self, model, found.number, layouts)

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        """See `ViewDatabase`."""
        self._require_open()
        layouts = read_layouts(model)
        found = standing_in(self._known(model.name), model.version, layouts.fingerprint)
        return None if found is None else MemoryStore(self, model, found.number, layouts)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        self._require_open()
        layouts = read_layouts(model)
        for known in self._known(model.name):
            if known.state is State.BUILDING and known.of(model.version, layouts.fingerprint):
                self._drop(model.name, known.number)
        return MemoryStore(self, model, self._new(model, layouts, State.BUILDING).number, layouts)

    async def switch(self, rebuilt: ViewStore) -> bool:
        """See `ViewDatabase`. Raises `Superseded`."""
        self._require_open()
        name, number = rebuilt.model.name, rebuilt.generation
        known = self._known(name)
        if not may_switch(known, number, name):
            return False
        if self.is_live(name, number):
            return True
        planned = plan_switch(known, number)
        for unneeded in planned.dropped:
            self._drop(name, unneeded.number)
        if planned.retired is not None:
            self._become(name, planned.retired.number, State.RETIRED)
        self._become(name, number, State.LIVE)
        return True

    async def close(self) -> None:
        """See `ViewDatabase`; the views are gone."""
        self._closed = True
        self._kept.clear()

    def kept(self, name: str, number: int) -> _Kept:
        """A generation as it is now. Raises `Superseded` for one that was dropped."""
        self._require_open()
        found = self._kept[name][number]
        if found.known.state is State.DROPPED:
            raise superseded(name, number)
        return found

    def is_live(self, name: str, number: int) -> bool:
        """Whether a generation is its version's live one."""
        return not self._closed and self._kept[name][number].known.state is State.LIVE

    def _require_open(self) -> None:
        if self._closed:
            raise closed()

    def _known(self, name: str) -> list[Generation]:
        return [kept.known for kept in self._kept.get(name, {}).values()]

    def _new(self, model: ProjectionModel, layouts: Layouts, state: State) -> Generation:
        number = next_number(self._known(model.name))
        known = Generation(number, model.version, layouts.fingerprint, 0, State.BUILDING)
        tables = {view.view_name: Table(layouts[view], self._turns) for view in model.views}
        self._kept.setdefault(model.name, {})[number] = _Kept(known, tables)
        self._become(model.name, number, state)
        return known

    def _become(self, name: str, number: int, state: State) -> None:
        kept = self._kept[name][number]
        used = next_use(self._known(name)) if state is State.LIVE else kept.known.used
        kept.known = evolve(kept.known, state=state, used=used)

    def _drop(self, name: str, number: int) -> None:
        self._become(name, number, State.DROPPED)
        self._kept[name][number].tables.clear()


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
        return self._database.is_live(self.model.name, self.generation)

    async def checkpoint(self) -> int:
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

    async def commit(self, changes: Sequence[Change], *, expected: int, checkpoint: int) -> None:
        """See `ViewStore`."""
        kept = self._taking(expected)
        encoded = [row_of(self._layouts[change.view], change) for change in changes]
        for change, (owner, key, row) in zip(changes, encoded, strict=True):
            kept.tables[change.view.view_name].put(owner, key, row)
        kept.known = evolve(kept.known, checkpoint=checkpoint)

    async def skip(self, sequence: int, *, expected: int) -> None:
        """See `ViewStore`."""
        kept = self._taking(expected)
        kept.skipped.add(sequence)
        kept.known = evolve(kept.known, checkpoint=sequence)

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
        if expected not in {None, kept.known.checkpoint}:
            raise CheckpointMoved(f"the views {self.model.name!r} are not at {expected} any more")
        return kept

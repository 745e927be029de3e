"""Given events, then views: what a projection keeps and answers, without any server.

    orders = ProjectionScenario(Orders()).given(OrderPlaced(number="1", item="tea"))

    orders.then(OrderView(number="1", item="tea"))
    assert (await orders.ask(GetOrder(number="1"), OrderView)).item == "tea"

Scenarios are values: each step gives a new one. Events and views go through their JSON, as they do
in the log and in the database.
"""

from datetime import timedelta
from typing import Any, TypeVar, overload
from uuid import UUID

from attrs import Factory, evolve, field, frozen

from cim_domain.client.messages import Answer
from cim_domain.model.messages import Event, Query
from cim_domain.model.metadata import Recorded
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.projection import Projection, ProjectionModel, examine_projection
from cim_domain.model.records import EventRecord
from cim_domain.model.view import View
from cim_domain.projections.row_changes import Batch, step_of
from cim_domain.testing.messages import START, as_stored, listed, metadata
from cim_domain.views.layout import read_layouts, read_view
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import Change, Checkpoint, RowKey

T = TypeVar("T")

_Rows = dict[type[View], dict[RowKey, View]]


def _model(scenario: "ProjectionScenario") -> ProjectionModel:
    mistakes = Mistakes()
    model = examine_projection(scenario.projection, mistakes)
    mistakes.refuse()
    return model


@frozen
class ProjectionScenario:
    """A projection after some events. Raises `ModelError` for a mistake in the class."""

    projection: Projection
    model: ProjectionModel = field(
        default=Factory(_model, takes_self=True), repr=False, eq=False, kw_only=True
    )
    history: tuple[Recorded[Event], ...] = field(default=(), kw_only=True)

    def given(self, *events: Event, **fields: Any) -> "ProjectionScenario":
        """The scenario after these events; `fields` are any of their `Metadata`.

        Without `aggregate_id`, they are events of the same aggregate, each a second after the one
        before. Raises `AssertionError` for an event that the projection does not project.
        """
        __tracebackhide__ = True
        scenario = self
        for event in events:
            if type(event) not in self.model.events:
                name = type(self.projection).__name__
                raise AssertionError(f"{event!r} is not projected by {name}")
            recorded = Recorded(as_stored(event), scenario._metadata(event, fields))
            scenario = evolve(scenario, history=(*scenario.history, recorded))
        return scenario

    @property
    def views(self) -> tuple[View, ...]:
        """The views that there are, in the order of their names and keys."""
        rows = self._rows()
        return tuple(rows[view][row] for view in self.model.views for row in sorted(rows[view]))

    def then(self, *expected: View) -> "ProjectionScenario":
        """Check that there are exactly these views, in any order, and go on from there."""
        __tracebackhide__ = True
        found = self.views
        missing = [one for one in expected if one not in found]
        beyond = [one for one in found if one not in expected]
        if missing or beyond or len(found) != len(expected):
            raise AssertionError(
                f"expected {listed('view', expected)}\nbut there are {listed('view', found)}"
            )
        return self

    @overload
    async def ask(self, query: Query, kind: type[T], /, **fields: Any) -> T: ...
    @overload
    async def ask(self, query: Query, /, **fields: Any) -> Any: ...
    async def ask(self, query: Query, kind: Any = None, /, **fields: Any) -> Any:
        """What a query is answered: as JSON has it, or as a `kind`.

        `fields` are any of the query's `Metadata`, such as `organization_id`. Raises what the
        method raises, and `AssertionError` for a query that the projection does not answer.
        """
        answer = self.model.queries.get(type(query))
        if answer is None:
            name = type(self.projection).__name__
            raise AssertionError(f"{query!r} is not answered by {name}")
        said = metadata(query, **fields)
        store = await MemoryViews().open(self.model)
        changes = [
            Change(view, row, value)
            for view, rows in self._rows().items()
            for row, value in rows.items()
        ]
        await store.commit(changes, expected=0, checkpoint=Checkpoint(len(self.history)))
        asked = type(query).from_wire(query.to_wire())
        data = await answer.ask(asked, store.reader(said.organization_id), said)
        found = Answer(data, None)
        return found.json() if kind is None else found.read(kind)

    def _metadata(self, event: Event, fields: dict[str, Any]) -> Any:
        number = len(self.history) + 1
        aggregate_id = fields.get("aggregate_id", str(UUID(int=1)))
        before = [one for one in self.history if one.metadata.aggregate_id == aggregate_id]
        found = {
            "message_id": str(UUID(int=number)),
            "timestamp": START + timedelta(seconds=number - 1),
            "aggregate_id": aggregate_id,
            "aggregate_version": len(before) + 1,
            "sequence": number,
        }
        return metadata(event, **{**found, **fields})

    def _rows(self) -> _Rows:
        layouts = read_layouts(self.model)
        rows: _Rows = {view: {} for view in self.model.views}
        for recorded in self.history:
            record = EventRecord(recorded.metadata, recorded.event.to_wire())
            batch = Batch(rows)
            batch.apply(step_of(record, recorded.event, self.model.events[type(recorded.event)]))
            for view, row, value in batch.changes():
                rows[view].pop(row, None)
                if value is not None:
                    rows[view][row] = read_view(view, layouts[view].write(value))
        return rows

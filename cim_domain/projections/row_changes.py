"""What a slice of the log does to views: the rows that its events concern, from before to after."""

from collections.abc import Sequence
from typing import NamedTuple

from cim_domain.model.messages import Event
from cim_domain.model.projection import Projector
from cim_domain.model.records import EventRecord
from cim_domain.model.view import View
from cim_domain.views.port import Change, RowKey, ViewStore


class Step(NamedTuple):
    """One event, and the rows that each projector changes on it."""

    record: EventRecord
    event: Event
    targets: tuple[tuple[Projector, RowKey], ...]


def step_of(record: EventRecord, event: Event, projectors: tuple[Projector, ...]) -> Step:
    """The step of an event. Raises what the projectors' key functions raise."""
    metadata = record.metadata
    organization = metadata.organization_id or ""
    targets = [
        (projector, (organization, key))
        for projector in projectors
        for key in projector.keys(event, metadata)
    ]
    return Step(record, event, tuple(targets))


async def rows_of(views: ViewStore, steps: Sequence[Step]) -> dict[type[View], dict[RowKey, View]]:
    """The views that the steps change, as they are."""
    wanted: dict[type[View], set[RowKey]] = {}
    for step in steps:
        for projector, row in step.targets:
            wanted.setdefault(projector.view, set()).add(row)
    return {view: await views.load(view, rows) for view, rows in wanted.items()}


class Batch:
    """Views on their way from one checkpoint to the next."""

    def __init__(self, rows: dict[type[View], dict[RowKey, View]]) -> None:
        self._rows: dict[type[View], dict[RowKey, View | None]] = {
            view: dict(found) for view, found in rows.items()
        }
        self._changed: dict[tuple[type[View], RowKey], None] = {}

    def apply(self, step: Step) -> None:
        """Change the views on one event: all that it concerns, or none where one raises."""
        results = [
            (projector.view, row, self._changed_view(projector, row, step))
            for projector, row in step.targets
        ]
        for view, row, value in results:
            self._rows[view][row] = value
            self._changed[view, row] = None

    def changes(self) -> list[Change]:
        """What has changed, each row once."""
        return [Change(view, row, self._rows[view][row]) for view, row in self._changed]

    def _changed_view(self, projector: Projector, row: RowKey, step: Step) -> View | None:
        before = self._rows[projector.view].get(row)
        after = projector.change(before, step.event, step.record.metadata, row[1])
        if after is not None and type(after) is not projector.view:
            raise TypeError(f"{type(after).__name__} in place of {projector.view.__name__}")
        return after

"""What views must be: each event of the log applied in turn, by the projection alone."""

from collections.abc import Iterator, Sequence

from cim_domain import Domain, View
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.records import EventRecord
from cim_domain.views.port import RowKey, ViewDatabase
from tests.faults.verdict.checker import Violation
from tests.faults.world import last_of

Folded = dict[type[View], dict[RowKey, View]]


def fold(domain: Domain, model: ProjectionModel, log: Sequence[EventRecord]) -> Folded:
    """The views of a projection after these events."""
    views: Folded = {view: {} for view in model.views}
    projectors = {event.message_type: one for event, one in model.events.items()}
    for record in log:
        for projector in projectors.get(record.metadata.message_type, ()):
            event = domain.read_event(record.metadata, record.data)
            rows = views[projector.view]
            for key in projector.keys(event, record.metadata):
                row = (record.metadata.organization_id or "", key)
                after = projector.change(rows.get(row), event, record.metadata, key)
                if after is None:
                    rows.pop(row, None)
                else:
                    rows[row] = after
    return views


async def check_views(
    domain: Domain, database: ViewDatabase, log: Sequence[EventRecord]
) -> list[Violation]:
    """Every view, as it is in a database that nobody writes now, against the fold of the log."""
    found: list[Violation] = []
    for model in domain.projections.values():
        store = await database.open(model)
        checkpoint = (await store.checkpoint()).sequence
        folded = fold(domain, model, log[:checkpoint])
        if not last_of(model, log) <= checkpoint <= len(log):
            found.append(Violation("view", f"{model.name} is at {checkpoint} of {len(log)}"))
        for view, rows in folded.items():
            kept = await store.load(view, rows)
            found += _differences(view, rows, kept)
            count = await store.reader(None).count(view)
            if count != len(rows):
                found.append(Violation("view", f"{count} of {view.view_name}, not {len(rows)}"))
    return found


def _differences(
    view: type[View], expected: dict[RowKey, View], kept: dict[RowKey, View]
) -> Iterator[Violation]:
    for row, value in expected.items():
        if kept.get(row) != value:
            yield Violation("view", f"{view.view_name} {row}: {kept.get(row)} is not {value}")

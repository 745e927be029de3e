"""The rows of one view in memory, found by key or by the value of an indexed field."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest

from attrs import define, field, frozen

from cim_domain.views.asking import Condition, Find, Place
from cim_domain.views.columns import Value, comparable
from cim_domain.views.layout import ViewLayout, unfit
from cim_domain.views.port import Change


@frozen
class Row:
    """One view: its columns' values by field, its search text, itself as JSON."""

    values: dict[str, Value]
    search: str
    document: bytes


def row_of(layout: ViewLayout, change: Change) -> tuple[str, str, Row | None]:
    """Owner, key and row of a change. Raises `Failed` for what cannot be kept."""
    try:
        owner, key = comparable(change.row[0]), comparable(change.row[1])
    except UnicodeEncodeError as error:
        raise unfit(layout.view, "key", error) from error
    if change.value is None:
        return owner, key, None
    values = dict(zip(layout.columns, layout.values(change.value), strict=True))
    return owner, key, Row(values, layout.search_text(change.value), layout.write(change.value))


@define(eq=False)
class Table:
    """The rows of one view, of every organization."""

    _layout: ViewLayout
    _rows: dict[str, dict[str, Row]] = field(factory=dict, init=False)
    _by_value: dict[tuple[str, str, Value], set[str]] = field(factory=dict, init=False)

    def get(self, owner: str, key: str) -> Row | None:
        """The row of an organization under a key."""
        return self._rows.get(owner, {}).get(key)

    def put(self, owner: str, key: str, row: Row | None) -> None:
        """Set a row, or remove it."""
        rows = self._rows.setdefault(owner, {})
        before = rows.pop(key, None)
        if before is not None:
            for name, value in before.values.items():
                keys = self._by_value[owner, name, value]
                keys.discard(key)
                if not keys:
                    del self._by_value[owner, name, value]
        if row is not None:
            rows[key] = row
            for name, value in row.values.items():
                self._by_value.setdefault((owner, name, value), set()).add(key)

    def matching(
        self, owner: str, where: Sequence[Condition], text: str = ""
    ) -> Iterator[tuple[str, Row]]:
        """The keys and rows that meet the conditions, in no order."""
        rows = self._rows.get(owner, {})
        for key in self._candidates(owner, where):
            row = rows[key]
            if text in row.search and all(
                row.values[column.field] == value for column, value in where
            ):
                yield key, row

    def page(self, owner: str, find: Find) -> list[tuple[Place, Row]]:
        """The views of a page in their order, and one more if there is one."""
        name = None if find.order is None else find.order.field
        after = None if find.after is None else _rank(find.after)
        found = []
        for key, row in self.matching(owner, find.where, find.text):
            place = (None if name is None else row.values[name], key)
            rank = _rank(place)
            if after is None or (rank < after if find.descending else rank > after):
                found.append((rank, place, row))
        pick = nlargest if find.descending else nsmallest
        picked = pick(find.skip + find.limit + 1, found, key=lambda entry: entry[0])
        return [(place, row) for _, place, row in picked[find.skip :]]

    def _candidates(self, owner: str, where: Sequence[Condition]) -> Iterable[str]:
        """The keys of the rarest of the values asked for, or all."""
        sets: list[set[str]] = [
            self._by_value.get((owner, column.field, value), set()) for column, value in where
        ]
        rarest = sorted(sets, key=len)
        return rarest[0] if rarest else self._rows.get(owner, {})


def _rank(place: Place) -> tuple[bool, Value, str]:
    """What orders a place: None comes before everything."""
    value, key = place
    return value is not None, 0 if value is None else value, key

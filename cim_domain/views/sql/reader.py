"""What a query reads of views in a database."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from cim_domain.model.fields.conditions import Operator
from cim_domain.model.view import MAX_GROUPS, Page, View
from cim_domain.views.columns import EXACT, Value
from cim_domain.views.criteria import Check, Find, OrderedColumn, Place, rank
from cim_domain.views.layout import ViewLayout, read_view
from cim_domain.views.reader import ViewReader
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.tables import DOCUMENT, KEY, OWNER, SEARCH, ViewTable
from cim_domain.views.tally import Tally

V = TypeVar("V", bound=View)
T = TypeVar("T")

_ROWS_AT_ONCE = 1000
"""Rows that are in memory while values are counted."""


class Source(Protocol):
    """The generation that is read."""

    @property
    def backend(self) -> Backend:
        """The kind of database."""

    def table(self, view: type[View]) -> ViewTable:
        """The table of a view. Raises `ModelError`."""

    async def read(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call a function in a reader's thread. Raises `Unavailable`."""


class SqlReader(ViewReader):
    """The views of one organization."""

    def __init__(self, source: Source, owner: str) -> None:
        super().__init__(owner)
        self._source = source

    def _layout(self, view: type[View]) -> ViewLayout:
        return self._source.table(view).layout

    async def _document(self, view: type[View], key: str) -> str | None:
        kept = self._source.table(view)
        asked = sa.select(kept.table.c[DOCUMENT]).where(
            kept.table.c[OWNER] == self._owner, kept.table.c[KEY] == key
        )
        found: str | None = await self._source.read(
            lambda connection: connection.execute(asked).scalar_one_or_none()
        )
        return found

    async def _page(self, view: type[V], find: Find) -> Page[V]:
        asked = self._selected(self._source.table(view), find)

        def page(connection: sa.Connection) -> Page[V]:
            rows = connection.execute(asked).all()
            shown = rows[: find.limit]
            more = len(rows) > len(shown)
            return Page(
                items=[read_view(view, row[0]) for row in shown],
                next=find.cursor((tuple(shown[-1][2:]), shown[-1][1])) if more else None,
            )

        return await self._source.read(page)

    async def _count(self, view: type[View], where: Sequence[Check]) -> int:
        kept = self._source.table(view)
        asked = sa.select(sa.func.count()).select_from(kept.table)
        asked = asked.where(*_met(kept, self._owner, where))
        return await self._source.read(lambda connection: connection.execute(asked).scalar_one())

    async def _tally(self, view: type[View], where: Sequence[Check], tally: Tally) -> None:
        kept = self._source.table(view)
        by = [kept.table.c[column.field] for column in tally.by]
        of = [] if tally.of is None else [kept.table.c[tally.of.field]]
        count, document = sa.func.count(), _document_where_cut(kept, tally)
        asked = sa.select(*by, *of, count, document).select_from(kept.table)
        asked = asked.where(*_met(kept, self._owner, where)).group_by(*by, *of)
        if not of:
            asked = asked.limit(MAX_GROUPS + 1)

        def add(connection: sa.Connection) -> None:
            options = {"yield_per": _ROWS_AT_ONCE}
            with connection.execute(asked, execution_options=options) as rows:
                for *values, number, text in rows:
                    summed = values.pop() if of else None
                    tally.add(tuple(values), summed, number, text)

        await self._source.read(add)

    def _selected(self, kept: ViewTable, find: Find) -> sa.Select[Any]:
        columns = kept.table.c
        places = [columns[one.column.field] for one in find.order]
        asked: sa.Select[Any] = sa.select(columns[DOCUMENT], columns[KEY], *places)
        asked = asked.where(*_met(kept, self._owner, find.where))
        if find.text:
            asked = asked.where(self._source.backend.position(columns[SEARCH], find.text) > 0)
        if find.after is not None:
            asked = asked.where(_behind(kept, find, find.after))
        return asked.order_by(*_sorted(kept, find)).limit(find.limit + 1).offset(find.skip)


def _met(kept: ViewTable, owner: str, where: Sequence[Check]) -> list[sa.ColumnElement[bool]]:
    return [kept.table.c[OWNER] == owner, *(_holds(kept, check) for check in where)]


def _holds(kept: ViewTable, check: Check) -> sa.ColumnElement[bool]:
    """A check as a condition that is never NULL where it would be turned round."""
    column: sa.ColumnElement[Any] = kept.table.c[check.column.field]
    match check.operator:
        case Operator.EQUAL:
            equal: sa.ColumnElement[bool] = column == check.value
            return equal
        case Operator.UNEQUAL if check.value is not None and check.column.optional:
            return sa.or_(column != check.value, column.is_(None))
        case Operator.ONE_OF:
            return _is_one_of(column, check.value)
        case other:
            met: sa.ColumnElement[bool] = _COMPARED[other](column, check.value)
            return met


_COMPARED: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.UNEQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}


def _is_one_of(column: sa.ColumnElement[Any], values: frozenset[Value]) -> sa.ColumnElement[bool]:
    """Whether a column holds one of these, of which one may be NULL."""
    given = sorted((value for value in values if value is not None), key=rank)
    ways = [column.in_(given)] if given else []
    if None in values:
        ways.append(column.is_(None))
    return sa.or_(*ways) if ways else sa.false()


def _document_where_cut(kept: ViewTable, tally: Tally) -> sa.ColumnElement[Any]:
    """The JSON of a view in a group where a text is longer than its column holds."""
    cut = [
        sa.func.length(kept.table.c[column.field]) > EXACT
        for column in tally.by
        if column.coding.plain is str
    ]
    if not cut:
        return sa.null()
    return sa.func.min(sa.case((sa.or_(*cut), kept.table.c[DOCUMENT])))


def _sorted(kept: ViewTable, find: Find) -> list[sa.ColumnElement[Any]]:
    """Ascending with NULL first, or that turned round, so that one index serves both."""
    key = kept.table.c[KEY]
    columns = [_turned(kept.table.c[one.column.field], one) for one in find.order]
    return [*columns, key.desc() if find.descending else key.asc()]


def _turned(column: sa.ColumnElement[Any], one: OrderedColumn) -> sa.ColumnElement[Any]:
    turned = column.desc() if one.descending else column.asc()
    if not one.column.optional:
        return turned
    return turned.nulls_last() if one.descending else turned.nulls_first()


def _behind(kept: ViewTable, find: Find, place: Place) -> sa.ColumnElement[bool]:
    """What comes behind a place: farther by one column, and even by those before it."""
    values, key = place
    by_key = kept.table.c[KEY]
    behind: sa.ColumnElement[bool] = by_key < key if find.descending else by_key > key
    places = list(zip(find.order, values, strict=True))
    if places and places[-1][1] is not None:
        one, value = places.pop()
        behind = _behind_in_index(kept, one, value, key)
    for one, value in reversed(places):
        behind = _farther_or_even(kept.table.c[one.column.field], one, value, behind)
    return behind


def _behind_in_index(
    kept: ViewTable, one: OrderedColumn, value: Value, key: str
) -> sa.ColumnElement[bool]:
    """Behind by a column and the key, which run alike: an index looks that up, among ties, too."""
    column: sa.ColumnElement[Any] = kept.table.c[one.column.field]
    here, there = sa.tuple_(column, kept.table.c[KEY]), sa.tuple_(value, key)
    if not one.descending:
        return here > there
    return sa.or_(here < there, column.is_(None)) if one.column.optional else here < there


def _farther_or_even(
    column: sa.ColumnElement[Any],
    one: OrderedColumn,
    value: Value,
    then: sa.ColumnElement[bool],
) -> sa.ColumnElement[bool]:
    """Farther by a column, or even and `then`. NULL is in no comparison: it is named."""
    if value is None:
        even = sa.and_(column.is_(None), then)
        return even if one.descending else sa.or_(column.is_not(None), even)
    # The range alone is what an index looks up.
    at = column <= value if one.descending else column >= value
    past = column < value if one.descending else column > value
    found = sa.and_(at, sa.or_(past, then))
    return sa.or_(found, column.is_(None)) if one.descending and one.column.optional else found

"""What a query reads of views in a database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from attrs import frozen

from cim_domain.model.view import Page, Scalar, View
from cim_domain.views.columns import Value, comparable
from cim_domain.views.criteria import Condition, Find, conditions, read_find
from cim_domain.views.layout import read_view
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.tables import DOCUMENT, KEY, OWNER, SEARCH, ViewTable

V = TypeVar("V", bound=View)
T = TypeVar("T")


class Source(Protocol):
    """The generation that is read."""

    @property
    def backend(self) -> Backend:
        """The kind of database."""

    def table(self, view: type[View]) -> ViewTable:
        """The table of a view. Raises `ModelError`."""

    async def read(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call a function in a reader's thread. Raises `Unavailable`."""


@frozen
class SqlReader:
    """The views of one organization."""

    _source: Source
    _owner: str

    async def get(self, view: type[V], key: str) -> V | None:
        """See `Views`."""
        kept = self._source.table(view)
        try:
            found = comparable(key)
        except UnicodeEncodeError:
            return None
        asked = sa.select(kept.table.c[DOCUMENT]).where(
            kept.table.c[OWNER] == self._owner, kept.table.c[KEY] == found
        )
        document = await self._source.read(
            lambda connection: connection.execute(asked).scalar_one_or_none()
        )
        return None if document is None else read_view(view, document)

    async def first(self, view: type[V], **where: Scalar) -> V | None:
        """See `Views`; of several, the one with the least key."""
        page = await self.find(view, where, limit=1)
        return page.items[0] if page.items else None

    async def find(
        self,
        view: type[V],
        where: Mapping[str, Scalar] | None = None,
        *,
        text: str = "",
        order_by: str | None = None,
        descending: bool = False,
        limit: int = 50,
        after: str | None = None,
        skip: int = 0,
    ) -> Page[V]:
        """See `Views`."""
        kept = self._source.table(view)
        find = read_find(
            kept.layout,
            self._owner,
            where,
            text=text,
            order_by=order_by,
            descending=descending,
            limit=limit,
            after=after,
            skip=skip,
        )
        asked = self._page(kept, find)

        def page(connection: sa.Connection) -> Page[V]:
            rows = connection.execute(asked).all()
            shown = rows[: find.limit]
            return Page(
                items=[read_view(view, document) for document, _, _ in shown],
                next=find.cursor((shown[-1][1], shown[-1][2])) if len(rows) > len(shown) else None,
            )

        return await self._source.read(page)

    async def count(self, view: type[V], where: Mapping[str, Scalar] | None = None) -> int:
        """See `Views`."""
        kept = self._source.table(view)
        met = _met(kept, self._owner, conditions(kept.layout, where))
        asked = sa.select(sa.func.count()).select_from(kept.table).where(*met)
        return await self._source.read(lambda connection: connection.execute(asked).scalar_one())

    def _page(self, kept: ViewTable, find: Find) -> sa.Select[Any]:
        columns = kept.table.c
        order = sa.null() if find.order is None else columns[find.order.field]
        asked = sa.select(columns[DOCUMENT], order, columns[KEY])
        asked = asked.where(*_met(kept, self._owner, find.where))
        if find.text:
            asked = asked.where(self._source.backend.position(columns[SEARCH], find.text) > 0)
        if find.after is not None:
            asked = asked.where(_behind(kept, find, *find.after))
        return asked.order_by(*_sorted(kept, find)).limit(find.limit + 1).offset(find.skip)


def _met(kept: ViewTable, owner: str, where: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
    fields = [kept.table.c[column.field] == value for column, value in where]
    return [kept.table.c[OWNER] == owner, *fields]


def _sorted(kept: ViewTable, find: Find) -> list[sa.ColumnElement[Any]]:
    """Ascending with NULL first, or all of that turned round, so that one index serves both."""
    key = kept.table.c[KEY]
    if find.order is None:
        return [key.desc() if find.descending else key]
    column: sa.ColumnElement[Any] = kept.table.c[find.order.field]
    turned = column.desc() if find.descending else column.asc()
    if find.order.optional:
        turned = turned.nulls_last() if find.descending else turned.nulls_first()
    return [turned, key.desc() if find.descending else key]


def _behind(kept: ViewTable, find: Find, value: Value, key: str) -> sa.ColumnElement[bool]:
    """What comes behind a place. NULL is in no comparison of rows: it is named where it counts."""
    by_key = kept.table.c[KEY]
    farther = by_key < key if find.descending else by_key > key
    if find.order is None:
        return farther
    column: sa.ColumnElement[Any] = kept.table.c[find.order.field]
    if value is None:
        among_null = sa.and_(column.is_(None), farther)
        return among_null if find.descending else sa.or_(column.is_not(None), among_null)
    here, there = sa.tuple_(column, by_key), sa.tuple_(value, key)
    if not find.descending:
        return here > there
    return sa.or_(here < there, column.is_(None)) if find.order.optional else here < there

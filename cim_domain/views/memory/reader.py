"""What a query reads of views in memory."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import frozen

from cim_domain.model.view import Page, Scalar, View
from cim_domain.views.columns import comparable
from cim_domain.views.criteria import conditions, read_find
from cim_domain.views.layout import Layouts, read_view
from cim_domain.views.memory.table import Table

V = TypeVar("V", bound=View)


@frozen
class MemoryReader:
    """The views of one organization."""

    _layouts: Layouts
    _table: Callable[[type[View]], Table]
    _owner: str

    async def get(self, view: type[V], key: str) -> V | None:
        """See `Views`."""
        self._layouts[view]
        try:
            row = self._table(view).get(self._owner, comparable(key))
        except UnicodeEncodeError:
            return None
        return None if row is None else read_view(view, row.document)

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
        find = read_find(
            self._layouts[view],
            self._owner,
            where,
            text=text,
            order_by=order_by,
            descending=descending,
            limit=limit,
            after=after,
            skip=skip,
        )
        found = await self._table(view).page(self._owner, find)
        shown = found[: find.limit]
        more = len(found) > len(shown)
        return Page(
            items=[read_view(view, row.document) for _, row in shown],
            next=find.cursor(shown[-1][0]) if more else None,
        )

    async def count(self, view: type[V], where: Mapping[str, Scalar] | None = None) -> int:
        """See `Views`."""
        asked = conditions(self._layouts[view], where)
        return await self._table(view).count(self._owner, asked)

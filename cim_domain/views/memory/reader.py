"""What a query reads of views in memory."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from cim_domain.model.view import Page, View
from cim_domain.views.criteria import Check, Find
from cim_domain.views.layout import Layouts, ViewLayout, read_view
from cim_domain.views.memory.table import Table
from cim_domain.views.reader import ViewReader
from cim_domain.views.tally import Tally

V = TypeVar("V", bound=View)


class MemoryReader(ViewReader):
    """The views of one organization."""

    def __init__(self, layouts: Layouts, table: Callable[[type[View]], Table], owner: str) -> None:
        super().__init__(owner)
        self._layouts = layouts
        self._table = table

    def _layout(self, view: type[View]) -> ViewLayout:
        return self._layouts[view]

    async def _document(self, view: type[View], key: str) -> bytes | None:
        row = self._table(view).get(self._owner, key)
        return None if row is None else row.document

    async def _page(self, view: type[V], find: Find) -> Page[V]:
        found = await self._table(view).page(self._owner, find)
        shown = found[: find.limit]
        more = len(found) > len(shown)
        return Page(
            items=[read_view(view, row.document) for _, row in shown],
            next=find.cursor(shown[-1][0]) if more else None,
        )

    async def _count(self, view: type[View], where: Sequence[Check]) -> int:
        return await self._table(view).count(self._owner, where)

    async def _tally(self, view: type[View], where: Sequence[Check], tally: Tally) -> None:
        await self._table(view).tally(self._owner, where, tally)

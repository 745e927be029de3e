"""What a query reads of views, as far as all databases do it alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from cim_domain.model.fields.conditions import Condition, Field, Operator
from cim_domain.model.view import Counted, OrderBy, Page, Scalar, Summed, View, Where
from cim_domain.views.columns import comparable
from cim_domain.views.criteria import Check, Find, checks, read_find
from cim_domain.views.layout import ViewLayout, read_view
from cim_domain.views.tally import Tally

V = TypeVar("V", bound=View)
K = TypeVar("K")
L = TypeVar("L")
N = TypeVar("N")


class ViewReader(ABC):
    """See `Views`: the views of one organization, for adapters that find, count and tally rows."""

    def __init__(self, owner: str) -> None:
        self._owner = owner

    async def get(self, view: type[V], key: str) -> V | None:
        """See `Views`."""
        self._layout(view)
        try:
            document = await self._document(view, comparable(key))
        except UnicodeEncodeError:
            return None
        return None if document is None else read_view(view, document)

    async def first(self, view: type[V], *conditions: Condition, **where: Scalar) -> V | None:
        """See `Views`; of several, the one with the least key."""
        equal = [Condition(view, name, Operator.EQUAL, value) for name, value in where.items()]
        page = await self.find(view, [*conditions, *equal], limit=1)
        return page.items[0] if page.items else None

    async def find(
        self,
        view: type[V],
        where: Where = None,
        *,
        text: str = "",
        order_by: OrderBy = None,
        descending: bool = False,
        limit: int = 50,
        after: str | None = None,
        skip: int = 0,
    ) -> Page[V]:
        """See `Views`."""
        find = read_find(
            self._layout(view),
            self._owner,
            where,
            text=text,
            order_by=order_by,
            descending=descending,
            limit=limit,
            after=after,
            skip=skip,
        )
        return await self._page(view, find)

    async def count(self, view: type[V], where: Where = None) -> int:
        """See `Views`."""
        return await self._count(view, checks(self._layout(view), where))

    @overload
    async def count_by(
        self, view: type[V], by: Field[K], where: Where = None
    ) -> list[Counted[K]]: ...
    @overload
    async def count_by(
        self, view: type[V], by: tuple[Field[K], Field[L]], where: Where = None
    ) -> list[Counted[tuple[K, L]]]: ...
    async def count_by(self, view: type[V], by: Any, where: Where = None) -> list[Counted[Any]]:
        """See `Views`."""
        return (await self._tallied(view, by, None, where)).counted()

    async def sum(self, view: type[V], of: Field[N], where: Where = None) -> N:
        """See `Views`."""
        total: N = (await self._tallied(view, (), of, where)).sum()
        return total

    @overload
    async def sum_by(
        self, view: type[V], by: Field[K], of: Field[N], where: Where = None
    ) -> list[Summed[K, N]]: ...
    @overload
    async def sum_by(
        self, view: type[V], by: tuple[Field[K], Field[L]], of: Field[N], where: Where = None
    ) -> list[Summed[tuple[K, L], N]]: ...
    async def sum_by(
        self, view: type[V], by: Any, of: Field[N], where: Where = None
    ) -> list[Summed[Any, N]]:
        """See `Views`."""
        return (await self._tallied(view, by, of, where)).summed()

    async def _tallied(
        self, view: type[View], by: object, of: Field[Any] | None, where: Where
    ) -> Tally:
        layout = self._layout(view)
        tally = Tally.asked(layout, by, of)
        await self._tally(view, checks(layout, where), tally)
        return tally

    @abstractmethod
    def _layout(self, view: type[View]) -> ViewLayout:
        """The layout of a view. Raises `ModelError` for one of another projection."""

    @abstractmethod
    async def _document(self, view: type[View], key: str) -> str | bytes | None:
        """The JSON of the view under a key, if there is one."""

    @abstractmethod
    async def _page(self, view: type[V], find: Find) -> Page[V]:
        """The page that is asked for."""

    @abstractmethod
    async def _count(self, view: type[View], where: Sequence[Check]) -> int:
        """How many views pass the checks."""

    @abstractmethod
    async def _tally(self, view: type[View], where: Sequence[Check], tally: Tally) -> None:
        """Have those that pass the checks counted."""

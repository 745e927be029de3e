"""Views: what queries read. Frozen pydantic models, kept under a key by a projection.

class FlakeView(View, indexed=("path", "updated_at"), searched=("path", "description")):
    path: str
    description: str
    updated_at: datetime
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from cim_domain.model.fields.conditions import Condition, Field, Ordering, ViewClass
from cim_domain.model.fields.types import column_type, is_text
from cim_domain.model.mistakes import begin, chosen_name, keep_names, names, note, only_known
from cim_domain.model.naming import near

Scalar = str | int | float | bool | Decimal | date | datetime | UUID | Enum | None
"""What an indexed field may hold. Given as JSON has it, it counts as well: enums by their value,
times as RFC 3339 text."""

Where = Mapping[str, object] | Iterable[Condition] | None
"""What must all hold of a view: its fields have these values, by name, each a `Scalar`; or
conditions."""

OrderBy = str | Ordering | Field[Any] | Sequence[str | Ordering | Field[Any]] | None
"""One field or several, the first of which counts most: each by name, by `field`, or turned."""

_KEYWORDS = {"view_name": "name=", "indexed": "indexed=", "searched": "searched="}

MAX_LIMIT = 500
"""A page holds at most so many views."""

MAX_GROUPS = 10_000
"""So many groups are counted at most."""


class View(BaseModel, metaclass=ViewClass):
    """The base of every view.

    `indexed` names the fields that queries may filter and order by: each becomes a column with an
    index. `searched` names the text fields in which queries may look for a piece of text.
    """

    # Written as text, infinities and NaN can be read back.
    # A field with an alias goes by it in JSON, and by its name, too, in Python.
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_inf_nan="strings",
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    view_name: ClassVar[str] = ""
    indexed: ClassVar[tuple[str, ...]] = ()
    searched: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        indexed: str | tuple[str, ...] = (),
        searched: str | tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        begin(cls)
        super().__init_subclass__(**only_known(cls, kwargs, ("name", "indexed", "searched")))
        keep_names(cls, View, _KEYWORDS)
        cls.view_name = chosen_name(cls, name)
        cls.indexed = names(cls, "indexed", indexed) or cls.indexed
        cls.searched = names(cls, "searched", searched) or cls.searched

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for problem in fields_problems(cls):
            note(cls, problem)


def fields_problems(view: type[View]) -> list[str]:
    """Why fields of a view cannot be indexed or searched as it says, a sentence for each."""
    found = [
        f"{field!r}, to be indexed, is not a field{near(field, view.model_fields)}"
        for field in dict.fromkeys((*view.indexed, *view.searched))
        if field not in view.model_fields
    ]
    types = {name: field.annotation for name, field in view.model_fields.items()}
    found += [
        f"{field!r} cannot be indexed: it is not one of text, integer, float, Decimal, bool,"
        " datetime, date, UUID, an enum of one of these, or None"
        for field in dict.fromkeys(view.indexed)
        if field in types and column_type(types[field]) is None
    ]
    found += [
        f"{field!r} cannot be searched: it is not text"
        for field in dict.fromkeys(view.searched)
        if field in types and not is_text(types[field])
    ]
    return found


V = TypeVar("V", bound=View)
Item = TypeVar("Item")
K = TypeVar("K")
L = TypeVar("L")
N = TypeVar("N")


class Page(BaseModel, Generic[Item]):
    """Part of a list: its items, and the cursor with which the next part is asked for, if any."""

    items: list[Item]
    next: str | None = None


class Counted(BaseModel, Generic[K]):
    """The views that have the same value in a field, or the same two in two."""

    by: K
    """The value, or both."""
    count: int
    """How many they are."""


class Summed(BaseModel, Generic[K, N]):
    """The same, with the sum of another field over them."""

    by: K
    count: int
    sum: N


class Views(Protocol):
    """What a query may read: the views of its projection, those of the query's organization only.

    Text is looked for without regard to case; order is by code points, ties by key. Whatever the
    query's code says wrong raises `ModelError`: of a field that is not indexed, of a value that it
    cannot have. A client hears `failed`, and the log names field and condition.
    """

    async def get(self, view: type[V], key: str) -> V | None:
        """The view under a key, or None."""

    async def first(self, view: type[V], *conditions: Condition, **where: Scalar) -> V | None:
        """One view of which these conditions hold, and whose fields have these values, or None."""

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
        """The views of which all of `where` holds and whose searched fields hold `text`.

        They come ordered by indexed fields, or by key, from behind the cursor `after`; the first
        `skip` of them are left out. `descending` turns the whole order round; ties come by key in
        the direction of the last field. Raises `Invalid` for a cursor that no page of this query
        gave, and for a limit or a skip out of bounds.
        """

    async def count(self, view: type[V], where: Where = None) -> int:
        """Of how many views all of `where` holds."""

    @overload
    async def count_by(
        self, view: type[V], by: Field[K], where: Where = None
    ) -> list[Counted[K]]: ...
    @overload
    async def count_by(
        self, view: type[V], by: tuple[Field[K], Field[L]], where: Where = None
    ) -> list[Counted[tuple[K, L]]]: ...
    async def count_by(self, view: type[V], by: Any, where: Where = None) -> list[Counted[Any]]:
        """How many views there are for each value of a field, or each pair of two, in order.

        Raises `Failed` (``too_many_groups``) for more than `MAX_GROUPS`.
        """

    async def sum(self, view: type[V], of: Field[N], where: Where = None) -> N:
        """The sum of an integer, `Decimal` or float field; None counts as nothing.

        It is exact, and of floats rounded once.
        """

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
        """Counts as `count_by` gives them, each with the sum of a field, as `sum` gives it."""

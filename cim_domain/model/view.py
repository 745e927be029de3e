"""Views: what queries read. Frozen pydantic models, kept under a key by a projection.

class FlakeView(View, indexed=("path", "updated_at"), searched=("path", "description")):
    path: str
    description: str
    updated_at: datetime
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from cim_domain.errors import ModelError
from cim_domain.model.naming import snake_case
from cim_domain.model.source_location import where as where_of

Scalar = str | int | float | bool | None
"""What a view may be filtered by. Enums count by their value, times as RFC 3339 text in UTC."""

MAX_LIMIT = 500
"""A page holds at most so many views."""


class View(BaseModel):
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
        indexed: tuple[str, ...] = (),
        searched: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.view_name = name or snake_case(cls.__name__)
        cls.indexed = indexed or cls.indexed
        cls.searched = searched or cls.searched

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in (*cls.indexed, *cls.searched):
            if field not in cls.model_fields:
                raise ModelError(f"{where_of(cls)}: {field!r}, to be indexed, is not a field")


V = TypeVar("V", bound=View)
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Part of a list: its items, and the cursor with which the next part is asked for, if any."""

    items: list[Item]
    next: str | None = None


class Views(Protocol):
    """What a query may read: the views of its projection, those of the query's organization only.

    Text is looked for without regard to case; ordering is by code points, ties by key.
    """

    async def get(self, view: type[V], key: str) -> V | None:
        """The view under a key, or None."""

    async def first(self, view: type[V], **where: Scalar) -> V | None:
        """One view whose indexed fields have these values, or None."""

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
        """The views whose indexed fields have these values and whose searched ones hold `text`.

        They come ordered by an indexed field, or by key, from behind the cursor `after`; the first
        `skip` of them are left out. Raises `Invalid` for a cursor that no page of this query gave,
        and `ModelError` for a field that is not indexed.
        """

    async def count(self, view: type[V], where: Mapping[str, Scalar] | None = None) -> int:
        """How many views have these values in their indexed fields."""

"""Views: what queries read. Frozen pydantic models, kept under a key by a projection.

class FlakeView(View, indexed=("path", "updated_at"), searched=("path", "description")):
    path: str
    description: str
    updated_at: datetime
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from cim_domain.model.fields.types import column_type, is_text
from cim_domain.model.mistakes import begin, chosen_name, keep_names, names, note, only_known
from cim_domain.model.naming import near

Scalar = str | int | float | bool | None
"""What a view may be filtered by. Enums count by their value, times as RFC 3339 text in UTC."""

_KEYWORDS = {"view_name": "name=", "indexed": "indexed=", "searched": "searched="}

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
        f"{field!r} cannot be indexed: it is not one of text, integer, float, bool, datetime, date,"
        " UUID, an enum of one of these, or None"
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

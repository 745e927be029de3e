"""What the views and the queries of this domain have in common."""

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from aggregates.nix.values import SafeText
from cim_domain import CimError, Metadata, NotFound, Query, View, Views

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
"""How many items an answer holds at most."""


class Part(BaseModel):
    """Part of a view or of an answer."""

    model_config = ConfigDict(frozen=True)


class DatedView(View):
    """The view of one aggregate. Times are those of its events, in UTC."""

    created_at: datetime
    updated_at: datetime
    version: int
    """How many events the aggregate has."""


class ListQuery(Query):
    """Asks for part of a list; `after` is the `next` of the part before."""

    limit: Limit = DEFAULT_LIMIT
    after: str | None = None


class TextQuery(ListQuery):
    """Asks for those of a list that hold a piece of text, without regard to case."""

    text: SafeText = ""


V = TypeVar("V", bound=View)
D = TypeVar("D", bound=DatedView)


def aggregate_id(metadata: Metadata) -> str:
    """The id of the aggregate that the event is of."""
    return metadata.aggregate_id or ""


def first_dates(metadata: Metadata) -> dict[str, Any]:
    """The fields of a `DatedView` after the event it begins with."""
    return {
        "created_at": metadata.timestamp,
        "updated_at": metadata.timestamp,
        "version": metadata.aggregate_version,
    }


def changed(view: D | None, metadata: Metadata, **fields: Any) -> D:
    """The view with other `fields`, dated by the event. Raises `CimError` where there is none."""
    dates = {"updated_at": metadata.timestamp, "version": metadata.aggregate_version}
    return present(view, metadata).model_copy(update={**fields, **dates})


def present(view: V | None, metadata: Metadata) -> V:
    """The view that an event changes. Raises `CimError` where an earlier event was left out."""
    if view is None:
        raise CimError(
            f"{metadata.message_type} (version {metadata.aggregate_version} of"
            f" {metadata.aggregate_id}) changes a view that there is not: rebuild the projection"
        )
    return view


def given(**where: str | bool | None) -> dict[str, str | bool | None]:
    """What a list is filtered by: the fields that the query says something about."""
    return {name: value for name, value in where.items() if value is not None}


def require_one(query: Query, *ways: tuple[str, ...]) -> None:
    """Refuse a query unless it names what it means in one of these ways, and in one only.

    A way is the fields that together name it: ``("flake_ref", "attribute"), ("package_id",)``.
    """
    named = {name for way in ways for name in way if getattr(query, name) is not None}
    if named not in [set(way) for way in ways]:
        expected = ", or ".join(" and ".join(way) for way in ways)
        raise PydanticCustomError("one_way", f"expected either {expected}")


async def by_id_or_key(views: Views, view: type[V], view_id: UUID | None, **key: str | None) -> V:
    """The view with this id or else with this natural key. Raises `NotFound`."""
    if view_id is not None:
        found = await views.get(view, str(view_id))
        key = {"id": str(view_id)}
    else:
        found = await views.first(view, **key)
    if found is None:
        named = " and ".join(f"{name} {value!r}" for name, value in key.items())
        raise NotFound(f"there is no {view.view_name} with {named}", details=key)
    return found

"""A question to views, read and checked once for every adapter, and the cursors of its pages."""

import base64
import binascii
from collections.abc import Mapping
from hashlib import blake2b
from math import isfinite

import orjson
from attrs import field, frozen

from cim_domain.errors import Invalid, ModelError
from cim_domain.model.source_location import where as where_of
from cim_domain.model.view import MAX_LIMIT, Scalar
from cim_domain.views.columns import Kind, Value, comparable, folded
from cim_domain.views.layout import Column, ViewLayout, problem

MAX_SKIP = 1_000_000
"""Views that may be skipped at most; farther in, a cursor is the way."""

_LONGEST_CURSOR = 8192
_TYPES: dict[Kind, type] = {Kind.TEXT: str, Kind.INTEGER: int, Kind.REAL: float}

Place = tuple[Value, str]
"""Where a view stands in an order: the column's value (None when ordered by key) and the key."""

Condition = tuple[Column, Value]


@frozen
class Find:
    """One question for a page of views."""

    layout: ViewLayout
    where: tuple[Condition, ...]
    text: str
    """As `folded` gives it; empty: any."""
    order: Column | None
    """None: by key."""
    descending: bool
    """The whole order turned round, ties included."""
    limit: int
    skip: int
    digest: str
    after: Place | None = field(default=None)

    def cursor(self, place: Place) -> str:
        """The cursor of the page that comes behind `place`."""
        return base64.urlsafe_b64encode(orjson.dumps([self.digest, *place])).decode().rstrip("=")


def organization(organization_id: str | None) -> str:
    """The organization as rows hold it. Raises `Invalid` where it is no text."""
    try:
        return comparable(organization_id or "")
    except UnicodeEncodeError as error:
        raise problem("organization_id", "is not Unicode text") from error


def conditions(layout: ViewLayout, where: Mapping[str, Scalar] | None) -> tuple[Condition, ...]:
    """What is asked of each column, in the order of their names."""
    asked = []
    for name, value in sorted((where or {}).items()):
        column = layout.column(name)
        asked.append((column, column.wanted(value)))
    return tuple(asked)


def read_find(
    layout: ViewLayout,
    owner: str,
    where: Mapping[str, Scalar] | None,
    *,
    text: str,
    order_by: str | None,
    descending: bool,
    limit: int,
    after: str | None,
    skip: int,
) -> Find:
    """Check a question. Raises `Invalid` and `ModelError` as `Views.find` says."""
    if not 1 <= limit <= MAX_LIMIT:
        raise problem("limit", f"{limit} is not from 1 to {MAX_LIMIT}")
    if not 0 <= skip <= MAX_SKIP:
        raise problem("skip", f"{skip} is not from 0 to {MAX_SKIP}")
    if text and not layout.searched:
        raise ModelError(f"{where_of(layout.view)}: no field is searched, so none holds a text")
    asked = conditions(layout, where)
    order = None if order_by is None else layout.column(order_by)
    wanted = _searchable(text)
    named = [[column.field, value] for column, value in asked]
    identity = [layout.view.view_name, owner, named, wanted, order_by, descending]
    digest = blake2b(orjson.dumps(identity), digest_size=12).hexdigest()
    return Find(
        layout=layout,
        where=asked,
        text=wanted,
        order=order,
        descending=descending,
        limit=limit,
        skip=skip,
        digest=digest,
        after=None if after is None else _place(after, digest, order),
    )


def _searchable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise problem("text", "is not Unicode text") from error
    return folded(text)


def _place(cursor: str, digest: str, order: Column | None) -> Place:
    try:
        given = orjson.loads(_decoded(cursor))
    except (ValueError, binascii.Error) as error:
        raise _refused("is not a cursor") from error
    if not (isinstance(given, list) and len(given) == 3):
        raise _refused("is not a cursor")
    made_for, value, key = given
    if made_for != digest:
        raise _refused("is the cursor of another query")
    if not _is_text(key) or not _fits(value, order):
        raise _refused("is not a cursor")
    return value, key


def _decoded(cursor: str) -> bytes:
    if len(cursor) > _LONGEST_CURSOR:
        raise ValueError("too long")
    padded = cursor + "=" * (-len(cursor) % 4)
    return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)


def _is_text(value: object) -> bool:
    """Whether columns can hold this text: one that they do hold never has a NUL."""
    return isinstance(value, str) and "\x00" not in value


def _fits(value: object, order: Column | None) -> bool:
    if value is None:
        return order is None or order.optional
    if order is None or type(value) is not _TYPES[order.kind]:
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isfinite(value) if isinstance(value, float) else _is_text(value)


def _refused(sentence: str) -> Invalid:
    return problem("after", sentence, code="invalid_cursor")

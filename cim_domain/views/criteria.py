"""A question to views, read and checked once for every adapter, and the cursors of its pages."""

import base64
import binascii
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson
from attrs import field, frozen

from cim_domain.errors import Invalid
from cim_domain.model.fields.conditions import RANGES, Condition, Field, Operator, Ordering
from cim_domain.model.view import MAX_LIMIT, OrderBy, Scalar, Where
from cim_domain.views.columns import EXACT, Kind, Value, comparable, escaped, folded
from cim_domain.views.decimals import Unheld
from cim_domain.views.layout import Column, ViewLayout, problem

MAX_SKIP = 1_000_000
"""Views that may be skipped at most; farther in, a cursor is the way."""

MAX_VALUES = 10_000
"""So many values may be asked for in one question: databases count the parameters."""

MAX_CONDITIONS = 200
"""Of one question; databases take more, but none takes any number."""

MAX_ORDER = 8
"""By so many fields views may be ordered."""

_LONGEST_PLACE = 2048
"""Characters of a cursor that one value or the key may take."""

_TYPES: dict[Kind, type] = {Kind.TEXT: str, Kind.INTEGER: int, Kind.REAL: float}

Place = tuple[tuple[Value, ...], str]
"""Where a view stands in an order: the columns' values, none when ordered by key, and the key."""

Rank = tuple[bool, Value]


def rank(value: Value) -> Rank:
    """What orders a column's value: None comes before everything."""
    return value is not None, 0 if value is None else value


@frozen
class Check:
    """What must hold of one column.

    The operators are those of equality and of ranges; `ONE_OF` has a set. None meets no range.
    """

    column: Column
    operator: Operator
    value: Any

    def __call__(self, held: Value) -> bool:
        """Whether it holds of what stands in the column."""
        if self.operator in RANGES and held is None:
            return False
        met: bool = _CHECKS[self.operator](held, self.value)
        return met


_CHECKS: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.UNEQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.ONE_OF: lambda held, values: held in values,
}


@frozen
class OrderedColumn:
    """A column by which views come, and in which direction."""

    column: Column
    descending: bool


@frozen
class Find:
    """One question for a page of views."""

    layout: ViewLayout
    where: tuple[Check, ...]
    text: str
    """As `folded` gives it; empty: any."""
    order: tuple[OrderedColumn, ...]
    """Empty: by key."""
    descending: bool
    """Whether ties, or all, come from the largest key down."""
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


def checks(layout: ViewLayout, where: Where) -> tuple[Check, ...]:
    """What is asked of each column, in the order of their names. Raises `ModelError`."""
    found: list[Check] = []
    for condition in _conditions(layout, where):
        column = layout.column(condition.field)
        try:
            found.extend(_checks(column, condition))
        except ValueError as error:
            raise layout.wrong(f"{condition.field} {condition.operator}: {error}") from error
    if len(found) > MAX_CONDITIONS:
        raise layout.wrong(f"{len(found)} conditions are asked for, more than {MAX_CONDITIONS}")
    several = sum(len(one.value) for one in found if one.operator is Operator.ONE_OF)
    if several > MAX_VALUES:
        raise layout.wrong(f"{several} values are asked for, more than {MAX_VALUES}")
    return tuple(sorted(found, key=lambda one: (one.column.field, one.operator)))


def _conditions(layout: ViewLayout, where: Where) -> Iterable[Condition]:
    if where is None:
        return ()
    if isinstance(where, Mapping):
        return [
            Condition(layout.view, name, Operator.EQUAL, value) for name, value in where.items()
        ]
    if isinstance(where, Condition | str) or not isinstance(where, Iterable):
        raise layout.wrong("the conditions are not a list of them")
    return [_condition(layout, given) for given in where]


def _condition(layout: ViewLayout, given: object) -> Condition:
    if not isinstance(given, Condition):
        raise layout.wrong(f"a {type(given).__name__} stands where a condition is expected")
    _require_view(layout, given)
    return given


def _require_view(layout: ViewLayout, given: Condition | Ordering | Field[Any]) -> None:
    if not issubclass(layout.view, given.view):
        name = given.name if isinstance(given, Field) else given.field
        raise layout.wrong(f"{given.view.__name__}.{name} is a field of another view")


def _checks(column: Column, condition: Condition) -> Iterable[Check]:
    """The checks that a condition is, all of which must hold. Raises `ValueError`."""
    asked, value = condition.operator, condition.value
    if asked is Operator.STARTS_WITH:
        return _prefix(column, value)
    if asked is Operator.ONE_OF:
        return (Check(column, asked, _held_values(column, value)),)
    if asked in RANGES and value is None:
        raise ValueError("None is neither less nor more; is_none() asks for it")
    try:
        compared = column.compared(value)
    except Unheld:
        return () if asked is Operator.UNEQUAL else (_never(column),)
    if isinstance(compared, float) and column.coding.kind is Kind.INTEGER:
        return _beyond_integers(column, asked, compared)
    return (Check(column, asked, compared),)


def _beyond_integers(column: Column, asked: Operator, value: float) -> Iterable[Check]:
    """How integers compare with one that no column holds."""
    if asked is Operator.UNEQUAL:
        return ()
    if asked in RANGES and (value > 0) is (asked in {Operator.LESS, Operator.AT_MOST}):
        return (Check(column, Operator.UNEQUAL, None),)
    return (_never(column),)


def _never(column: Column) -> Check:
    return Check(column, Operator.ONE_OF, frozenset())


def _held_values(column: Column, values: Iterable[Scalar]) -> frozenset[Value]:
    found: set[Value] = set()
    for value in values:
        try:
            compared = column.compared(value)
        except Unheld:
            continue
        if not (isinstance(compared, float) and column.coding.kind is Kind.INTEGER):
            found.add(compared)
    return frozenset(found)


def _prefix(column: Column, text: str) -> Iterable[Check]:
    """From the text itself up to the first that begins otherwise: an index finds them."""
    if column.coding.plain is not str:
        raise ValueError("the field is not text")
    try:
        low = column.compared(text)
    except Unheld:
        return (_never(column),)
    if not isinstance(low, str) or len(escaped(text)) > EXACT:
        raise ValueError(f"the beginning is longer than {EXACT} characters")
    found = [Check(column, Operator.AT_LEAST, low)]
    if (high := _beyond(low)) is not None:
        found.append(Check(column, Operator.LESS, high))
    return found


def _beyond(prefix: str) -> str | None:
    """The least text that is more than all that begin so; None: there is no such text."""
    kept = prefix.rstrip(chr(0x10FFFF))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    if following == 0xD800:
        following = 0xE000  # no text has what lies between
    return kept[:-1] + chr(following)


def _order(layout: ViewLayout, order_by: OrderBy) -> list[OrderedColumn]:
    several = [] if order_by is None else order_by
    if isinstance(several, str | Ordering | Field):
        several = [several]
    found = [_ordered(layout, one) for one in several]
    fields = [one.column.field for one in found]
    if len(set(fields)) < len(fields):
        raise layout.wrong("the order names a field twice")
    if len(fields) > MAX_ORDER:
        raise layout.wrong(f"the order names {len(fields)} fields; at most {MAX_ORDER}")
    return found


def _ordered(layout: ViewLayout, given: object) -> OrderedColumn:
    if isinstance(given, str):
        return OrderedColumn(layout.column(given), descending=False)
    if isinstance(given, Field):
        given = given.ascending()
    if not isinstance(given, Ordering):
        raise layout.wrong(f"a {type(given).__name__} stands where a field is to order by")
    _require_view(layout, given)
    return OrderedColumn(layout.column(given.field), given.turned)


def asked_column(layout: ViewLayout, given: Field[Any]) -> Column:
    """The column of a field that is counted by or summed. Raises `ModelError`."""
    if not isinstance(given, Field):
        raise layout.wrong(f"a {type(given).__name__} stands where a field is expected")
    _require_view(layout, given)
    return layout.column(given.name)


def read_find(
    layout: ViewLayout,
    owner: str,
    where: Where,
    *,
    text: str,
    order_by: OrderBy,
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
        raise layout.wrong("no field is searched, so none holds a text")
    asked = checks(layout, where)
    order = _order(layout, order_by)
    by_key = order[-1].descending if order else False
    if descending:
        order = [OrderedColumn(one.column, not one.descending) for one in order]
        by_key = not by_key
    wanted = _searchable(text)
    identity = [
        layout.view.view_name,
        owner,
        [(one.column.field, one.operator.value, _written(one.value)) for one in asked],
        wanted,
        [(one.column.field, one.descending) for one in order],
        by_key,
    ]
    digest = blake2b(repr(identity).encode(), digest_size=12).hexdigest()
    return Find(
        layout=layout,
        where=asked,
        text=wanted,
        order=tuple(order),
        descending=by_key,
        limit=limit,
        skip=skip,
        digest=digest,
        after=None if after is None else _place(after, digest, order),
    )


def _written(value: object) -> object:
    """The same text for the same value, of sets, too."""
    return sorted(value, key=rank) if isinstance(value, frozenset) else value


def _searchable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise problem("text", "is not Unicode text") from error
    return folded(text)


def _place(cursor: str, digest: str, order: Sequence[OrderedColumn]) -> Place:
    try:
        given = orjson.loads(_decoded(cursor, _LONGEST_PLACE * (len(order) + 2)))
    except (ValueError, binascii.Error) as error:
        raise _refused("is not a cursor") from error
    if not (isinstance(given, list) and len(given) == 3):
        raise _refused("is not a cursor")
    made_for, values, key = given
    if made_for != digest:
        raise _refused("is the cursor of another query")
    if not _is_text(key) or not isinstance(values, list) or len(values) != len(order):
        raise _refused("is not a cursor")
    if not all(_fits(value, one.column) for value, one in zip(values, order, strict=True)):
        raise _refused("is not a cursor")
    return tuple(values), key


def _decoded(cursor: str, longest: int) -> bytes:
    if len(cursor) > longest:
        raise ValueError("too long")
    padded = cursor + "=" * (-len(cursor) % 4)
    return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)


def _is_text(value: object) -> bool:
    """Whether columns can hold this text: one that they do hold never has a NUL."""
    return isinstance(value, str) and "\x00" not in value


def _fits(value: object, column: Column) -> bool:
    if value is None:
        return column.optional
    if type(value) is not _TYPES[column.coding.kind]:
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isfinite(value) if isinstance(value, float) else _is_text(value)


def _refused(sentence: str) -> Invalid:
    return problem("after", sentence, code="invalid_cursor")

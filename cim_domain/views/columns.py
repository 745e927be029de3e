"""How a view's fields become columns: which kind each is, and the value that stands in it.

Every adapter compares these values and nothing else, so equality and order are the same everywhere:
text by code points, times as text in UTC, enums by their value, None before everything.

What a field is compared with may be more than it can hold, as a client's number of 30 digits: it
has a value here that no column holds, with its place in the order.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from hashlib import blake2b
from math import inf, isfinite
from typing import Any
from uuid import UUID

from attrs import evolve, frozen

from cim_domain.model.fields.types import column_type, enums, is_bool
from cim_domain.views.decimals import HIGHEST, LOWEST, Unheld, decimal_of, held, wanted

Value = str | int | float | None
"""What stands in a column."""

Encode = Callable[[Any], Value]
"""From a field's value, which is not None, to the column's. Raises `ValueError`."""

EXACT = 192
"""Characters of a text that count one by one. Longer ones are told apart by a digest of the whole,
so that three columns fit into one entry of a PostgreSQL index (2,704 bytes)."""

SEPARATOR = "\x01"
"""Stands between the searched fields; what is looked for cannot hold it."""

_LIMIT = 2**63


class Kind(StrEnum):
    """The kinds of columns."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"


def comparable(text: str) -> str:
    """A text as columns hold it: in the order of code points, without NUL, of bounded length.

    Raises `UnicodeEncodeError` for half a surrogate pair.
    """
    if not text.isascii():
        text.encode()
    safe = escaped(text)
    if len(safe) <= EXACT:
        return safe
    return safe[:EXACT] + blake2b(safe.encode(), digest_size=16).hexdigest()


def escaped(text: str) -> str:
    """A text without NUL, in the same order among others."""
    if "\x00" not in text and "\x01" not in text:
        return text
    return text.replace("\x01", "\x01\x03").replace("\x00", "\x01\x02")


def folded(text: str) -> str:
    """A text without regard to case and to how accents are composed, as it is searched."""
    if text.isascii():
        plain = text.lower()
    else:
        plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return plain.replace("\x00", "\ufffd").replace(SEPARATOR, "\ufffd")


def moment(value: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds; a time without zone counts as UTC."""
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds") + "Z"
    try:
        return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
    except OverflowError as error:
        raise ValueError("the time is not in the years 1 to 9999 of UTC") from error


def _comparable_moment(value: datetime) -> str:
    try:
        return moment(value)
    except ValueError:
        return LOWEST if value.year == 1 else HIGHEST


def _integer(value: int) -> int:
    if not -_LIMIT <= value < _LIMIT:
        raise ValueError("the number does not fit into 64 bits")
    return int(value)


def _comparable_integer(value: int) -> int | float:
    if -_LIMIT <= value < _LIMIT:
        return int(value)
    return inf if value > 0 else -inf


def _real(value: float) -> float:
    if not isfinite(value):
        raise ValueError("the number is not finite")
    return float(value)


def _comparable_real(value: float) -> float:
    if value != value:
        raise Unheld("is not a number")
    return float(value)


def _comparable_text(value: str) -> str:
    try:
        return comparable(value)
    except UnicodeEncodeError as error:
        raise Unheld("is not Unicode text") from error


def _text_of(held: str) -> str:
    return held.replace("\x01\x02", "\x00").replace("\x01\x03", "\x01")


@frozen
class Coding:
    """How the values of a field stand in its column."""

    kind: Kind
    plain: type
    """Which type its values are of, all enums alike: of text, times and numbers one each."""
    encode: Encode
    """From a value to what is stored. Raises `ValueError` for what no column can hold."""
    compared: Encode
    """From a value to what columns are compared with. Raises `Unheld` where it has no order."""
    decode: Callable[[Any], Any]
    """From what is stored to the value; a text longer than `EXACT` is cut."""


_CODINGS: Mapping[type, Coding] = {
    coding.plain: coding
    for coding in (
        Coding(Kind.TEXT, str, comparable, _comparable_text, _text_of),
        Coding(Kind.TEXT, datetime, moment, _comparable_moment, datetime.fromisoformat),
        Coding(Kind.TEXT, date, date.isoformat, date.isoformat, date.fromisoformat),
        Coding(Kind.TEXT, UUID, str, str, UUID),
        Coding(Kind.TEXT, Decimal, held, wanted, decimal_of),
        Coding(Kind.INTEGER, int, _integer, _comparable_integer, int),
        Coding(Kind.REAL, float, _real, _comparable_real, float),
    )
}


def coding(annotation: Any) -> Coding | None:
    """How a field so annotated stands in a column.

    None where it cannot: for a type that is not text, a number, a time, an id or an enum, and
    for a union of several kinds.
    """
    plain = column_type(annotation)
    if plain is None:
        return None
    found = _CODINGS[plain]
    if is_bool(annotation):
        return evolve(found, plain=bool, decode=bool)
    members = {member.value: member for enum in enums(annotation) for member in enum}
    if not members:
        return found
    return evolve(
        found,
        plain=Enum,
        encode=_by_value(found.encode),
        compared=_by_value(found.compared),
        decode=lambda held: members.get(found.decode(held), found.decode(held)),
    )


def _by_value(encode: Encode) -> Encode:
    return lambda value: encode(value.value if isinstance(value, Enum) else value)


def text_parts(value: Any) -> Iterator[str]:
    """The texts in a searched field: itself, or each of several."""
    if isinstance(value, Enum):
        yield str(value.value)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        for part in value:
            yield from text_parts(part)

"""How a view's fields become columns: which kind each is, and the value that stands in it.

Every adapter compares these values and nothing else, so equality and order are the same everywhere:
text by code points, times as text in UTC, enums by their value, None before everything.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from hashlib import blake2b
from math import isfinite
from typing import Any
from uuid import UUID

from cim_domain.model.fields.types import column_type, has_enum

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
    if len(text) <= EXACT and "\x00" not in text and "\x01" not in text:
        return text
    safe = text.replace("\x01", "\x01\x03").replace("\x00", "\x01\x02")
    if len(safe) <= EXACT:
        return safe
    return safe[:EXACT] + blake2b(safe.encode(), digest_size=16).hexdigest()


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


def _integer(value: int) -> int:
    if not -_LIMIT <= value < _LIMIT:
        raise ValueError("the number does not fit into 64 bits")
    return int(value)


def _real(value: float) -> float:
    if not isfinite(value):
        raise ValueError("the number is not finite")
    return float(value)


_KINDS: Mapping[type, tuple[Kind, Encode]] = {
    str: (Kind.TEXT, comparable),
    datetime: (Kind.TEXT, moment),
    date: (Kind.TEXT, date.isoformat),
    UUID: (Kind.TEXT, str),
    int: (Kind.INTEGER, _integer),
    float: (Kind.REAL, _real),
}


def encoding(annotation: Any) -> tuple[Kind, Encode] | None:
    """The kind of column for a field so annotated, and how its values get there.

    None where there is none: for a type that is not text, a number, a time, an id or an enum, and
    for a union of several kinds.
    """
    plain = column_type(annotation)
    if plain is None:
        return None
    kind, encode = _KINDS[plain]
    if not has_enum(annotation):
        return kind, encode
    return kind, lambda value: encode(value.value if isinstance(value, Enum) else value)


def text_parts(value: Any) -> Iterator[str]:
    """The texts in a searched field: itself, or each of several."""
    if isinstance(value, Enum):
        yield str(value.value)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        for part in value:
            yield from text_parts(part)

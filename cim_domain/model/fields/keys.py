"""The natural key of an aggregate as text: one value, one text, in every language and program.

`docs/wire-contract.md` says what the text of each type is, with examples. Two values that differ
never have the same text, because a key has one type.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pydantic
from pydantic import TypeAdapter, ValidationError

from cim_domain.model.fields.types import leaves, may_be_none

_TYPES: tuple[type, ...] = (str, bool, int, UUID, datetime, date)
"""What a key can be; what is a kind of another one stands before it."""

_AS: Mapping[Any, type] = {
    pydantic.AwareDatetime: datetime,
    pydantic.PastDatetime: datetime,
    pydantic.FutureDatetime: datetime,
    pydantic.PastDate: date,
    pydantic.FutureDate: date,
    pydantic.EmailStr: str,
}
"""Pydantic's own annotations whose values are of these types."""

ALLOWED = "text, int, bool, UUID, date, datetime or an enum of one of these"


def key_type(annotation: Any) -> type | None:
    """The type of a key field, by its annotation, an enum's being that of its values.

    None where it cannot be part of a key: one that may be None or of several types, too.
    """
    if may_be_none(annotation):
        return None
    found = {_known(part) for part in leaves(annotation)}
    return found.pop() if len(found) == 1 else None


def key_text(value: Any) -> str:
    """The text of a value that is part of a key. Raises `ValueError`, of words without the value.

    None has no text; nor has a time without its offset, which would be another instant elsewhere.
    """
    if type(value) is str and value.isascii():  # nearly all, and every command waits for it
        return value
    if isinstance(value, Enum):
        return key_text(value.value)
    if isinstance(value, str):
        return _unicode(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _decimal(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, date):
        return value.isoformat()
    kind = "None" if value is None else f"a {type(value).__name__}"
    raise ValueError(f"{kind} cannot be part of a key, which is {ALLOWED}")


def canonical_text(kind: type, text: str) -> str:
    """The text of the key that somebody wrote in one of its forms. Raises `ValueError`."""
    if kind is str:
        return _unicode(text)
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return key_text(adapter.validate_strings(text))
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False, include_input=False)[0]["msg"]) from None


def _known(part: Any) -> type | None:
    if part in _AS:
        return _AS[part]
    if not isinstance(part, type):
        return None
    if issubclass(part, Enum):
        found = {_known(type(member.value)) for member in part}
        return found.pop() if len(found) == 1 else None
    return next((known for known in _TYPES if issubclass(part, known)), None)


def _unicode(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("half a character is no text") from None
    return text if type(text) is str else str.__str__(text)


def _decimal(value: int) -> str:
    try:
        return str(int(value))
    except ValueError:  # Python's bound on the digits of an integer
        raise ValueError("the number has too many digits") from None


def _instant(value: datetime) -> str:
    if value.utcoffset() is None:
        raise ValueError("a time needs its offset from UTC, such as Z or +01:00")
    try:
        return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
    except OverflowError:
        raise ValueError("the time is not in the years 1 to 9999 of UTC") from None

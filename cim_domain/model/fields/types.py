"""What a field may hold, by its annotation: whether it can be indexed, searched, or a key."""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

_COLUMNS: tuple[type, ...] = (str, datetime, date, UUID, int, float, Decimal)
"""What can be indexed; what is a kind of another one (datetime of date) stands before it."""


def parts(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation itself; None is left out."""
    if get_origin(annotation) in {Union, UnionType}:
        for member in get_args(annotation):
            yield from parts(member)
    elif annotation is not type(None) and annotation is not None:
        yield annotation


def leaves(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, None left out, names for types and annotations resolved."""
    for part in parts(annotation):
        if get_origin(part) is Annotated:
            yield from leaves(get_args(part)[0])
        elif hasattr(part, "__supertype__"):
            yield from leaves(part.__supertype__)
        elif hasattr(part, "__value__"):
            yield from leaves(part.__value__)
        elif get_origin(part) is Literal:
            yield from (type(value) for value in get_args(part) if value is not None)
        else:
            yield part


def may_be_none(annotation: Any) -> bool:
    """Whether None is among the values of a field so annotated."""
    if annotation is None or annotation is type(None):
        return True
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(map(may_be_none, get_args(annotation)))
    if origin is Annotated:
        return may_be_none(get_args(annotation)[0])
    if origin is Literal:
        return None in get_args(annotation)
    named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    return named is not None and may_be_none(named)


def column_type(annotation: Any) -> type | None:
    """Which of text, time, date, UUID and numbers stands in a column for a field so annotated.

    An enum counts by its values. None for all others, and where there are several.
    """
    plain = {_column(part) for part in leaves(annotation)}
    return plain.pop() if len(plain) == 1 else None


def enums(annotation: Any) -> tuple[type[Enum], ...]:
    """The enums of which a value may be a member."""
    return tuple(filter(is_enum, leaves(annotation)))


def is_enum(part: Any) -> bool:
    """Whether it is one."""
    return isinstance(part, type) and issubclass(part, Enum)


def plain_types(annotation: Any) -> tuple[type, ...]:
    """The types of the values of a field that can be indexed, without rules of its own."""
    found = (part if is_enum(part) else _column(part) for part in leaves(annotation))
    return tuple(dict.fromkeys(part for part in found if part is not None))


def is_bool(annotation: Any) -> bool:
    """Whether its values are True and False, though they count as numbers."""
    found = list(leaves(annotation))
    return bool(found) and all(part is bool for part in found)


def is_text(annotation: Any) -> bool:
    """Whether a field so annotated can be searched: text, perhaps None, or a collection of it."""
    found = list(leaves(annotation))
    return bool(found) and all(_is_text_collection(part) or _column(part) is str for part in found)


def _is_text_collection(annotation: Any) -> bool:
    """``tuple[str, ...]`` and its like."""
    if get_origin(annotation) not in {tuple, list, set, frozenset}:
        return False
    return all(is_text(part) for part in get_args(annotation) if part is not ...)


def _column(part: Any) -> type | None:
    if not isinstance(part, type):
        return None
    if issubclass(part, Enum):
        found = {_column(type(member.value)) for member in part}
        return found.pop() if len(found) == 1 else None
    return next((known for known in _COLUMNS if issubclass(part, known)), None)

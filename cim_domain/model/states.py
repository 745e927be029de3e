"""Whether a class is fit to be a state: frozen, made without arguments, and sharing nothing.

Every aggregate of every organization begins with the state that the class makes. One object that
could be changed, in all of these, would carry what is one's into another's.
"""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from re import Pattern
from types import (
    BuiltinFunctionType,
    FunctionType,
    GenericAlias,
    MappingProxyType,
    ModuleType,
)
from typing import Any, get_origin
from uuid import UUID

import attrs
from pydantic import BaseModel

_CONSTANT: tuple[type, ...] = (
    *(type(None), type(...), bool, int, float, complex, Decimal, Fraction, range, slice),
    *(str, bytes, UUID, date, time, timedelta, tzinfo, Enum, PurePath, Pattern),
    *(type, FunctionType, BuiltinFunctionType, GenericAlias, ModuleType),
)

_CONTAINERS = (list, dict, set, bytearray)

_DEEP = 20


def state_problems(cls: type) -> Iterator[str]:
    """What keeps a class from being a state, a sentence for each."""
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        yield f"it is abstract ({missing}), a base for others and no aggregate"
        return
    if "__attrs_attrs__" not in cls.__dict__ or not attrs.inspect(cls).is_frozen:
        yield "an aggregate must be a frozen attrs class: add @frozen"
        return
    try:
        one, other = cls(), cls()
    except TypeError:
        yield "every field needs a default, for the state before all events"
        return
    except Exception as error:  # noqa: BLE001 - converters and factories are the model's
        yield f"its state before all events cannot be made: {type(error).__name__}: {error}"
        return
    for field in attrs.fields(cls):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if (shared := _shared(first, second)) is not None:
            yield (
                f"the default of the field {field.name!r} is one {type(shared).__name__} that all"
                " aggregates share, and that can be changed: use an immutable one, such as a"
                " tuple, or a factory, field(factory=...)"
            )
    for name, value in _attributes(cls):
        if _changeable(value) is not None:
            yield (
                f"{name!r} has no annotation, so it is no field, and all aggregates share its"
                f" {type(value).__name__}, which can be changed: annotate it, as a field or as a"
                " ClassVar"
            )


def _attributes(cls: type) -> Iterator[tuple[str, Any]]:
    """What stands in the class and in its bases without an annotation, constants left out."""
    for base in cls.__mro__[:-1]:
        if base.__module__.startswith("cim_domain.model."):
            continue
        annotated = inspect.get_annotations(base)
        for name, value in base.__dict__.items():
            is_field = name in annotated or name.startswith("__")
            if not is_field and name != name.upper() and isinstance(value, _CONTAINERS):
                yield name, value


def _shared(one: Any, other: Any, deep: int = 0) -> Any:
    """What two states have both and can be changed; None where there is no such thing."""
    if one is other:
        return _changeable(one)
    if deep > _DEEP or type(one) is not type(other):
        return None
    pairs = zip(_contents(one), _contents(other), strict=False)
    return next((found for a, b in pairs if (found := _shared(a, b, deep + 1)) is not None), None)


def _changeable(value: Any, deep: int = 0) -> Any:
    """What can be changed of a value: itself or what is in it; None for nothing."""
    if isinstance(value, _CONSTANT) or get_origin(value) is not None or deep > _DEEP:
        return None
    if not _is_closed(value):
        return value
    for part in _contents(value):
        if (found := _changeable(part, deep + 1)) is not None:
            return found
    return None


def _is_closed(value: Any) -> bool:
    """Whether the value itself always has the same parts."""
    cls = type(value)
    if isinstance(value, tuple | frozenset | MappingProxyType):
        return True
    if attrs.has(cls):
        return attrs.inspect(cls).is_frozen
    if dataclasses.is_dataclass(cls):
        return bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    if isinstance(value, BaseModel):
        return bool(cls.model_config.get("frozen"))
    hashing: Any = cls.__hash__
    if hashing is None:
        return False
    # What is equal by its content and has a hash does not change; of others nobody can tell, save
    # that an object without any attribute has nothing to change.
    return hashing is not object.__hash__ or not _has_attributes(value)


def _has_attributes(value: Any) -> bool:
    return hasattr(value, "__dict__") or any(
        "__slots__" in one.__dict__ for one in type(value).__mro__
    )


def _contents(value: Any) -> Iterator[Any]:
    cls = type(value)
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple | list | frozenset):
        yield from value
    elif attrs.has(cls):
        yield from (getattr(value, one.name, None) for one in attrs.fields(cls))
    elif dataclasses.is_dataclass(cls):
        yield from (getattr(value, one.name, None) for one in dataclasses.fields(cls))
    elif isinstance(value, BaseModel):
        yield from value.__dict__.values()

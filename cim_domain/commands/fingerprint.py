"""What a state depends on, as a short text: another text, and a stored state is not to be trusted.

That is the code which leads to the state, as far as it can be seen: the `@evolves` methods, and of
the same top-level package the functions, methods, classes and constants that these mention, and so
on. What is not seen is the code of other packages, what is found by a name made at run time, and
files; whoever changes one of these so that states change removes the bucket of the snapshots.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from types import CodeType, FunctionType
from typing import Any, get_args, get_type_hints

import attrs
from pydantic import BaseModel

from cim_domain.model.aggregate import AggregateModel

_CONSTANT = (bool, int, float, str, bytes, type(None), type(...))


def fingerprint(model: AggregateModel) -> str:
    """32 hexadecimal digits, the same in every process that runs the same code."""
    reached = _Reached(model.cls.__module__.partition(".")[0])
    reached.add_class(model.cls)
    for event, handler in model.events.items():
        reached.add_class(event)
        reached.parts.add(repr((event.message_type, event.schema_version, handler.name)))
        reached.add_function(handler.function)
    reached.add_mentioned_methods()
    # Byte code differs from one version of Python to the next.
    parts = [repr(sys.version_info[:2]), *sorted(reached.parts)]
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


class _Reached:
    """Code that was come upon, beginning with the methods that make the state."""

    def __init__(self, package: str) -> None:
        self.parts: set[str] = set()
        self._package = package
        self._classes: dict[type, None] = {}
        self._functions: dict[FunctionType, None] = {}
        self._names: set[str] = set()

    def add_class(self, cls: Any) -> None:
        """A class's fields and theirs; its methods only once they are mentioned."""
        if not isinstance(cls, type) or cls in self._classes or not self._ours(cls):
            return
        self._classes[cls] = None
        name = f"{cls.__module__}.{cls.__qualname__}"
        if issubclass(cls, Enum):
            self.parts.add(repr((name, [(one.name, repr(one.value)) for one in cls])))
        for field, default in _fields(cls):
            self.parts.add(repr((name, field, _described(default))))
            self._add_value(default)
        for field, hint in _hints(cls).items():
            self.parts.add(repr((name, field, repr(hint))))
            self._add_hint(hint)
        for base in cls.__bases__:
            self.add_class(base)

    def add_function(self, function: Callable[..., Any]) -> None:
        """A function's code and all that it mentions by a name of its module or closure."""
        if not isinstance(function, FunctionType):
            return
        if function in self._functions or not self._ours(function):
            return
        self._functions[function] = None
        name = f"{function.__module__}.{function.__qualname__}"
        names = set(_names(function.__code__))
        self._names |= names
        scope = {one: function.__globals__[one] for one in names & function.__globals__.keys()}
        for place, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            # Empty where the name has no value yet.
            with suppress(ValueError):
                scope[place] = cell.cell_contents
        scope["(defaults)"] = function.__defaults__, function.__kwdefaults__
        self.parts.add(repr((name, _code(function.__code__))))
        for mentioned, value in scope.items():
            self.parts.add(repr((name, mentioned, _described(value))))
            self._add_value(value)

    def add_mentioned_methods(self) -> None:
        """Whatever method of a class at hand has a name that was mentioned, until there is none."""
        known = None
        while known != (known := (len(self._functions), len(self._classes))):
            for cls in list(self._classes):
                for name in sorted(self._names & cls.__dict__.keys()):
                    for function in _functions(cls.__dict__[name]):
                        self.add_function(function)

    def _add_hint(self, hint: Any) -> None:
        self.add_class(hint)
        for argument in get_args(hint):
            self._add_hint(argument)

    def _add_value(self, value: Any) -> None:
        for function in _functions(value):
            self.add_function(function)
        self.add_class(value if isinstance(value, type) else type(value))

    def _ours(self, what: Any) -> bool:
        module: str = getattr(what, "__module__", None) or ""
        return module.partition(".")[0] == self._package


def _fields(cls: type) -> Iterator[tuple[str, Any]]:
    """Each field and its default, or what makes it."""
    if attrs.has(cls):
        for one in attrs.fields(cls):
            factory = one.default.factory if isinstance(one.default, attrs.Factory) else None  # type: ignore[arg-type]
            yield one.name, factory or one.default
    elif issubclass(cls, BaseModel):
        for name, field in cls.model_fields.items():
            yield name, field.default_factory or field.default


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except (NameError, TypeError, AttributeError):
        return inspect.get_annotations(cls)


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions that a member of a class or module stands for."""
    match value:
        case FunctionType():
            yield value
        case staticmethod() | classmethod():
            yield from _functions(value.__func__)
        case cached_property():
            yield from _functions(value.func)
        case property():
            yield from _functions(value.fget)


def _code(code: CodeType) -> tuple[Any, ...]:
    return code.co_code, [_described(one) for one in code.co_consts], code.co_names


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _described(value: Any) -> Any:
    """A value as a text that is the same in every process."""
    match value:
        case CodeType():
            return _code(value)
        case frozenset() | set():
            return sorted(repr(_described(one)) for one in value)
        case tuple() | list():
            return [_described(one) for one in value]
        case dict():
            return [(_described(name), _described(one)) for name, one in value.items()]
        case Enum():
            return f"{type(value).__qualname__}.{value.name}"
        case re.Pattern():
            return value.pattern, value.flags
        case type() | FunctionType():
            return value.__qualname__
        case _ if isinstance(value, _CONSTANT):
            return repr(value)
        case _:
            return type(value).__qualname__

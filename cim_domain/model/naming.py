"""What follows from a name: of a class, of the module it stands in, of what was meant by it."""

import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

C = TypeVar("C")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """``FlakeInputs`` → ``flake_inputs``; ``HTTPCache`` → ``http_cache``."""
    return _WORD_START.sub("_", name).lower()


def near(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'a' or 'b'?``, for the end of a sentence; nothing where none is near."""
    found = difflib.get_close_matches(name, names, cutoff=0.7)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def is_base(cls: type) -> bool:
    """Whether a class is there for others to build on, and itself no part of a domain.

    That is one whose name begins with an underscore, or that has abstract methods.
    """
    return cls.__name__.startswith("_") or inspect.isabstract(cls)


def declared_beside(cls: type, base: type[C]) -> list[type[C]]:
    """The subclasses of `base` that the module of `cls` itself defines, in their order there.

    Those that are bases of others are left out.
    """
    return defined_in(sys.modules.get(cls.__module__), base)


def defined_in(module: ModuleType | None, base: type[C]) -> list[type[C]]:
    """The subclasses of `base` that a module defines, in their order there, without bases."""
    found = {
        value: None
        for value in tuple(vars(module).values() if module else ())
        if isinstance(value, type)
        and issubclass(value, base)
        and value is not base
        and value.__module__ == (module and module.__name__)
        and not is_base(value)
    }
    return list(found)

"""What follows from a class's name, and from the module it stands in."""

import re
import sys
from typing import TypeVar

C = TypeVar("C")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """``FlakeInputs`` → ``flake_inputs``; ``HTTPCache`` → ``http_cache``."""
    return _WORD_START.sub("_", name).lower()


def declared_beside(cls: type, base: type[C]) -> list[type[C]]:
    """The subclasses of `base` that the module of `cls` itself defines, in their order there."""
    module = cls.__module__
    return [
        value
        for value in vars(sys.modules[module]).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module
    ]

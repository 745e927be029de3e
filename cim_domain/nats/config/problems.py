"""What is wrong with the settings, in words for whoever has to put it right."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def shown(path: Sequence[str]) -> str:
    """A setting by both its names: ``NATS_RECONNECT__FACTOR (nats.reconnect.factor)``."""
    return f"NATS_{'__'.join(path).upper()} (nats.{'.'.join(path)})"


def lines(error: ErrorDetails, model: type[BaseModel]) -> Iterator[str]:
    """One validation error of `model` as lines of text, none of which quotes a value."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    if error["type"] == "extra_forbidden":
        yield f"{shown(path)}: there is no such setting{_nearest(path, model)}"
        return
    if error["type"] == "string_pattern_mismatch":
        yield (f"{shown(path)}: use lower-case letters, digits, _ and - in parts separated by dots")
        return
    # A check over several settings names them itself, one a line.
    for problem in error["msg"].removeprefix("Value error, ").splitlines():
        yield f"{shown(path)}: {problem}" if path else problem


def _nearest(path: Sequence[str], model: type[BaseModel]) -> str:
    *parents, name = path
    owner: Any = model
    for parent in parents:
        owner = owner.model_fields[parent].annotation
    near = get_close_matches(name, owner.model_fields, n=1)
    return f"; did you mean {shown([*parents, near[0]])}?" if near else "; take it out"

"""Free JSON that clients hand in as it is, bounded where it enters; and telling content apart.

What is inside is Nix's affair, not ours. What is refused is only what could not be kept: PostgreSQL
takes no NUL, JSON no NaN, Nix no integer beyond 64 bits, and nobody reads 65 levels deep.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

from aggregates.nix.values import SafeText
from aggregates.nix.values.names import check_name
from aggregates.nix.values.refusal import refused
from cim_domain import Json

MAX_DEPTH = 64

_MAX_INTEGER = 2**63
_UNSAFE = frozenset({"\x00", *map(chr, range(0xD800, 0xE000))})


def check_json_object(value: Json) -> Json:
    """Give back `value` if it can be kept as it is; raises a `ValueError`.

    At most 64 levels of objects and lists, no NUL or lone surrogate in a text or a key, integers
    of 64 bits, finite numbers. How large it may be is limited by the message as a whole.
    """
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return value
        level = [inner for one in level for inner in _inside(one)]
    raise refused("json", f"is nested more than {MAX_DEPTH} levels deep; flatten it")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise refused("json", "has a key that is no text")
            _check_text(key)
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not isfinite(value):
            raise refused("json", "holds a number that is not finite, which JSON has no word for")
    elif isinstance(value, int):
        if not -_MAX_INTEGER <= value < _MAX_INTEGER:
            raise refused("json", "holds an integer of more than 64 bits; write it as text")
    elif value is not None:
        raise refused("json", f"holds a {type(value).__name__}, which JSON has no word for")
    return ()


def _check_text(text: str) -> None:
    if not (text.isascii() and "\x00" not in text) and not _UNSAFE.isdisjoint(text):
        raise refused("json", "holds a NUL or a lone surrogate, which databases refuse")


def digest(content: BaseModel) -> str:
    """The SHA-256 of a content's canonical JSON, in hexadecimal.

    States keep this instead of the content, so that a cache of states stays small whatever clients
    send. It tells ``1`` from ``true`` and from ``1.0``, as Nix does and Python's ``==`` does not;
    the order of keys makes no difference.
    """
    canonical = json.dumps(content.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


JsonObject = Annotated[Json, AfterValidator(check_json_object)]
NonEmptyText = Annotated[SafeText, StringConstraints(min_length=1)]
Name = Annotated[str, AfterValidator(check_name)]
"""The name of something that the domain does not keep itself: a package, a specialisation."""

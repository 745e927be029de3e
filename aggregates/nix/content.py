"""Content that clients hand in as a whole: free JSON, bounded where it enters, and its digest.

What is inside is Nix's affair, not ours. What is refused is only what could not be kept: PostgreSQL
takes no NUL, JSON no NaN, Nix no integer beyond 64 bits, and nobody reads 65 levels deep.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from aggregates.nix.values import SafeText
from aggregates.nix.values.names import check_name
from aggregates.nix.values.refusal import refused
from cim_domain import Json

MAX_DEPTH = 64

_MAX_INTEGER = 2**63
_UNSAFE = re.compile(r"[\x00\ud800-\udfff]")


class Content(BaseModel):
    """The base of what a module, an overlay, a configuration consists of.

    Events hold it in a class that ignores fields it does not know, as events do; commands in a
    subclass that refuses them and checks the values. An event that is given the subclass makes its
    own class of it, so that it equals the one that is read back.
    """

    model_config = ConfigDict(frozen=True, revalidate_instances="subclass-instances")

    def digest(self) -> str:
        """The SHA-256 of the canonical JSON, in hexadecimal.

        States keep it instead of the content, so that a cache of states stays small whatever
        clients send. It tells ``1`` from ``true`` and from ``1.0``, as Nix does and Python's ``==``
        does not; the order of an object's keys makes no difference.
        """
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()


def check_json_object(value: Json) -> Json:
    """Give back `value` if it can be kept as it is; raises a `ValueError`.

    At most 64 levels of objects and lists, no NUL or lone surrogate in a text or a key, integers
    of 64 bits, finite numbers. How large it may be is limited by the message as a whole.
    """
    level: list[Json | list[Any]] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for container in level for inner in _containers_in(container)]
        if not level:
            return value
    raise refused("json", f"is nested more than {MAX_DEPTH} levels deep; expected a flatter one")


def _containers_in(container: Json | list[Any]) -> Iterator[Json | list[Any]]:
    if isinstance(container, dict):
        for key in container:
            if not isinstance(key, str):
                raise refused("json", "has a key that is no text")
            _check_scalar(key)
        container = list(container.values())
    for value in container:
        if isinstance(value, dict | list):
            yield value
        else:
            _check_scalar(value)


def _check_scalar(value: object) -> None:
    match value:
        case None | bool():
            return
        case str():
            if found := _UNSAFE.search(value):
                raise refused("json", f"holds U+{ord(found[0]):04X}, which databases refuse")
        case int():
            if not -_MAX_INTEGER <= value < _MAX_INTEGER:
                raise refused("json", "holds an integer beyond 64 bits; expected it as text")
        case float():
            if not isfinite(value):
                raise refused("json", "holds a number that is not finite; expected a finite one")
        case _:
            raise refused("json", f"holds a {type(value).__name__}; expected what JSON can say")


JsonObject = Annotated[Json, AfterValidator(check_json_object)]
NonEmptyText = Annotated[SafeText, StringConstraints(min_length=1)]
Name = Annotated[str, AfterValidator(check_name)]
"""The name of something that the domain does not keep itself: a package, a specialisation."""

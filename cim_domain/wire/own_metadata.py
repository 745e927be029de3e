"""Own metadata: who did it, and what else a client says of a message, in headers of its own.

They go from a command to its events, and on to whatever those cause, so what they may hold is
bounded: every event has them for ever.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from cim_domain.errors import Invalid
from cim_domain.wire.codec import ACTOR_ID, META, bad_header

LONGEST_ACTOR = 256
"""Characters of an actor's id."""

MOST_HEADERS = 16
LONGEST_NAME = 64
"""Characters of a name, behind ``X-Meta-``."""

LONGEST_VALUE = 512
LARGEST = 4096
"""Characters of all names and values together."""

_ACTOR = re.compile(rf"[!-+\--~]{{1,{LONGEST_ACTOR}}}")
_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9-]{{0,{LONGEST_NAME - 1}}})")
_VALUE = re.compile(rf"[!-~](?:[ -~]{{0,{LONGEST_VALUE - 2}}}[!-~])?")
_ALL = f"{META}*"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@frozen
class OwnMetadata:
    """Who did it, and values by name."""

    actor_id: str | None = None
    meta: Mapping[str, str] = _NOTHING

    def headers(self) -> dict[str, str]:
        """As headers. Raises `Invalid` (``bad_header``) for what they may not hold."""
        headers = {} if self.actor_id is None else {ACTOR_ID: self.actor_id}
        headers |= {f"{META}{name}": value for name, value in self.meta.items()}
        read_own_metadata(headers)
        return headers


def read_own_metadata(headers: Mapping[str, str]) -> OwnMetadata:
    """What the headers of a client's message tell.

    Raises `Invalid` (``bad_header``) for what they may not hold, and for a name that is theirs but
    for upper and lower case: whoever sent it meant it, and it would count for nothing.
    """
    actor_id: str | None = None
    meta: dict[str, str] = {}
    for name, value in headers.items():
        start = name[: len(META)]
        if start == META:
            _check_meta(name, value)
            meta[name.removeprefix(META)] = value
        elif name == ACTOR_ID:
            actor_id = value
        elif start.lower() == META.lower():
            raise bad_header(name[:100], f"expected a name that begins with {META}")
        elif name.lower() == ACTOR_ID.lower():
            raise bad_header(name, f"expected the name {ACTOR_ID}")
    if actor_id is not None and not _ACTOR.fullmatch(actor_id):
        raise bad_header(
            ACTOR_ID,
            f"expected 1 to {LONGEST_ACTOR} printable ASCII characters, no blanks or commas",
        )
    return OwnMetadata(actor_id, MappingProxyType(_bounded(meta)) if meta else _NOTHING)


def _check_meta(name: str, value: str) -> None:
    if not _NAME.fullmatch(name.removeprefix(META)):
        raise bad_header(
            name[:100], f"expected 1 to {LONGEST_NAME} of A-Z a-z 0-9 - behind {META}, no - first"
        )
    if not _VALUE.fullmatch(value):
        raise bad_header(name, f"expected 1 to {LONGEST_VALUE} printable ASCII characters")


def _bounded(meta: dict[str, str]) -> dict[str, str]:
    if len(meta) > MOST_HEADERS:
        raise _too_much(f"there are {len(meta)}; at most {MOST_HEADERS} are taken")
    size = sum(len(name) + len(value) for name, value in meta.items())
    if size > LARGEST:
        raise _too_much(f"names and values have {size} characters; at most {LARGEST} are taken")
    if len({name.lower() for name in meta}) < len(meta):
        raise _too_much("two names differ in upper and lower case alone")
    return meta


def _too_much(problem: str) -> Invalid:
    return bad_header(_ALL, problem)

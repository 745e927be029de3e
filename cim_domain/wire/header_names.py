"""The names of headers that a request may have, of which each comes once, and in one spelling.

A client whose library writes ``X-Organization-Id`` means the tenant, and so does one that adds the
header a second time. Taken for no header, or for the last one, a command would be carried out for
somebody else than its sender means.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from cim_domain.errors import Invalid
from cim_domain.nats.connection.hardened_client import UNREADABLE_HEADERS
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.wire.codec import (
    ACTOR_ID,
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    EXPECTED_VERSION,
    MESSAGE_ID,
    META,
    MIN_SEQUENCE,
    ORGANIZATION_ID,
    TRACE_PARENT,
    bad_header,
)

_KNOWN = {
    name.lower(): name
    for name in (
        COMMAND_ID,
        CORRELATION_ID,
        CAUSATION_ID,
        ORGANIZATION_ID,
        ACTOR_ID,
        EXPECTED_VERSION,
        MIN_SEQUENCE,
        TRACE_PARENT,
        MESSAGE_ID,
    )
}
_NO_PART = re.compile(r"[^a-z0-9-]")
_USUAL_BYTES = 1024
_TWICE = "comes more than once; expected one value"


def check_names(headers: Mapping[str, str]) -> None:
    """Raise `Invalid` (``bad_header``) for a known header in another spelling, or a second time.

    A value with a comma is several, as it is in HTTP, and so it is in a dead letter. So for headers
    that cannot be read at all.
    """
    if not headers:
        return
    if UNREADABLE_HEADERS in headers:
        raise Invalid("the headers cannot be read", code="bad_header")
    if isinstance(headers, LazyHeaders):
        names, commas = headers.names(), b"," in headers.lines
        # What is remembered is small, whatever others send.
        usual = len(headers.lines) <= _USUAL_BYTES
    else:
        names, commas, usual = tuple(headers), True, False
    found = _known_problem(names) if usual else _problem(names)
    if found is not None:
        raise bad_header(*found)
    for name in names if commas else ():
        if _meant(name) and "," in headers[name]:
            raise bad_header(name, _TWICE)


def _problem(names: tuple[str, ...]) -> tuple[str, str] | None:
    """The known header that does not come as it should, and what is wrong with it."""
    for name in names:
        known = name if name.startswith(META) else _meant(name)
        if " " in name and _NO_PART.sub("", name.lower()).startswith(META.lower()):
            # Who reads headers drops such a name, and it would count for nothing.
            return META + "*", "is spelled differently: there is a blank in the name"
        if known is None:
            continue
        if name != known:
            return known, "is spelled differently: names are case-sensitive"
        if names.count(name) > 1:
            return known, _TWICE
    return None


def _meant(name: str) -> str | None:
    """The known name that this one is, or is but for case and for what no name has."""
    return _KNOWN.get(_NO_PART.sub("", name.lower()))


_known_problem = lru_cache(maxsize=1024)(_problem)

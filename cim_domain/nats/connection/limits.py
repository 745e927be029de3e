"""What a message may be: checked before it is sent, because the server hangs up over one too large.

The server ends the connection, and the client closes for good, when headers and payload together
exceed its ``max_payload`` or the protocol line exceeds 4096 bytes. JetStream refuses header blocks
of 64 KiB. The client itself checks the payload alone.
"""

import re
from collections.abc import Mapping

from nats.aio.client import Client

from cim_domain.errors import Invalid
from cim_domain.nats.connection.publications import NAME

MAX_HEADER_BLOCK = 65_535
MAX_PROTOCOL_LINE = 4096
LINE_MARGIN = 256
"""Bytes left to the reply inbox that a request makes up, and to what servers add in routes."""

_SHORT_WORDS = 512
"""Characters, each of four bytes at most, with which no protocol line is too long."""

_FRAME = len(b"NATS/1.0\r\n") + len(b"\r\n")
_PER_HEADER = len(b": ") + len(b"\r\n")
_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")


def check_header(name: str, value: str) -> None:
    """Raise `Invalid` (code ``bad_header``) unless every client reads the header as it was written.

    A name is an HTTP token. A value is printable ASCII with no blank at either end: line breaks
    would be replaced, blanks stripped, and what is not ASCII is read differently by each client.
    """
    if not NAME.fullmatch(name):
        problem = "a header's name has letters, digits and !#$%&'*+-.^_`|~ only"
    elif not _VALUE.fullmatch(value):
        problem = "a header's value is printable ASCII, without line breaks or blanks at its ends"
    else:
        return
    raise Invalid(
        f"header {name!a}: {problem}",
        code="bad_header",
        details={"fields": [{"path": f"headers.{name}", "message": problem}]},
    )


def header_block_size(headers: Mapping[str, str] | None) -> int:
    """Bytes of the header block exactly as nats-py writes it; 0 without headers."""
    if headers is None:
        return 0
    size = _FRAME
    for name, value in headers.items():
        if key := name.strip():
            size += len(key.encode()) + len(value.strip().encode()) + _PER_HEADER
    return size


def check_size(
    nc: Client,
    subject: str,
    payload: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    reply: str = "",
) -> None:
    """Raise `Invalid` (code ``too_large``) for a message that the server at hand would refuse.

    `details` names the ``part`` (message, headers, subject), its ``bytes`` and their ``limit``.
    """
    check_sizes(nc, subject, header_block_size(headers), len(payload), reply=reply)


def check_sizes(nc: Client, subject: str, block: int, payload: int, *, reply: str = "") -> None:
    """The same for a message whose headers and payload have so many bytes."""
    # Nearly all are so small that they fit whatever their words are.
    letters = len(subject) + len(reply)
    if block + payload <= min(nc.max_payload, MAX_HEADER_BLOCK) and letters < _SHORT_WORDS:
        return
    _check("message", block + payload, nc.max_payload)
    _check("headers", block, MAX_HEADER_BLOCK)
    line = len(f"HPUB {subject} {reply} {block} {block + payload}\r\n".encode())
    _check("subject", line, MAX_PROTOCOL_LINE - LINE_MARGIN)


def _check(part: str, size: int, limit: int) -> None:
    if size > limit:
        raise Invalid(
            f"the {part} has {size} bytes, and {limit} is the limit; send less at once",
            code="too_large",
            details={"part": part, "bytes": size, "limit": limit},
        )

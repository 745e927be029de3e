"""Reading what clients send: commands and queries, from subject, headers and payload.

Nothing of it is trusted. What cannot be read becomes an `Invalid` or `NotFound` that names the
field or the header; the values sent are not repeated in it.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from cim_domain.commands.decisions import CommandRequest
from cim_domain.errors import Invalid, NotFound
from cim_domain.identity import IdSource, canonical_id
from cim_domain.model.domain import Domain
from cim_domain.model.messages import Command, Message
from cim_domain.model.metadata import Clock, Metadata
from cim_domain.wire.codec import (
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    EXPECTED_VERSION,
    ORGANIZATION_ID,
    TRACE_PARENT,
    bad_header,
    whole_number,
)
from cim_domain.wire.header_names import check_names
from cim_domain.wire.own_metadata import read_own_metadata

M = TypeVar("M", bound=Message)

NOT_A_REQUEST = "not_a_request"
"""The code of the error for a message that no client sent as a request."""

_ORGANIZATION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_TRACE_PARENT = re.compile(
    # No version ff, and neither a trace nor a parent of zeros: these are invalid (W3C).
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_DELIVERED = (
    "Nats-Stream",
    "Nats-Sequence",
    "Nats-Subject",
    "Nats-Expected-",
    "Nats-Batch-",
    "Nats-Last-",
    "Nats-Consumer-",
    "Nats-Pending-",
    "Status",
)
_MANY_FIELDS = 20
# Names of fields are the client's, as long as he likes; the reply must fit into a message.
_LONG_PATH = 200
_LONG_MESSAGE = 1000


def require_request(headers: Mapping[str, str], reply: str) -> None:
    """Raise `Invalid` for what is no request, and for headers that leave open what it asks for."""
    refuse_delivery(headers, reply)
    check_names(headers)


def refuse_delivery(headers: Mapping[str, str], reply: str) -> None:
    """Raise `Invalid` for a stream's delivery that was steered onto a subject of requests.

    Whoever may read a stream can have the server send what it holds to any subject, with rights
    that the reader himself does not have.
    """
    if reply.startswith("$JS.") or (headers and any(map(_is_a_streams, headers))):
        raise Invalid(
            "this is the delivery of a stored message, not a request of a client",
            code=NOT_A_REQUEST,
        )


def _is_a_streams(name: str) -> bool:
    return name.startswith(_DELIVERED)


def read_command(
    domain: Domain,
    metadata: Metadata,
    headers: Mapping[str, str],
    data: bytes,
    *,
    repeatable: bool = True,
) -> CommandRequest:
    """The command that a client sent. Raises `NotFound` (``unknown_command``) and `Invalid`.

    It is not `repeatable` where its id was made here and is not made so again.
    """
    cls = domain.commands.get(metadata.message_type)
    if cls is None:
        raise NotFound(
            f"there is no command {metadata.message_type[:200]!r} in the domain {domain.name!r}",
            code="unknown_command",
        )
    expected_version = whole_number(headers, EXPECTED_VERSION)
    return request_for(
        domain, read_message(cls, data), metadata, expected_version, repeatable=repeatable
    )


def request_for(
    domain: Domain,
    command: Command,
    metadata: Metadata,
    expected_version: int | None = None,
    *,
    repeatable: bool = True,
) -> CommandRequest:
    """The command with metadata that name its aggregate."""
    aggregate_id = domain.id_for(command, metadata.organization_id)
    return CommandRequest(
        command, metadata.for_aggregate(aggregate_id), expected_version, repeatable
    )


def command_metadata(
    message_type: str, headers: Mapping[str, str], ids: IdSource, clock: Clock
) -> Metadata:
    """What the headers of a command tell. Without an id it is a root with a fresh one."""
    command_id = _id(headers, COMMAND_ID) or ids()
    own = read_own_metadata(headers)
    return Metadata(
        message_id=command_id,
        message_type=message_type,
        correlation_id=_id(headers, CORRELATION_ID) or command_id,
        causation_id=_id(headers, CAUSATION_ID) or command_id,
        timestamp=clock(),
        source="client",
        organization_id=organization(headers),
        trace_parent=_trace_parent(headers),
        actor_id=own.actor_id,
        meta=own.meta,
    )


def query_metadata(
    message_type: str, headers: Mapping[str, str], ids: IdSource, clock: Clock
) -> Metadata:
    """What the headers of a query tell. It is a root, with an id that nobody else has."""
    query_id = ids()
    own = read_own_metadata(headers)
    return Metadata(
        message_id=query_id,
        message_type=message_type,
        correlation_id=query_id,
        causation_id=query_id,
        timestamp=clock(),
        source="client",
        organization_id=organization(headers),
        trace_parent=_trace_parent(headers),
        actor_id=own.actor_id,
        meta=own.meta,
    )


def organization(headers: Mapping[str, str]) -> str | None:
    """The organization on whose behalf a message comes. Raises `Invalid`."""
    found = headers.get(ORGANIZATION_ID)
    if found is not None and not _ORGANIZATION.fullmatch(found):
        raise bad_header(ORGANIZATION_ID, "expected 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return found


def read_message(cls: type[M], data: bytes, message_type: str | None = None) -> M:
    """The message in a payload. Raises `Invalid`, with the path and the problem of each field.

    `message_type` is what it was asked under, where that may be another than the class's own.
    """
    named = message_type or cls.message_type
    try:
        message = cls.from_wire(data)
    except ValidationError as error:
        raise invalid(error, named) from None
    if b"NaN" in data or b"Infinity" in data:
        _refuse_no_numbers(data, named)
    return message


def _refuse_no_numbers(data: bytes, message_type: str) -> None:
    """Refuse what JSON does not have, also where a field takes anything."""
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError as error:
        problem = f"Invalid JSON: {error}"
        raise Invalid(
            f"{message_type}: {problem}", details={"fields": [{"path": "", "message": problem}]}
        ) from None


def invalid(error: ValidationError, message_type: str) -> Invalid:
    """The same as an error of the kit: paths and problems, but none of the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {
            "path": ".".join(map(str, problem["loc"]))[:_LONG_PATH],
            "message": problem["msg"][:_LONG_MESSAGE],
        }
        for problem in problems[:_MANY_FIELDS]
    ]
    first = fields[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = f"{first['path']}: " if first["path"] else ""
    return Invalid(
        f"{message_type}: {place}{first['message']}{more}",
        details={"fields": fields},
    )


def _id(headers: Mapping[str, str], name: str) -> str | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return canonical_id(text)
    except ValueError:
        raise bad_header(name, "expected a UUID") from None


def _trace_parent(headers: Mapping[str, str]) -> str | None:
    # As the W3C recommends, one that cannot be read is treated as if it were not there.
    found = headers.get(TRACE_PARENT, "")
    return found if _TRACE_PARENT.fullmatch(found) else None

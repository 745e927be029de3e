"""How metadata travels: as headers, the message's own fields being the whole payload.

Times are RFC 3339 in UTC. A header that nobody needs is not there: a schema version of 1, an
organization where there is none.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from cim_domain.errors import Invalid
from cim_domain.identity import NAMESPACE, caused_id
from cim_domain.model.metadata import Metadata
from cim_domain.model.records import EventRecord
from cim_domain.nats.connection.lazy_headers import LazyHeaders

MESSAGE_ID = "Nats-Msg-Id"
EVENT_ID = "X-Event-ID"
EVENT_TYPE = "X-Event-Type"
COMMAND_ID = "X-Command-ID"
CORRELATION_ID = "X-Correlation-ID"
CAUSATION_ID = "X-Causation-ID"
AGGREGATE_ID = "X-Aggregate-ID"
AGGREGATE_VERSION = "X-Aggregate-Version"
EXPECTED_VERSION = "X-Expected-Version"
SCHEMA_VERSION = "X-Schema-Version"
ORGANIZATION_ID = "X-Organization-ID"
TIMESTAMP = "X-Timestamp"
SEQUENCE = "X-Sequence"
MIN_SEQUENCE = "X-Min-Sequence"
TRACE_PARENT = "traceparent"
COMMAND_DIGEST = "X-Command-Digest"
ACTOR_ID = "X-Actor-ID"
META = "X-Meta-"
"""What the names of a client's own headers begin with."""
ERROR = "Nats-Service-Error"
ERROR_CODE = "Nats-Service-Error-Code"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# What `event_headers` writes when no optional header is there, and what servers add to it: read
# from the block, because taking all headers apart is most of what reading an event costs.
_AS_WRITTEN = re.compile(
    rf"Nats-Msg-Id: ({_UUID.pattern})\r\nX-Event-ID: \1\r\n"
    r"X-Event-Type: (([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*))\r\n"
    rf"X-Correlation-ID: ({_UUID.pattern})\r\nX-Causation-ID: ({_UUID.pattern})\r\n"
    rf"X-Aggregate-ID: ({_UUID.pattern})\r\nX-Aggregate-Version: ([1-9][0-9]{{0,17}})\r\n"
    r"X-Timestamp: ([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)\r\n"
    r"(?:X-Command-Digest: ([A-Za-z0-9_-]+)\r\n)?"
    r"(?:Nats-[A-Za-z-]+: [!-~ ]*\r\n)*(?:\r\n)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_time(time: datetime) -> str:
    """``2026-11-21T08:30:00.250000Z``"""
    if time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    return time.isoformat("T", "microseconds")[: -len("+00:00")] + "Z"


def read_time(text: str) -> datetime:
    """A time with its offset, as UTC. Raises `ValueError` for anything else."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is before or after all times") from error


def event_headers(metadata: Metadata) -> dict[str, str]:
    """The headers of an event."""
    headers = {
        MESSAGE_ID: metadata.message_id,
        EVENT_ID: metadata.message_id,
        EVENT_TYPE: metadata.message_type,
        CORRELATION_ID: metadata.correlation_id,
        CAUSATION_ID: metadata.causation_id,
        AGGREGATE_ID: metadata.aggregate_id or "",
        AGGREGATE_VERSION: str(metadata.aggregate_version),
        TIMESTAMP: write_time(metadata.timestamp),
    }
    if metadata.command_digest:
        headers[COMMAND_DIGEST] = metadata.command_digest
    if metadata.schema_version > 1:
        headers[SCHEMA_VERSION] = str(metadata.schema_version)
    if metadata.organization_id:
        headers[ORGANIZATION_ID] = metadata.organization_id
    if metadata.trace_parent:
        headers[TRACE_PARENT] = metadata.trace_parent
    if metadata.actor_id:
        headers[ACTOR_ID] = metadata.actor_id
    for name, value in metadata.meta.items():
        headers[f"{META}{name}"] = value
    return headers


def read_event(
    subject: str, headers: Mapping[str, str] | None, data: bytes, sequence: int, source: str
) -> EventRecord:
    """A message of the log as a record.

    One that the kit cannot have written has version 0 in its metadata and what its subject tells:
    the log goes on, and whoever needs this event refuses it. Raises nothing.
    """
    found = headers or {}
    try:
        if isinstance(found, LazyHeaders):
            # Whatever is not ASCII does not fit, however it is decoded.
            written = _AS_WRITTEN.fullmatch(found.lines.decode("latin-1"))
            if written:
                return EventRecord(_written(subject, written, sequence, source), data)
        aggregate, action = found[EVENT_TYPE].split(".")
        if not subject.endswith(f".{aggregate}.{found[AGGREGATE_ID]}.{action}"):
            raise ValueError("headers and subject are at odds")  # noqa: TRY301
        metadata = Metadata(
            message_id=_uuid(found[EVENT_ID]),
            message_type=found[EVENT_TYPE],
            correlation_id=found[CORRELATION_ID],
            causation_id=found[CAUSATION_ID],
            timestamp=read_time(found[TIMESTAMP]),
            source=source,
            aggregate_id=found[AGGREGATE_ID],
            aggregate_version=_counted(found[AGGREGATE_VERSION]),
            schema_version=_counted(found.get(SCHEMA_VERSION, "1")),
            organization_id=found.get(ORGANIZATION_ID),
            sequence=sequence,
            trace_parent=found.get(TRACE_PARENT),
            command_digest=found.get(COMMAND_DIGEST),
            actor_id=found.get(ACTOR_ID),
            meta={name.removeprefix(META): found[name] for name in found if name.startswith(META)},
        )
    except Exception:  # noqa: BLE001 - whatever is wrong with a message, it is foreign
        metadata = _unreadable(subject, sequence, source)
    return EventRecord(metadata, data)


def _written(subject: str, written: re.Match[str], sequence: int, source: str) -> Metadata:
    """Of an event whose headers are just what `event_headers` writes, and the server's own.

    Raises `ValueError` for another subject, and for a time that is none, as in February 30.
    """
    (
        event_id,
        event_type,
        aggregate,
        action,
        correlation,
        causation,
        identifier,
        version,
        time,
        digest,
    ) = written.groups()
    if not subject.endswith(f".{aggregate}.{identifier}.{action}"):
        raise ValueError("headers and subject are at odds")
    return Metadata(
        message_id=event_id,
        message_type=event_type,
        correlation_id=correlation,
        causation_id=causation,
        timestamp=datetime.fromisoformat(time),
        source=source,
        aggregate_id=identifier,
        aggregate_version=int(version),
        sequence=sequence,
        command_digest=digest,
    )


def _unreadable(subject: str, sequence: int, source: str) -> Metadata:
    aggregate, identifier, action = ("", "", *subject.split("."))[-3:]
    made_up = caused_id(str(NAMESPACE), sequence)
    return Metadata(
        message_id=made_up,
        message_type=f"{aggregate}.{action}",
        correlation_id=made_up,
        causation_id=made_up,
        timestamp=_EPOCH,
        source=source,
        aggregate_id=identifier,
        aggregate_version=0,
        sequence=sequence,
    )


def _uuid(text: str) -> str:
    # Ids are derived from this one, so that it must be what it says.
    if not _UUID.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is no UUID")
    return text


def _counted(text: str) -> int:
    """A whole number, 1 or more. Raises `ValueError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text)):
        raise ValueError(f"{text[:20]!r} counts nothing")
    return int(text)


_ERROR_TEXT = 600
_CUT = "..."
_UNPRINTABLE = re.compile(r"[^ -~]")

MAX_ERROR_HEADERS = _ERROR_TEXT + 100
"""Bytes of the block of headers that tell an error, and more."""


def error_headers(http: int, message: str) -> dict[str, str]:
    """The headers by which NATS services tell an error.

    The text is one line of ASCII: a blank for what breaks lines, ``\\u20ac`` for other characters,
    and ``...`` at its end where it is cut to what a header should be. The payload has all of it.
    """
    begin = message.strip()[: _ERROR_TEXT + 1]
    text = _UNPRINTABLE.sub(_in_ascii, begin).strip()
    if len(begin) > _ERROR_TEXT or len(text) > _ERROR_TEXT:
        text = text[: _ERROR_TEXT - len(_CUT)].strip() + _CUT
    return {ERROR: text, ERROR_CODE: str(http)}


def _in_ascii(found: re.Match[str]) -> str:
    return " " if found[0].isspace() else found[0].encode("unicode_escape").decode("ascii")


def whole_number(headers: Mapping[str, str], name: str) -> int | None:
    """The value of a header that holds a whole number, 0 or more; None where it is not there.

    Raises `Invalid`, with the header as the field.
    """
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise bad_header(name, "expected a whole number, 0 or more")
    return int(text)


def bad_header(name: str, problem: str) -> Invalid:
    """The error for a header that cannot be read."""
    return Invalid(
        f"header {name}: {problem}",
        code="bad_header",
        details={"fields": [{"path": f"headers.{name}", "message": problem}]},
    )

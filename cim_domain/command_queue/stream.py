"""Commands that are stored first: the stream they wait in, and how they are read from it.

A command on ``nix.submit.flake.create`` is carried out as soon as somebody can. One that is
scheduled waits on ``nix.schedule.{command id}`` until the server itself moves it there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from cim_domain.errors import Invalid
from cim_domain.identity import NAMESPACE, canonical_id, derived_id
from cim_domain.model.metadata import Clock, Metadata
from cim_domain.nats.jetstream.api import NANOSECONDS
from cim_domain.nats.jetstream.streams import StreamDefinition
from cim_domain.nats.jetstream.subscriber import Received
from cim_domain.wire.codec import (
    COMMAND_ID,
    EVENT_ID,
    EXPECTED_VERSION,
    MESSAGE_ID,
    bad_header,
    read_time,
    whole_number,
    write_time,
)
from cim_domain.wire.header_names import check_names
from cim_domain.wire.own_metadata import read_own_metadata

SCHEDULE = "Nats-Schedule"
TARGET = "Nats-Schedule-Target"
SCHEDULER = "Nats-Scheduler"
"""On what was scheduled: the subject on which it waited."""

BAD_TIME = "bad_time"

EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2262, 4, 11, tzinfo=UTC)
"""Servers count nanoseconds from 1970 on in 64 bits: what is due outside of what these can tell is
done at once, or at some other time, or never.
"""

_EXPECTED_STREAM = "Nats-Expected-Stream"
_AT = "@at "
_OTHER_ID = "expected the id under which the command was scheduled"
_DUPLICATE_WINDOW = 120


def command_stream(
    name: str, submissions: str, schedules: str, replicas: int = 1
) -> StreamDefinition:
    """The work queue of the commands on `submissions`, and of those on `schedules` before."""
    return StreamDefinition(
        name,
        {
            "subjects": [submissions, schedules],
            "storage": "file",
            "retention": "workqueue",
            "num_replicas": replicas,
            "duplicate_window": _DUPLICATE_WINDOW * NANOSECONDS,
            "allow_direct": True,
            "allow_msg_schedules": True,
        },
    )


def schedule_headers(at: datetime, target: str) -> dict[str, str]:
    """What makes the server move a message to `target` at a time, if it is the first to wait."""
    return {SCHEDULE: f"{_AT}{write_time(at)}", TARGET: target, EXPECTED_SEQUENCE: "0"}


def scheduled_time(headers: Mapping[str, str]) -> datetime | None:
    """When a message that waits is due; None for another kind of schedule."""
    kind, at, time = headers.get(SCHEDULE, "").partition(_AT)
    try:
        return read_time(time) if at and not kind else None
    except ValueError:
        return None


def schedule_problem(
    headers: Mapping[str, str], command_id: str, submissions: str
) -> Invalid | None:
    """Why what waits under an id will not be done when its sender wants it to be, if it is so.

    `submissions` is what commands are submitted on. Of this the server checks nothing.
    """
    try:
        check_names(headers)
        read_own_metadata(headers)
        whole_number(headers, EXPECTED_VERSION)
        _check_scheduled(headers, command_id, submissions)
    except Invalid as error:
        return error
    return None


def _check_scheduled(headers: Mapping[str, str], command_id: str, submissions: str) -> None:
    if SCHEDULE not in headers:
        raise bad_header(SCHEDULE, "is missing: what waits without it is never done; cancel it")
    if not headers.get(TARGET, "").startswith(submissions.removesuffix(">")):
        raise bad_header(TARGET, f"expected one on {submissions}; cancel it")
    if COMMAND_ID in headers and _uuid(headers[COMMAND_ID]) != command_id:
        raise bad_header(COMMAND_ID, _OTHER_ID)
    at = scheduled_time(headers)
    if not is_repeated(headers) and (at is None or not EARLIEST <= at <= LATEST):
        raise Invalid(
            f"it is due at a time that is not between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d},"
            " which is as far as servers count: this may be done at any time, or never; cancel it",
            code=BAD_TIME,
        )


def is_repeated(headers: Mapping[str, str]) -> bool:
    """Whether a message that waits will wait again when it was moved: cron, ``@every``."""
    schedule = headers.get(SCHEDULE)
    return schedule is not None and not schedule.startswith(_AT)


def submitted_metadata(
    message_type: str, received: Received, stream_id: str, clock: Clock
) -> Metadata:
    """What the headers of a stored command tell; the same ones whenever it is delivered.

    Its id is in ``X-Command-ID``; or else the one it was scheduled under; or its ``Nats-Msg-Id``,
    if that is a UUID; or else it follows from its place in the stream `stream_id`. Raises
    `Invalid`; with the code ``not_a_request`` for what no client has submitted.
    """
    # Here, because clients schedule commands, and read none: they need no write side.
    from cim_domain.commands.decoding import (  # noqa: PLC0415
        NOT_A_REQUEST,
        command_metadata,
        refuse_delivery,
    )

    headers = received.headers
    # nats-py and others put this one on what is published to a stream.
    refuse_delivery({name: "" for name in headers if name != _EXPECTED_STREAM}, "")
    if EVENT_ID in headers:
        raise Invalid("this is an event, not a command of a client", code=NOT_A_REQUEST)
    check_names(headers)
    token = headers.get(SCHEDULER, "").rpartition(".")[2]
    scheduled = _uuid(token)
    if scheduled is not None and token != scheduled:
        # Where nobody looks for it who asks how it stands, or wants to cancel it.
        raise bad_header(SCHEDULER, "expected an id in lower case, with hyphens, in the subject")
    place = derived_id(stream_id, f"message {received.sequence}")
    made = scheduled or _uuid(headers.get(MESSAGE_ID, "")) or place
    metadata = command_metadata(message_type, headers, lambda: made, clock)
    if SCHEDULER in headers and scheduled is None:
        raise bad_header(SCHEDULER, "expected the command's id at the end of the subject")
    if SCHEDULER in headers and metadata.message_id != scheduled:
        raise bad_header(COMMAND_ID, _OTHER_ID)
    return metadata


def stream_id(name: str, created: str) -> str:
    """What ids of commands without one are derived from; another when the stream is made anew."""
    return derived_id(str(NAMESPACE), f"{name} {created}")


def stored_as(headers: Mapping[str, str]) -> str | None:
    """The id that the headers of a stored command give it, as far as they do."""
    return _uuid(headers.get(COMMAND_ID) or headers.get(MESSAGE_ID, ""))


def _uuid(text: str) -> str | None:
    try:
        return canonical_id(text)
    except ValueError:
        return None

"""Dead letters in a stream of their own, one subject for each consumer.

The payload is the message's own. So are the headers, those that would act again when it is
published behind a prefix; what is known about the failure is in headers of the letter's own.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4, uuid5

from attrs import define, field

from cim_domain.dead_letters import DeadLetter
from cim_domain.identity import NAMESPACE
from cim_domain.nats.connection.limits import MAX_HEADER_BLOCK, header_block_size
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import answer_of, call
from cim_domain.nats.jetstream.direct import get_by_subject
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.nats.jetstream.streams import StreamDefinition

PREFIX = "X-Dead-"
"""What the letter's own headers begin with; no message brings any of its own."""

CONSUMER = "X-Dead-Consumer"
SUBJECT = "X-Dead-Subject"
SEQUENCE = "X-Dead-Sequence"
CODE = "X-Dead-Code"
REASON = "X-Dead-Reason"
DELIVERIES = "X-Dead-Deliveries"
CUT = "X-Dead-Cut-From"
"""The payload's length in bytes, where there was no room for all of it beside these headers."""

HEADERS_CUT = "X-Dead-Headers-Cut-From"
"""The bytes of the message's headers, where there was no room for them."""

_ID = "Nats-Msg-Id"
_PAGE = 1000
_ACTS = "Nats-"
"""What headers begin with that act when they are published; kept behind the prefix instead."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_NO_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
_CODE_LENGTH = 100
_REASON_LENGTH = 500
_CUT_ROOM = len(CUT) + len(": 1234567890\r\n")


KEPT = 1000
"""So many letters of each consumer are kept: what nobody looks at must not fill the disk."""

KEPT_DAYS = 90
"""So long."""


def dead_letter_stream(name: str, subject: str, replicas: int = 1) -> StreamDefinition:
    """The stream that holds the dead letters published below `subject`, such as ``nix.dlq.>``."""
    return StreamDefinition(
        name,
        {
            "subjects": [subject],
            "storage": "file",
            "retention": "limits",
            "num_replicas": replicas,
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": KEPT,
            "max_age": KEPT_DAYS * 86_400 * 1_000_000_000,
            "duplicate_window": 120 * 1_000_000_000,
            "allow_direct": True,
        },
    )


@define
class _Known:
    """The letters of one consumer: where each is, by its id."""

    places: dict[str, int] = field(factory=dict)
    read: int = 0


class StreamDeadLetters:
    """`DeadLetters` in a stream that exists. `root` is what their subjects begin with."""

    def __init__(self, link: Link, stream: str, root: str, timeout: float = 5.0) -> None:
        self._link = link
        self._stream = stream
        self._root = root
        self._timeout = timeout
        self._known: dict[str, _Known] = defaultdict(_Known)

    async def put(self, letter: DeadLetter) -> None:
        """See `DeadLetters.put`."""
        subject = f"{self._root}.{letter.consumer}"
        if letter.sequence and await self._has(subject, letter):
            return
        max_payload = self._link.client.max_payload
        headers, data = _headers(letter, max_payload), letter.data
        room = max(0, max_payload - header_block_size(headers) - _CUT_ROOM)
        if len(data) > room:
            headers, data = {**headers, CUT: str(len(data))}, data[:room]
        answer = await self._publish(subject, data, headers)
        if answer.get("duplicate") and await self._is_gone(int(answer["seq"])):
            # Thrown away a moment ago, it is known to the server still.
            await self._publish(subject, data, {**headers, _ID: f"{headers[_ID]}.{uuid4().hex}"})

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        info = await call(self._link.requests, f"STREAM.INFO.{self._stream}", timeout=self._timeout)
        return int(info["state"]["messages"])

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        reply = await self._link.requests.one(subject, data, headers=headers, timeout=self._timeout)
        return answer_of(subject, reply)

    async def _has(self, subject: str, letter: DeadLetter) -> bool:
        """Whether the same letter is there, whoever wrote it and when."""
        known = self._known[subject]
        while page := await get_by_subject(
            self._link.requests, self._stream, subject, start=known.read + 1, limit=_PAGE,
            timeout=self._timeout,
        ):  # fmt: skip
            for one in page:
                known.places[one.headers.get(_ID, "").partition(".")[0]] = one.sequence
            known.read = page[-1].sequence
        place = known.places.get(_id_of(letter))
        return place is not None and not await self._is_gone(place)

    async def _is_gone(self, sequence: int) -> bool:
        return await message_at(self._link.requests, self._stream, sequence) is None


def _id_of(letter: DeadLetter) -> str:
    """The same for the same message of the same consumer."""
    return str(uuid5(NAMESPACE, f"{letter.consumer} {letter.subject} {letter.sequence}"))


def _headers(letter: DeadLetter, max_payload: int) -> dict[str, str]:
    """The letter's own headers and, where there is room for them, those that the message had."""
    own = {
        CONSUMER: letter.consumer,
        SUBJECT: _printable(letter.subject),
        CODE: _printable(letter.code)[:_CODE_LENGTH].strip(),
        REASON: _printable(letter.reason)[:_REASON_LENGTH].strip(),
        DELIVERIES: str(letter.deliveries),
    }
    if letter.sequence:
        own[SEQUENCE] = str(letter.sequence)
        own[_ID] = _id_of(letter)
    theirs = {
        f"{PREFIX}{name}" if name.startswith(_ACTS) else name: value
        for name, value in _travelling(letter.headers)
        if name and not name.startswith(PREFIX)
    }
    headers = theirs | own
    limit = min(MAX_HEADER_BLOCK, max_payload)
    if header_block_size(headers) + _CUT_ROOM <= limit:
        return headers
    return own | {HEADERS_CUT: str(header_block_size(theirs))}


def original_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that the message of a letter had, of those that the letter has in its stream."""
    kept = f"{PREFIX}{_ACTS}"
    return {
        name.removeprefix(PREFIX): value
        for name, value in headers.items()
        if name.startswith(kept) or not name.startswith((PREFIX, _ACTS))
    }


def _travelling(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Headers as every client reads them again, with marks for what none can have.

    Left out, what was refused for such a header would be done without it when it is replayed.
    """
    for name, value in headers.items():
        yield _NO_TOKEN.sub("~", name), _UNPRINTABLE.sub(_escaped, value).strip()


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()

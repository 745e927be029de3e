"""Dead letters read back: listed, looked at one by one, and thrown away."""

import re
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime

from attrs import frozen

from cim_domain.dead_letters import DeadLetter
from cim_domain.errors import NotFound
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError, call
from cim_domain.nats.jetstream.dead_letters import (
    CODE,
    CUT,
    DELIVERIES,
    HEADERS_CUT,
    REASON,
    SEQUENCE,
    SUBJECT,
    original_headers,
)
from cim_domain.nats.jetstream.direct import StoredMessage, get_by_subject, get_range
from cim_domain.nats.jetstream.leader_reads import TIME, message_at

CONSUMER_NAME = re.compile(r"[a-z0-9_-]{1,200}(\.[a-z0-9_-]{1,200}){0,3}")
"""What a consumer can be called: part of a subject, without wildcards."""

PAGE = 100
"""So many letters are read at once; each may be as large as a message can be."""


@frozen(kw_only=True)
class StoredLetter:
    """A dead letter with its place among the dead letters.

    The letter's own `sequence` is another one: that of its message in the stream it came from.
    """

    sequence: int
    time: datetime
    """When it was put there; UTC."""
    letter: DeadLetter
    cut_from: int | None
    """The payload's length in bytes, where the letter holds only the beginning of it."""
    headers_cut_from: int | None = None
    """The bytes of the message's headers, where the letter has none of them."""


@frozen
class Overview:
    """How many letters each consumer has, and the sequence of the last one that there ever was."""

    counts: Mapping[str, int]
    last: int


class DeadLetterBox:
    """The dead letters of a stream. `root` is what their subjects begin with."""

    def __init__(self, link: Link, stream: str, root: str, timeout: float = 5.0) -> None:
        self._link = link
        self._stream = stream
        self._root = root
        self._timeout = timeout

    async def overview(self) -> Overview:
        """How many letters there are; consumers with none are left out.

        Raises `NotFound` (``no_stream``) where no service has made the stream yet, and
        `Unavailable`.
        """
        try:
            info = await call(
                self._link.requests,
                f"STREAM.INFO.{self._stream}",
                {"subjects_filter": f"{self._root}.>"},
                timeout=self._timeout,
            )
        except ApiError as error:
            if error.error_code != STREAM_NOT_FOUND:
                raise
            raise NotFound(
                f"there is no stream {self._stream}: no service of this domain has run here yet",
                code="no_stream",
            ) from error
        state = info["state"]
        found: dict[str, int] = state.get("subjects") or {}
        counts = {
            subject.removeprefix(f"{self._root}."): found[subject] for subject in sorted(found)
        }
        return Overview(counts, int(state["last_seq"]))

    async def page(
        self, *, after: int = 0, limit: int = PAGE, consumer: str | None = None
    ) -> list[StoredLetter]:
        """Up to `limit` letters behind a sequence, oldest first; none: there are no more.

        Of one consumer, where it is named. Raises `Unavailable`.
        """
        requests, stream, start, timeout = (
            self._link.requests, self._stream, after + 1, self._timeout
        )  # fmt: skip
        if consumer is None:
            found = await get_range(requests, stream, start=start, limit=limit, timeout=timeout)
        else:
            subject = f"{self._root}.{consumer}"
            found = await get_by_subject(
                requests, stream, subject, start=start, limit=limit, timeout=timeout
            )
        return [self._read(message) for message in found]

    async def letters(
        self, *, after: int = 0, consumer: str | None = None
    ) -> AsyncGenerator[StoredLetter, None]:
        """All of them, page by page. Raises `Unavailable`."""
        while page := await self.page(after=after, consumer=consumer):
            for letter in page:
                yield letter
            after = page[-1].sequence

    async def get(self, sequence: int) -> StoredLetter:
        """The letter at a sequence. Raises `NotFound` and `Unavailable`."""
        message = await message_at(self._link.requests, self._stream, sequence)
        if message is None:
            raise _no_letter(sequence)
        return self._read(message)

    async def discard(self, sequence: int) -> None:
        """Throw a letter away. Raises `NotFound` and `Unavailable`."""
        body = {"seq": sequence, "no_erase": True}
        try:
            await call(self._link.requests, f"STREAM.MSG.DELETE.{self._stream}", body)
        except ApiError as error:
            # Its number for a message that is not there stands for other failures, too.
            if await message_at(self._link.requests, self._stream, sequence) is not None:
                raise
            raise _no_letter(sequence) from error

    async def discard_all(self, *, up_to: int, consumer: str | None = None) -> int:
        """Throw away all letters up to a sequence, or those of one consumer; how many they were.

        Raises `Unavailable`.
        """
        subject = f"{self._root}.{consumer}" if consumer else f"{self._root}.>"
        answer = await call(
            self._link.requests,
            f"STREAM.PURGE.{self._stream}",
            {"filter": subject, "seq": up_to + 1},
            timeout=self._timeout,
        )
        return int(answer["purged"])

    def _read(self, message: StoredMessage) -> StoredLetter:
        headers = message.headers
        return StoredLetter(
            sequence=message.sequence,
            time=datetime.fromisoformat(headers[TIME]).astimezone(UTC),
            cut_from=_number(headers, CUT),
            headers_cut_from=_number(headers, HEADERS_CUT),
            letter=DeadLetter(
                consumer=message.subject.removeprefix(f"{self._root}."),
                subject=headers.get(SUBJECT, ""),
                headers=original_headers(headers),
                data=message.data,
                code=headers.get(CODE, ""),
                reason=headers.get(REASON, ""),
                sequence=_number(headers, SEQUENCE) or 0,
                deliveries=_number(headers, DELIVERIES) or 1,
            ),
        )


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _no_letter(sequence: int) -> NotFound:
    return NotFound(
        f"there is no dead letter {sequence}: it was replayed or discarded, or never was",
        details={"sequence": sequence},
    )

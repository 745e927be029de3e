"""Direct gets: reading stored messages without a consumer.

Any replica answers, so what comes may be a little behind; whoever reads must check that it is
complete. Never with a wildcard: that scans the stream and stalls its writers.
"""

from collections.abc import Callable, Mapping

import orjson
from attrs import define, frozen
from nats.aio.msg import Msg

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.nats.connection.requests import Requests

PAGE = 1000
"""So many messages are asked for at once: more could make the server drop a slow connection."""

PAGE_BYTES = 4 * 1024 * 1024
"""So many bytes are asked for at once: what others want of the connection comes in between."""


_SUBJECT = b"\r\nNats-Subject: "
_SEQUENCE = b"\r\nNats-Sequence: "


@frozen
class StoredMessage:
    """A message as the stream holds it."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    data: bytes


async def get_by_subject(
    requests: Requests,
    stream: str,
    subject: str,
    *,
    start: int,
    limit: int,
    timeout: float,  # noqa: ASYNC109
) -> list[StoredMessage]:
    """Up to `limit` messages of one exact subject, from sequence `start` on.

    `timeout` is how many seconds may pass without a message. Raises `NoAnswer`, and `Unavailable`
    where the server answers something else than messages.
    """
    found: list[StoredMessage] = []
    await take_by_subject(
        requests, stream, subject, found.append, start=start, limit=limit, timeout=timeout
    )
    return found


async def take_by_subject(
    requests: Requests,
    stream: str,
    subject: str,
    take: Callable[[StoredMessage], object],
    *,
    start: int,
    limit: int,
    timeout: float,  # noqa: ASYNC109
) -> None:
    """The same, each message being taken when it comes: while the server reads the next ones."""
    wanted = {"next_by_subj": subject}
    more = True
    while more and limit > 0:
        page = _Page(take)
        more = await page.fetch(requests, stream, wanted, start, limit, timeout)
        start, limit = page.last + 1, limit - page.taken


async def get_range(
    requests: Requests,
    stream: str,
    *,
    start: int,
    limit: int,
    timeout: float,  # noqa: ASYNC109
) -> list[StoredMessage]:
    """A page of messages of any subject, from sequence `start` on: `limit` or `PAGE` messages at
    most, and not much more than `PAGE_BYTES`. Raises as the other does.
    """
    found: list[StoredMessage] = []
    await _Page(found.append).fetch(requests, stream, {}, start, limit, timeout)
    return found


@define
class _Page:
    """What one request brings."""

    _take: Callable[[StoredMessage], object]
    taken: int = 0
    last: int = 0
    """The sequence of the last message."""

    async def fetch(
        self,
        requests: Requests,
        stream: str,
        what: dict[str, str],
        start: int,
        limit: int,
        timeout: float,  # noqa: ASYNC109
    ) -> bool:
        """Ask, and take what comes; whether the stream has more behind it."""
        request = {**what, "seq": start, "batch": min(PAGE, limit), "max_bytes": PAGE_BYTES}
        *_, end = await requests.many(
            f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(request), self._is_end, timeout=timeout
        )
        headers = end.headers or {}
        status = headers.get("Status")
        if status not in {"204", "404"}:
            raise Unavailable(
                f"the stream {stream} could not be read: {status} {headers.get('Description', '')}"
            )
        return status == "204" and bool(self.taken) and headers.get("Nats-Num-Pending") != "0"

    def _is_end(self, message: Msg) -> bool:
        if _ends(message):
            return True
        stored = _stored(message)
        self._take(stored)
        self.taken += 1
        self.last = stored.sequence
        return False


def _ends(message: Msg) -> bool:
    # Whatever headers a message was stored with, the server adds its place.
    headers = message.headers or {}
    if isinstance(headers, LazyHeaders):
        return _SEQUENCE not in headers.lines
    return "Nats-Sequence" not in headers


def _stored(message: Msg) -> StoredMessage:
    headers: Mapping[str, str] = message.headers or {}
    if isinstance(headers, LazyHeaders):
        subject, sequence = _place(headers.lines)
    else:
        subject, sequence = headers["Nats-Subject"], headers["Nats-Sequence"]
    return StoredMessage(subject, int(sequence), headers, message.data)


def _place(lines: bytes) -> tuple[str, str]:
    """Subject and sequence: the last of their names are the server's own, behind all else."""
    subject, sequence = lines.rindex(_SUBJECT), lines.rindex(_SEQUENCE)
    return (
        lines[subject + len(_SUBJECT) : lines.index(b"\r", subject + 2)].decode(),
        lines[sequence + len(_SEQUENCE) : lines.index(b"\r", sequence + 2)].decode(),
    )

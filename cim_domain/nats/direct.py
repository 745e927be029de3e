"""Direct gets: reading stored messages without a consumer.

Any replica answers, so what comes may be a little behind; whoever reads must check that it is
complete. Never with a wildcard: that scans the stream and stalls its writers.
"""

import orjson
from attrs import frozen
from nats.aio.msg import Msg

from cim_domain.errors import Unavailable
from cim_domain.nats.requests import Requests

PAGE = 1000
"""So many messages are asked for at once: more could make the server drop a slow connection."""

PAGE_BYTES = 16 * 1024 * 1024


@frozen
class StoredMessage:
    """A message as the stream holds it."""

    subject: str
    sequence: int
    headers: dict[str, str]
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

    `timeout` is in seconds, for each page. Raises `NoAnswer`, and `Unavailable` where the server
    answers something else than messages.
    """
    return await _get(requests, stream, {"next_by_subj": subject}, start, limit, timeout)


async def get_range(
    requests: Requests,
    stream: str,
    *,
    start: int,
    limit: int,
    timeout: float,  # noqa: ASYNC109
) -> list[StoredMessage]:
    """Up to `limit` messages of any subject, from sequence `start` on; raises as the other does."""
    return await _get(requests, stream, {}, start, limit, timeout)


async def _get(
    requests: Requests,
    stream: str,
    what: dict[str, str],
    start: int,
    limit: int,
    timeout: float,  # noqa: ASYNC109
) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    while len(found) < limit:
        request = {
            **what,
            "seq": start,
            "batch": min(PAGE, limit - len(found)),
            "max_bytes": PAGE_BYTES,
        }
        replies = await requests.many(
            f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(request), _ends, timeout=timeout
        )
        end = replies.pop()
        found.extend(_stored(reply) for reply in replies)
        headers = end.headers or {}
        if headers.get("Status") == "404":
            break
        if headers.get("Status") != "204":
            raise Unavailable(
                f"the stream {stream} could not be read:"
                f" {headers.get('Status')} {headers.get('Description', '')}"
            )
        if headers.get("Nats-Num-Pending") == "0" or not replies:
            break
        start = found[-1].sequence + 1
    return found


def _ends(message: Msg) -> bool:
    return "Status" in (message.headers or {})


def _stored(message: Msg) -> StoredMessage:
    headers = message.headers or {}
    return StoredMessage(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        headers=headers,
        data=message.data,
    )

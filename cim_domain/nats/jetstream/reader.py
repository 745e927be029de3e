"""Reading a stream in order, from behind a sequence and on as it grows.

The reader has a pull consumer of its own, not acknowledged and in the server's memory: it knows
itself how far it is. When the consumer is gone, the connection was lost or a message is missing,
it goes on with a new consumer from where it is.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

import nats.errors
from attrs import frozen
from nats.aio.msg import Msg

from cim_domain.backoff import Backoff
from cim_domain.errors import Unavailable
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import NANOSECONDS, ApiError, call
from cim_domain.nats.jetstream.delivery import read_delivery
from cim_domain.nats.jetstream.pull import HEARTBEAT, Pull

logger = logging.getLogger(__name__)

PULL = 4000
"""So many messages are under way or waiting here at most."""

PULL_BYTES = 16 * 1024 * 1024
"""So many bytes are waiting here when more is asked for, and may come for one pull, of which two
can be under way. Together with `PULL` the bound on memory.
"""

SLICE = 1000
"""So many messages are handed out at once, at most."""

_RETRY = Backoff(first_delay=0.05, ceiling=2)


@frozen
class StreamMessage:
    """A message as a consumer delivers it, with its place in the stream."""

    sequence: int
    message: Msg


@frozen
class StreamSlice:
    """Messages in order. `head` is the stream's last sequence as far as the reader knows."""

    messages: tuple[StreamMessage, ...]
    head: int


async def follow_stream(
    link: Link,
    stream: str,
    after: int,
    *,
    heartbeat: float = HEARTBEAT,
    headers_only: bool = False,
    interrupted: Callable[[], None] = lambda: None,
) -> AsyncGenerator[StreamSlice, None]:
    """The stream from behind sequence `after`, in slices, for ever.

    The first is empty, and so is the first of each consumer with which it goes on.

    `heartbeat` is in seconds, see `HEARTBEAT`. With `headers_only` payloads are left out. While the
    server is away it waits; `interrupted` is called before it goes on with another consumer.

    Raises `ApiError` where the server refuses the consumer, and `Unavailable` once the connection
    is closed for good.
    """
    position = after
    attempt = 0
    while True:
        try:
            async with _pull(link, stream, position, heartbeat, headers_only) as pull:
                yield StreamSlice((), await _head(link, stream))
                async with aclosing(_slices(pull)) as slices:
                    async for part in slices:
                        attempt = 0
                        position = part.messages[-1].sequence
                        yield part
        except (Unavailable, nats.errors.Error) as error:
            if link.client.is_closed:
                raise Unavailable("the connection was closed", code="closed") from error
            logger.debug("reading %s behind %d: %s", stream, position, error)
        except ApiError as error:
            if error.status_code < 500:
                raise
            logger.warning("reading %s behind %d: %s", stream, position, error)
        interrupted()
        await asyncio.sleep(_RETRY.delay(attempt, 0.5))
        attempt += 1


async def _head(link: Link, stream: str) -> int:
    info = await call(link.requests, f"STREAM.INFO.{stream}")
    return int(info["state"]["last_seq"])


@asynccontextmanager
async def _pull(
    link: Link,
    stream: str,
    after: int,
    heartbeat: float,
    headers_only: bool,  # noqa: FBT001
) -> AsyncIterator[Pull]:
    """Pull from behind a sequence, by a consumer that ends with it."""
    if not link.connected:
        raise Unavailable("there is no connection to the server")
    name = f"reader-{uuid4().hex}"
    pull = Pull(
        link, stream, name, PULL, lambda: 0, heartbeat, max_bytes=PULL_BYTES, ephemeral=True
    )
    async with pull:
        await call(
            link.requests,
            f"CONSUMER.CREATE.{stream}.{name}",
            {
                "stream_name": stream,
                "config": {
                    "name": name,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": after + 1,
                    "ack_policy": "none",
                    "replay_policy": "instant",
                    "headers_only": headers_only,
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": int(60 * NANOSECONDS),
                },
            },
        )
        yield pull


async def _slices(pull: Pull) -> AsyncGenerator[StreamSlice, None]:
    """What arrives, in slices; ends where the consumer cannot go on or has left one out."""
    delivered = 0
    while taken := await pull.take(SLICE):
        messages: list[StreamMessage] = []
        head = 0
        for message in taken:
            place = read_delivery(message)
            if place.consumer_sequence != delivered + 1:
                break
            delivered = place.consumer_sequence
            head = place.sequence + place.pending
            messages.append(StreamMessage(place.sequence, message))
        if messages:
            yield StreamSlice(tuple(messages), head)
        if len(messages) < len(taken):
            return

"""Reading a stream in order, from behind a sequence and on as it grows.

The reader has a pull consumer of its own, not acknowledged and in the server's memory: it knows
itself how far it is. Large pulls with a callback are the fastest way that nats-py has. When the
consumer is gone, the connection was lost or a message is missing, it goes on with a new consumer
from where it is.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from uuid import uuid4

import nats.errors
import orjson
from attrs import frozen
from nats.aio.msg import Msg

from cim_domain.errors import Unavailable
from cim_domain.nats.config.backoff import Backoff
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import NANOSECONDS, ApiError, call

logger = logging.getLogger(__name__)

PULL = 4000
"""So many messages are under way or waiting here at most."""

PULL_BYTES = 16 * 1024 * 1024
"""So many bytes are waiting here when more is asked for, and may come for one pull, of which two
can be under way. Together with `PULL` the bound on memory.
"""

SLICE = 1000
"""So many messages are handed out at once, at most."""

HEARTBEAT = 5.0
"""Seconds after which the server says that there is nothing; twice as long without is a fault."""

PULL_IS_FULL = "Message Size Exceeds MaxBytes"
"""What the server says, with status 409, when a pull's bytes do not hold the next message."""

_EXPIRES = 30.0
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
) -> AsyncGenerator[StreamSlice, None]:
    """The stream from behind sequence `after`, in slices, for ever; the first is empty.

    `heartbeat` is in seconds, see `HEARTBEAT`. With `headers_only` payloads are left out. While the
    server is away it waits. Raises `ApiError` where the server refuses the consumer, and
    `Unavailable` once the connection is closed for good.
    """
    position = after
    attempt = 0
    announced = False
    while True:
        try:
            async with _consumer(link, stream, position, heartbeat, headers_only) as consumer:
                if not announced:
                    head = await _head(link, stream)
                    announced = True
                    yield StreamSlice((), head)
                async with aclosing(consumer.slices()) as slices:
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
        await asyncio.sleep(_RETRY.delay(attempt, 0.5))
        attempt += 1


async def _head(link: Link, stream: str) -> int:
    info = await call(link.requests, f"STREAM.INFO.{stream}")
    return int(info["state"]["last_seq"])


@asynccontextmanager
async def _consumer(
    link: Link,
    stream: str,
    after: int,
    heartbeat: float,
    headers_only: bool,  # noqa: FBT001
) -> AsyncIterator["_Consumer"]:
    if not link.connected:
        raise Unavailable("there is no connection to the server")
    name = f"reader-{uuid4().hex}"
    consumer = _Consumer(link, stream, name, after, heartbeat)
    subscription = await link.client.listen(consumer.inbox, consumer.receive)
    stop_listening = link.listen(consumer.connection_changed)
    try:
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
        yield consumer
    finally:
        stop_listening()
        # Away or closing, the server forgets an unused consumer by itself.
        with suppress(nats.errors.Error, Unavailable, ApiError):
            await subscription.unsubscribe()
            if link.connected:
                await call(link.requests, f"CONSUMER.DELETE.{stream}.{name}", timeout=2.0)


class _Consumer:
    """One consumer, read until something is wrong with it."""

    def __init__(self, link: Link, stream: str, name: str, after: int, heartbeat: float) -> None:
        self.inbox = link.client.new_inbox()
        self._link = link
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._heartbeat = heartbeat
        self._buffer: deque[StreamMessage] = deque()
        self._buffered_bytes = 0
        self._head = after
        self._asked = 0
        self._delivered = 0
        self._broken = False
        self._heard = asyncio.Event()

    async def slices(self) -> AsyncGenerator[StreamSlice, None]:
        """What arrives, in slices; ends when this consumer cannot go on."""
        while True:
            await self._ask()
            while not self._buffer:
                if self._broken:
                    return
                self._heard.clear()
                try:
                    async with asyncio.timeout(2.2 * self._heartbeat):
                        await self._heard.wait()
                except TimeoutError:
                    return
                await self._ask()
            size = min(SLICE, len(self._buffer))
            messages = tuple(self._buffer.popleft() for _ in range(size))
            self._buffered_bytes -= sum(_size(one.message) for one in messages)
            yield StreamSlice(messages, max(self._head, messages[-1].sequence))

    def receive(self, message: Msg) -> None:
        """Take in what the server sends."""
        if not message.reply:
            self._take_status(message)
        elif not self._broken:
            self._take_message(message)
        self._heard.set()

    def connection_changed(self, change: ConnectionChange) -> None:
        """Give up after a reconnection: a server that was restarted has forgotten the pull."""
        if change in {ConnectionChange.RECONNECTED, ConnectionChange.CLOSED}:
            self._broken = True
            self._heard.set()

    async def _ask(self) -> None:
        room = PULL - self._asked - len(self._buffer)
        if room < PULL // 2 or self._buffered_bytes > PULL_BYTES or self._broken:
            return
        self._asked += room
        request = {
            "batch": room,
            "max_bytes": max(PULL_BYTES, 2 * self._link.client.max_payload),
            "expires": int(_EXPIRES * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * NANOSECONDS),
        }
        self._link.client.send(self._next_subject, orjson.dumps(request), self.inbox)

    def _take_message(self, message: Msg) -> None:
        # $JS.ACK.stream.consumer.deliveries.sequence.delivered.time.pending, or the newer form
        # with domain and account in front and a token of chance behind.
        tokens = message.reply.split(".")
        place = 5 if len(tokens) == 9 else 7
        sequence, delivered, pending = (
            int(tokens[place]),
            int(tokens[place + 1]),
            int(tokens[place + 3]),
        )
        if delivered != self._delivered + 1:
            self._broken = True
            return
        self._delivered = delivered
        self._asked -= 1
        self._head = sequence + pending
        self._buffered_bytes += _size(message)
        self._buffer.append(StreamMessage(sequence, message))

    def _take_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "408" or headers.get("Description") == PULL_IS_FULL:
            self._asked -= int(headers.get("Nats-Pending-Messages", "0"))
        elif status != "100":
            self._broken = True


def _size(message: Msg) -> int:
    """Bytes, roughly: headers are kept as text already taken apart."""
    return len(message.data) + 1000

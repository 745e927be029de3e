"""Filling a stream: by a fast-ingest batch, written straight to the server's socket.

nats-py takes most of a minute for what goes in here in twenty seconds, and a log of a million
events is of interest only once it is there.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from benchmarks.histories import Histories, StreamMessage
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.streams import StreamDefinition, ensure_stream
from cim_domain.store.jetstream import event_stream

FLOW = 500
"""So many messages the server acknowledges at a time."""

AHEAD = 8
"""So many times as many may be under way."""

_START, _APPEND, _COMMIT = 0, 1, 2
_HELLO = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


class FillingFailed(Exception):
    """The server did not take what was to fill the stream."""


async def fill(url: str, histories: Histories) -> None:
    """Make the event stream and put the histories into it, which it must be empty for."""
    definition = event_stream(histories.subjects)
    stream = StreamDefinition(definition.name, {**definition.config, "allow_batched": True})
    link = await Link.open(load_settings(), name="filling", url=url)
    try:
        await ensure_stream(link.requests, stream)
    finally:
        await link.drain()
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        ingest = _Ingest(reader, writer, histories.events)
        await ingest.send(histories.messages())
    finally:
        writer.close()
        await writer.wait_closed()


class _Ingest:
    """One batch. What it is told goes in the subjects that replies are asked for on."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._count = count
        self._inbox = f"_INBOX.{uuid4().hex}"
        self._reply = f"{self._inbox}.{uuid4().hex}.{FLOW}.fail".encode()
        self._acknowledged = 0

    async def send(self, messages: Iterable[StreamMessage]) -> None:
        """Send all of them; returns once all are stored."""
        self._writer.write(_HELLO + f"SUB {self._inbox}.> 1\r\n".encode())
        left = iter(messages)
        sent = 0
        while part := list(islice(left, FLOW)):
            self._writer.write(b"".join(self._wire(sent + n, one) for n, one in enumerate(part, 1)))
            sent += len(part)
            await self._writer.drain()
            while self._acknowledged < min(sent - AHEAD * FLOW, self._count):
                await self._take_in()
        while self._acknowledged < self._count:
            await self._take_in()

    def _wire(self, number: int, message: StreamMessage) -> bytes:
        operation = _START if number == 1 else _COMMIT if number == self._count else _APPEND
        return b"HPUB %b %b.%d.%d.$FI %d %d\r\n%b%b\r\n" % (
            message.subject,
            self._reply,
            number,
            operation,
            len(message.headers),
            len(message.headers) + len(message.data),
            message.headers,
            message.data,
        )

    async def _take_in(self) -> None:
        line = await self._reader.readline()
        if line.startswith(b"PING"):
            self._writer.write(b"PONG\r\n")
        elif line.startswith(b"MSG"):
            size = int(line.split()[-1])
            self._take_answer(orjson.loads((await self._reader.readexactly(size + 2))[:-2]))
        elif not line.startswith((b"INFO", b"PONG")):
            raise FillingFailed(f"the server said {line[:200]!r}")

    def _take_answer(self, answer: dict[str, object]) -> None:
        if "error" in answer or answer.get("type") == "err":
            raise FillingFailed(f"the server said {answer}")
        done = answer.get("count", answer.get("seq", 0))
        self._acknowledged = max(self._acknowledged, int(str(done)))
        if "stream" in answer and self._acknowledged != self._count:
            raise FillingFailed(f"{self._acknowledged} of {self._count} events were stored")

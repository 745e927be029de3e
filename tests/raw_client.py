"""A client that speaks the protocol itself: it sends what no client library would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from uuid import uuid4

from attrs import define, field


def block(*lines: bytes) -> bytes:
    """Headers, of which each line is as it is given."""
    return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@define
class Reply:
    """One message as it came over the wire."""

    subject: bytes
    headers: bytes
    data: bytes


@define
class RawClient:
    """Speaks the protocol itself, so that nothing stands in its way."""

    root: str
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _inbox: str = field(factory=lambda: f"in.{uuid4().hex}")
    _asked: int = 0
    extra: list[Reply] = field(factory=list)

    def publish(
        self, subject: bytes, data: bytes, *, reply: bytes = b"", headers: bytes | None = None
    ) -> None:
        if headers is None:
            line = b"PUB %s %s %d\r\n" % (subject, reply, len(data))
        else:
            size = len(headers)
            line = b"HPUB %s %s %d %d\r\n" % (subject, reply, size, size + len(data))
        self._writer.write(line + (headers or b"") + data + b"\r\n")

    async def ask(self, subject: bytes, data: bytes, headers: bytes | None = None) -> Reply:
        """The one reply to a request; a second one, to this or an earlier request, is `extra`."""
        self._asked += 1
        inbox = f"{self._inbox}.{self._asked}".encode()
        self.publish(self.root.encode() + b"." + subject, data, reply=inbox, headers=headers)
        while (reply := await self._message()).subject != inbox:
            self.extra.append(reply)
        return reply

    async def settled(self) -> None:
        """Return once the service has answered all that was sent before, and only once."""
        await self.ask(b"query.flake.list", b"{}")
        await self.ask(b"cmd.flake.settle", b"{}")
        assert self.extra == []

    async def start(self) -> None:
        assert (await self._reader.readline()).startswith(b"INFO")
        self._writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        self._writer.write(f"SUB {self._inbox}.* 1\r\n".encode())

    async def _message(self) -> Reply:
        while True:
            async with asyncio.timeout(5):
                verb, *words = (await self._reader.readline()).split()
            if verb == b"PING":
                self._writer.write(b"PONG\r\n")
            elif verb in {b"MSG", b"HMSG"}:
                content = await self._reader.readexactly(int(words[-1]) + 2)
                size = int(words[-2]) if verb == b"HMSG" else 0
                return Reply(words[0], content[:size], content[size:-2])
            else:
                raise AssertionError((verb, words))


@asynccontextmanager
async def raw_client(url: str, root: str) -> AsyncIterator[RawClient]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 22)
    client = RawClient(root, reader, writer)
    await client.start()
    yield client
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()

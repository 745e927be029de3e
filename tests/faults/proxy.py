"""A wire between client and server that can be cut, held, or have nobody at its end."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from attrs import define, field


@define(eq=False)
class Proxy:
    """Passes TCP connections on to a port of this machine."""

    target: int
    port: int = 0
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(factory=set)
    _flowing: asyncio.Event = field(factory=asyncio.Event)

    async def listen(self) -> None:
        """Take connections, always on the same port."""
        self._flowing.set()
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no connections, and end those there are, until `listen`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut(1.0)

    async def cut(self, share: float, draw: random.Random | None = None) -> None:
        """End this share of the connections, in the middle of whatever they carry."""
        chance = draw or random.Random(0)
        doomed = [one for one in self._connections if chance.random() < share]
        for one in doomed:
            one.cancel()
        if doomed:
            await asyncio.wait(doomed)

    def hold(self) -> None:
        """Keep the connections and pass nothing on, until `release`: a cable that is pulled."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass everything on again, also what came meanwhile."""
        self._flowing.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
            ends.append(to_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, to_writer)),
                asyncio.create_task(self._pump(to_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
        except (OSError, asyncio.CancelledError):
            # The other side is away, or this connection is cut: nothing more comes of it.
            pass
        finally:
            self._connections.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy that listens until the end of the block."""
    proxy = Proxy(port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        proxy.release()
        await proxy.refuse()

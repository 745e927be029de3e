"""A stand-in for PgBouncer in transaction mode: every transaction has another session of few.

It is stricter: sessions take turns, and each is emptied after a transaction (`DISCARD ALL`). Like
PgBouncer, it refuses what it does not know at the start of a connection.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PORT = 6432
CANCEL, SSL, GSS = 80877102, 80877103, 80877104
KNOWN = {"user", "database", "client_encoding", "application_name", "datestyle", "timezone"}


class Session:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""
        self.key = b""

    @classmethod
    async def open(cls, socket: Path, parameters: dict[str, str]) -> "Session":
        one = cls(*await asyncio.open_unix_connection(str(socket)))
        pairs = "".join(f"{name}\0{value}\0" for name, value in parameters.items())
        body = struct.pack("!i", 196608) + pairs.encode() + b"\0"
        one.writer.write(struct.pack("!i", len(body) + 4) + body)
        kind = b""
        while kind != b"Z":
            kind, message = await read(one.reader)
            one.greeting += message
            if kind == b"E":
                break
            if kind == b"K":
                one.key = message[5:]
        return one

    async def empty(self) -> None:
        self.writer.write(b"Q" + struct.pack("!i", 16) + b"DISCARD ALL\0")
        while (await read(self.reader))[0] != b"Z":
            pass


class Pooler:
    """Listens beside a server's socket; `sessions` are shared by all clients of one database."""

    def __init__(self, directory: Path, sessions: int) -> None:
        self._directory = directory
        self._size = sessions
        self._idle: dict[str, asyncio.Queue[Session]] = {}
        self._serving: dict[bytes, Session] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self.transactions = 0

    @property
    def _server(self) -> Path:
        return self._directory / ".s.PGSQL.5432"

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        path = str(self._directory / f".s.PGSQL.{PORT}")
        listener = await asyncio.start_unix_server(self._client, path)
        ready.set()
        async with listener:
            await end.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            closing = (writer.wait_closed() for writer in self._writers)
            await asyncio.gather(*closing, return_exceptions=True)

    async def open(self, parameters: dict[str, str]) -> Session:
        session = await Session.open(self._server, parameters)
        self._writers.add(session.writer)
        return session

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            parameters = await self._greet(reader, writer)
            if parameters is not None:
                await Client(self, reader, writer, parameters).run()
        writer.close()

    async def _greet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> dict[str, str] | None:
        while True:
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code in {SSL, GSS}:
                writer.write(b"N")
                continue
            if code == CANCEL:
                if (session := self._serving.get(body[4:])) is not None:
                    _, server = await asyncio.open_unix_connection(str(self._server))
                    self._writers.add(server)
                    server.write(struct.pack("!ii", 8 + len(session.key), CANCEL) + session.key)
                    await server.drain()
                    server.close()
                return None
            parts = body[4:].decode().split("\0")
            parameters = dict(zip(parts[::2], parts[1::2], strict=False))
            parameters.pop("", None)
            if unknown := parameters.keys() - KNOWN:
                fields = f"SFATAL\0C08P01\0Munsupported startup parameter: {unknown}\0\0".encode()
                writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
                return None
            return parameters

    async def take(self, parameters: dict[str, str]) -> Session:
        database = parameters["database"]
        if database not in self._idle:
            idle: asyncio.Queue[Session] = asyncio.Queue()
            self._idle[database] = idle
            for _ in range(self._size):
                idle.put_nowait(await self.open(parameters))
        return await self._idle[database].get()

    async def give_back(self, parameters: dict[str, str], session: Session) -> None:
        self.transactions += 1
        await session.empty()
        self._idle[parameters["database"]].put_nowait(session)

    def serves(self, key: bytes, session: Session | None) -> None:
        if session is None:
            self._serving.pop(key, None)
        else:
            self._serving[key] = session


class Client:
    """A connection of a client, with a session while it is in a transaction."""

    def __init__(
        self,
        pooler: Pooler,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        parameters: dict[str, str],
    ) -> None:
        self._pooler = pooler
        self._reader = reader
        self._writer = writer
        self._parameters = parameters
        self._session: Session | None = None
        self._key = b""
        self._awaited = 0
        self._unsynced = False
        self._relaying: asyncio.Task[None] | None = None

    async def run(self) -> None:
        # Its own, only to greet as the server does.
        greeter = await self._pooler.open(self._parameters)
        greeter.writer.close()
        self._writer.write(greeter.greeting)
        self._key = greeter.key
        try:
            while True:
                kind, message = await read(self._reader)
                if kind == b"X":
                    return
                if self._session is None:
                    self._session = await self._pooler.take(self._parameters)
                    self._pooler.serves(self._key, self._session)
                    self._relaying = asyncio.create_task(self._relay(self._session))
                self._unsynced = kind not in {b"Q", b"S"}
                self._awaited += not self._unsynced
                self._session.writer.write(message)
        finally:
            if self._relaying is not None and self._session is not None:
                # In the middle of a transaction: the session is of no use any more.
                self._relaying.cancel()
                self._session.writer.close()
                replacement = await self._pooler.open(self._parameters)
                await self._pooler.give_back(self._parameters, replacement)

    async def _relay(self, session: Session) -> None:
        while True:
            kind, message = await read(session.reader)
            self._writer.write(message)
            if kind != b"Z":
                continue
            self._awaited -= 1
            if message[5:] == b"I" and self._awaited == 0 and not self._unsynced:
                self._session = None
                self._pooler.serves(self._key, None)
                await self._pooler.give_back(self._parameters, session)
                return


async def read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The kind of the next message, and all of it."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


@contextmanager
def pooling(directory: Path, sessions: int = 2) -> Iterator[Pooler]:
    """A pooler in a thread, at `PORT` in the directory of the server's socket."""
    pooler, ready = Pooler(directory, sessions), threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        loops.append((asyncio.get_running_loop(), end))
        await pooler.serve(ready, end)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield pooler
    loop, end = loops[0]
    loop.call_soon_threadsafe(end.set)
    thread.join(10)

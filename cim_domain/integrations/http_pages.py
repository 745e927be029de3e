"""A few pages over HTTP, for those who watch a process: in one thread, whoever asks how slowly.

Whoever says nothing, or does not read what he is told, holds a connection for some seconds, and no
thread. Beyond so many connections further ones are closed at once.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus

from attrs import define, field, frozen

logger = logging.getLogger("cim_domain.integrations")

CONNECTIONS = 128
"""So many at a time."""

SECONDS = 5.0
"""For one request and its answer, all in all."""

_REQUEST = 16 * 1024
"""Bytes of a request with its headers."""


@frozen
class Page:
    """What is answered."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]
"""What makes each page, by its path; called in the thread of the pages."""


@contextmanager
def http_pages(host: str, port: int, pages: Pages) -> Iterator[int]:
    """Answer at ``http://HOST:PORT/…``, port 0 for any; gives the port. Other paths are not found.

    Raises `OSError` where the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(_Answering(pages), sock=listening, limit=_REQUEST)
        async with server:
            await ended.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="cim-http", daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@define(eq=False)
class _Answering:
    """Answers one connection after the other, each once."""

    _pages: Pages
    _open: int = field(default=0, init=False)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                async with asyncio.timeout(SECONDS):
                    await self._answer(reader, writer)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except asyncio.LimitOverrunError:
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        page = self._page(method, target.partition("?")[0])
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Connection: close",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if method != "HEAD":
            writer.write(page.body)
        await writer.drain()
        # Until it is read: what is still in the buffer counts as well.
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _page(self, method: str, path: str) -> Page:
        make = self._pages.get(path)
        if make is None:
            return _told(HTTPStatus.NOT_FOUND)
        if method not in {"GET", "HEAD"}:
            return _told(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return make()
        except Exception:
            logger.exception("the page %s could not be made", path)
            return _told(HTTPStatus.INTERNAL_SERVER_ERROR)


def _told(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n".encode(), status)

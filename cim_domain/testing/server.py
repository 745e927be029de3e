"""A real nats-server that is there for a test and gone after it.

    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)

Starting one takes about a third of a second, so tests may want to share one: `server_in_thread`
runs it outside of any test's event loop, for a session-wide fixture:

    @pytest.fixture(scope="session")
    def nats_url():
        with server_in_thread() as url:
            yield url
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cim_domain.nats.server import EmbeddedServer, ServerOptions


@asynccontextmanager
async def throwaway_server(**options: Any) -> AsyncIterator[EmbeddedServer]:
    """A server with JetStream on a free loopback port, its data in a directory of its own.

    `options` are those of `ServerOptions`. Unless they say otherwise the server does not wait for
    the disk: what a crash of the machine could lose is of no interest here. One that dies is
    started again at once, on the same port.
    """
    with TemporaryDirectory(prefix="cim-domain-", ignore_cleanup_errors=True) as directory:
        data = Path(directory) / "data"
        settings = {"data_directory": data, "port": 0, "sync_always": False, **options}
        async with EmbeddedServer(ServerOptions(**settings)) as server:
            yield server


@contextmanager
def server_in_thread(**options: Any) -> Iterator[str]:
    """The URL of a `throwaway_server` that lives in a thread of its own, until the block ends."""
    started: Future[str] = Future()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def live() -> None:
        try:
            async with throwaway_server(**options) as server:
                started.set_result(server.url)
                await ended.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    # The kernel ends the server with the thread that started it: it must be this one.
    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    thread = threading.Thread(target=run, name="nats-server")
    thread.start()
    try:
        yield started.result()
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(ended.set)
        thread.join()

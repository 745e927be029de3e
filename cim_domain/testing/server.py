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
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from cim_domain.nats.server.embedded import EmbeddedServer, RestartPolicy, ServerOptions

T = TypeVar("T")


@asynccontextmanager
async def throwaway_server(**options: Any) -> AsyncIterator[EmbeddedServer]:
    """A server with JetStream on a free loopback port, its data in a directory of its own.

    `options` are those of `ServerOptions`. Unless they say otherwise the server does not wait for
    the disk: what a crash of the machine could lose is of no interest here. One that dies is
    started again at once and as often as need be, on the same port.
    """
    with TemporaryDirectory(prefix="cim-domain-", ignore_cleanup_errors=True) as directory:
        data = Path(directory) / "data"
        settings = {
            "data_directory": data,
            "port": 0,
            "sync_always": False,
            "restart": RestartPolicy(attempts=1000, first_delay=0.05, longest_delay=0.05),
            **options,
        }
        async with EmbeddedServer(ServerOptions(**settings)) as server:
            yield server


@contextmanager
def frozen(server: EmbeddedServer) -> Iterator[None]:
    """The server does nothing until the block ends: there, but silent."""
    pid = server.pid
    if pid is None:
        raise ValueError("the server does not run")
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def crash(server: EmbeddedServer) -> None:
    """The server dies as in a crash of its process, and is started again on the same port."""
    if server.pid is None:
        raise ValueError("the server does not run")
    os.kill(server.pid, signal.SIGKILL)


@contextmanager
def server_in_thread(**options: Any) -> Iterator[str]:
    """The URL of a `throwaway_server` that lives in a thread of its own, until the block ends."""
    with in_thread(lambda: throwaway_server(**options)) as server:
        yield server.url


@contextmanager
def in_thread(servers: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """What `servers` starts, living in a thread of its own until the block ends."""
    started: Future[T] = Future()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def live() -> None:
        try:
            async with servers() as running:
                started.set_result(running)
                await ended.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    # The kernel ends a server with the thread that started it: it must be this one.
    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    thread = threading.Thread(target=run, name="nats-server")
    thread.start()
    try:
        running = started.result()
        try:
            yield running
        finally:
            loop.call_soon_threadsafe(ended.set)
    finally:
        thread.join()

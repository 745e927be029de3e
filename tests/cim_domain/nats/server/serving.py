"""Embedded servers, those who own them, and what is seen of them from outside."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cim_domain.nats.server.embedded import ServerOptions, ServerStatus
from cim_domain.nats.server.process import is_running

OWNER = """
import asyncio, sys
from pathlib import Path
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions

async def main():
    async with EmbeddedServer(ServerOptions(data_directory=Path(sys.argv[1]), port=0)) as server:
        print(server.pid, server.url, flush=True)
        await asyncio.Event().wait()

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


class Statuses:
    """Every status an embedded server went through, to be waited for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ServerStatus] = asyncio.Queue()

    def __call__(self, status: ServerStatus) -> None:
        self._queue.put_nowait(status)

    async def until(self, state: str) -> ServerStatus:
        async with asyncio.timeout(20):
            while (status := await self._queue.get()).state != state:
                pass
        return status


async def info(url: str) -> dict[str, Any]:
    """What the server at this URL says first."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(5):
            line = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    word, _, text = line.partition(b" ")
    assert word == b"INFO"
    answer: dict[str, Any] = json.loads(text)
    return answer


async def has_ended(pid: int) -> None:
    """Wait until the process has ended, whosever child it is."""
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def servers_of(directory: Path) -> list[int]:
    config = str(directory / "nats-server.conf")
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if is_running(pid, config)]


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


@asynccontextmanager
async def owner_process(
    directory: Path, loop: str = "asyncio"
) -> AsyncIterator[tuple[Process, int, str]]:
    """Another process that owns a server: the owner, the server's pid and URL."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(directory), loop, stdout=PIPE
    )
    server = None
    try:
        assert owner.stdout is not None
        pid, url = (await asyncio.wait_for(owner.stdout.readline(), 20)).decode().split()
        server = int(pid)
        yield owner, server, url
    finally:
        if owner.returncode is None:
            owner.kill()
        await owner.communicate()
        if server and is_running(server, str(directory / "nats-server.conf")):
            with suppress(ProcessLookupError):  # it may end by itself in between
                os.kill(server, signal.SIGKILL)


def options(data: Path, **changes: Any) -> ServerOptions:
    return ServerOptions(**{"data_directory": data, "port": 0, **changes})

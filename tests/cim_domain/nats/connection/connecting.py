"""Connecting to real servers, and what becomes of a connection, for the tests of clients."""

import asyncio
import socket
from pathlib import Path

import pytest

from cim_domain.errors import Unavailable
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.connect import (
    ConnectionChange,
    ConnectionEvent,
    connect,
    round_trip,
)

SECRET = "hunter2hunter2"


class Events:
    """Collects a connection's events, and waits for one."""

    def __init__(self) -> None:
        self.seen: list[ConnectionEvent] = []
        self._news = asyncio.Condition()

    def __call__(self, event: ConnectionEvent) -> None:
        self.seen.append(event)
        self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def wait_for(
        self, change: ConnectionChange, error: type[Exception] | None = None
    ) -> ConnectionEvent:
        def found() -> list[ConnectionEvent]:
            return [
                event
                for event in self.seen
                if event.change is change and (error is None or isinstance(event.error, error))
            ]

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(found)
        return found()[-1]


def private(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def works(settings: NatsSettings) -> None:
    nc = await connect(settings, name="test")
    try:
        await round_trip(nc)
    finally:
        await nc.close()


async def refusal(settings: NatsSettings) -> Unavailable:
    """The error of a connect that must fail at once, not at the end of its time."""
    async with asyncio.timeout(3):
        with pytest.raises(Unavailable) as caught:
            await connect(settings, name="test")
    return caught.value

"""The threads in which a database is worked with: one that writes, a few that read."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.exc import DBAPIError

from cim_domain.views.generations import closed
from cim_domain.views.sql.backend import WRITES, Backend

T = TypeVar("T")

READERS = 3
"""Threads that read; each thread has at most one connection."""


@define(eq=False)
class Threads:
    """Runs functions of a connection in their thread and transaction, the driver's errors mapped.

    The database is made ready by the first that writes. Every call after `close` raises
    `Unavailable`.
    """

    backend: Backend
    _set_up: Callable[[sa.Connection], None]
    _writer: ThreadPoolExecutor = field(init=False)
    _readers: ThreadPoolExecutor = field(init=False)
    _ready: bool = field(default=False, init=False)
    _closing: asyncio.Task[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cim-views-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="cim-views-read")

    async def write(self, change: Callable[[sa.Connection], T]) -> T:
        """Call `change` in a transaction of its own, after those before it."""
        return await self._in(self._writer, lambda: self._write(change))

    async def read(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call `ask` beside others."""
        return await self._in(self._readers, lambda: self._read(ask))

    async def read_as_writer(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call `ask` in the thread that writes: what is going to be written is in memory there."""
        return await self._in(self._writer, lambda: self._read(ask))

    async def close(self) -> None:
        """End the threads once they are done, and let go of the database. May be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(asyncio.to_thread(self._shut))
        await asyncio.shield(self._closing)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closing is not None:
            raise closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except DBAPIError as error:
            raise self.backend.translate(error) from error

    def _write(self, change: Callable[[sa.Connection], T]) -> T:
        if not self._ready:
            self.backend.prepare()
            self._transact(self._set_up)
            self._ready = True
        return self._transact(change)

    def _transact(self, change: Callable[[sa.Connection], T]) -> T:
        with self.backend.engine.connect() as connection:
            connection.execution_options(**{WRITES: True})
            with connection.begin():
                return change(connection)

    def _read(self, ask: Callable[[sa.Connection], T]) -> T:
        with self.backend.engine.connect() as connection:
            return ask(connection)

    def _shut(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self.backend.release()

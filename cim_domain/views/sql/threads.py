"""The threads in which a database is worked with: one that writes, one that looks, a few that read.

Whatever is done has an end: what takes longer than it may, or is waited for by nobody any more, is
given up, first at the database and then by closing the connection.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.exc import DBAPIError

from cim_domain.errors import Unavailable
from cim_domain.views.generations import closed
from cim_domain.views.sql.backend import READERS, WRITES, Backend

T = TypeVar("T")

LONG = 3600.0
"""Seconds for what takes long with good reason, such as the making of an index."""

ENDING = 5.0
"""Seconds for what is under way when the database is closed."""

_GRACE = 0.5
"""Seconds from giving something up at the database to doing so again, or to its connection."""

_TRIES = 4
"""So often it is given up at the database: between two statements, there is nothing to end."""


@define(eq=False)
class _Work(Generic[T]):
    """A function in a thread, which may be given up from another one."""

    _backend: Backend
    _do: Callable[[], T]
    _given_up: threading.Event = field(factory=threading.Event)
    began: float | None = None
    """By `time.monotonic`."""
    _thread: int | None = None
    _lock: threading.Lock = field(factory=threading.Lock)
    _ended: threading.Event = field(factory=threading.Event)

    def run(self) -> T:
        """Do it, unless it has been given up before it began."""
        with self._lock:
            if self._given_up.is_set():
                raise closed()
            self._thread = threading.get_ident()
        self.began = monotonic()
        try:
            return self._do()
        finally:
            with self._lock:
                thread, self._thread = self._thread, None
                if self._given_up.is_set():
                    # What was meant to end this must not end what comes next.
                    self._backend.forget(thread)
            self._ended.set()

    def give_up(self) -> None:
        """Have it end soon, and return when it has; blocks."""
        for _ in range(_TRIES):
            if not self._end_by(self._backend.interrupt):
                break
            if self._ended.wait(_GRACE):
                return
        self._end_by(self._backend.cut)

    def _end_by(self, end: Callable[[int], None]) -> bool:
        """Whether the database has heard of it, or need not, for it is over."""
        with self._lock:
            self._given_up.set()
            if self._thread is None:
                self._ended.set()
                return True
            try:
                end(self._thread)
            except Exception:  # noqa: BLE001 - it may be away, which is why it is given up
                return False
        return True


@define(eq=False)
class Threads:
    """Runs functions of a connection in their thread and transaction, the driver's errors mapped.

    The database is made ready by the first that writes, and again where it turns out that a table
    is not there any more. Every call after `close` raises
    `Unavailable`, and so does what takes longer than it may.
    """

    backend: Backend
    _set_up: Callable[[sa.Connection], None]
    _writer: ThreadPoolExecutor = field(init=False)
    _looks: ThreadPoolExecutor = field(init=False)
    _readers: ThreadPoolExecutor = field(init=False)
    _prepared: bool = field(default=False, init=False)
    _complete: bool = field(default=False, init=False)
    """Whether all tables are there, as far as is known."""
    _under_way: set[_Work[Any]] = field(factory=set, init=False)
    _closing: asyncio.Task[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._writer, self._looks = (
            ThreadPoolExecutor(1, thread_name_prefix=f"cim-views-{name}")
            for name in ("write", "look")
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="cim-views-read")

    async def write(self, change: Callable[[sa.Connection], T], seconds: float | None = None) -> T:
        """Call `change` in a transaction of its own, after those before it."""
        return await self._in(self._writer, lambda: self._write(change, seconds), seconds)

    async def read(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call `ask`, for a query, beside others."""
        return await self._in(self._readers, lambda: self._read(ask))

    async def look(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call `ask`, which takes no time, however busy the others are."""
        if not self._complete:
            await self.write(lambda _: None)
        return await self._in(self._looks, lambda: self._read(ask))

    async def read_as_writer(self, ask: Callable[[sa.Connection], T]) -> T:
        """Call `ask` in the thread that writes: what is going to be written is in memory there."""
        return await self._in(self._writer, lambda: self._read(ask))

    async def close(self) -> None:
        """End the threads once they are done, and let go of the database. May be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _in(
        self, executor: ThreadPoolExecutor, do: Callable[[], T], seconds: float | None = None
    ) -> T:
        if self._closing is not None:
            raise closed()
        work = _Work(self.backend, do)
        self._under_way.add(work)
        submitted = executor.submit(work.run)
        submitted.add_done_callback(lambda _: self._under_way.discard(work))
        future = asyncio.wrap_future(submitted)
        # Where nobody waits any more, nobody else asks what came of it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await _result(future, work, seconds or self.backend.seconds)
        except DBAPIError as error:
            if self.backend.lacks_table(error):
                self._complete = False
            raise self.backend.translate(error) from error
        except (TimeoutError, asyncio.CancelledError) as end:
            _in_the_background(work.give_up)
            if isinstance(end, asyncio.CancelledError):
                raise
            raise Unavailable(
                "the database of the views does not answer in time", code="views_unavailable"
            ) from end

    def _write(self, change: Callable[[sa.Connection], T], seconds: float | None) -> T:
        if not self._prepared:
            try:
                self.backend.prepare()
                self._transact(self._set_up, None)
            except DBAPIError as error:
                raise self.backend.refusal(error) from error
            self._prepared = self._complete = True
        elif not self._complete:
            self._transact(self._set_up, None)
            self._complete = True
        return self._transact(change, seconds)

    def _transact(self, change: Callable[[sa.Connection], T], seconds: float | None) -> T:
        with self.backend.engine.connect() as connection:
            connection.execution_options(**{WRITES: True})
            with connection.begin():
                if seconds is not None:
                    self.backend.allow(connection, seconds)
                return change(connection)

    def _read(self, ask: Callable[[sa.Connection], T]) -> T:
        with self.backend.engine.connect() as connection:
            return ask(connection)

    async def _close(self) -> None:
        executors = (self._writer, self._looks, self._readers)
        ended = asyncio.gather(*(asyncio.to_thread(one.shutdown) for one in executors))
        await asyncio.wait([ended], timeout=ENDING)
        while not ended.done():
            for work in tuple(self._under_way):
                _in_the_background(work.give_up)
            await asyncio.wait([ended], timeout=ENDING)
        await asyncio.to_thread(self.backend.release)


async def _result(future: asyncio.Future[T], work: _Work[T], seconds: float) -> T:
    """What comes of it. Raises `TimeoutError` so many seconds after it began."""
    left = seconds
    while left > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                return await asyncio.shield(future)
        left = seconds if work.began is None else work.began + seconds - monotonic()
    raise TimeoutError


def _in_the_background(give_up: Callable[[], None]) -> None:
    threading.Thread(target=give_up, name="cim-views-end", daemon=True).start()

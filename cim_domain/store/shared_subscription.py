"""One reading of the log's end for all who follow it in this process.

Followers that are up to date, as a service's projections are, get the same records: a message is
fetched and its headers are read once, not once for each of them. One that is behind reads by
itself until it has caught up with what is kept here.

The log is read further when a follower asks for more than is kept. While all of them are busy or
rest, messages gather where the stream is read, and what coalesced comes as one slice.
"""

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cim_domain.errors import CimError, Failed, Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.store.port import EventStore, Slice

logger = logging.getLogger("cim_domain.store")

KEEP = 4096
"""So many of the newest records are kept for followers that are a little behind."""

TOGETHER = 1000
"""So many records a follower is given at once, at most."""

KEEP_BYTES = 16 * 1024 * 1024
"""So many bytes of events at most, beside one slice of the log, which may be larger."""


class SharedSubscription:
    """`EventStore.follow` for many followers at the cost of one."""

    def __init__(self, store: EventStore, keep: int = KEEP, keep_bytes: int = KEEP_BYTES) -> None:
        self._store = store
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._followers = 0
        self._reading: asyncio.Task[None] | None = None
        self._kept: deque[Slice] = deque()
        self._size = 0
        self._bytes = 0
        self._from = 0
        """All records behind this sequence, up to the newest that was read, are kept."""
        self._failure: CimError | None = None
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._starting = asyncio.Lock()

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`.

        Raises `Unavailable` where the store is away at the beginning, and whatever ends the
        reading; following anew begins it anew.
        """
        self._followers += 1
        try:
            await self._ensure_reading()
            yield Slice((), max(self._from, self._last()))
            position = after
            while True:
                if position < self._from:
                    async with aclosing(self._catch_up(position)) as slices:
                        async for part in slices:
                            position = part.records[-1].metadata.sequence
                            yield part
                while (kept := self._behind(position)) is not None:
                    position = kept.records[-1].metadata.sequence
                    yield kept
                await self._wait_for_more(position)
        finally:
            self._followers -= 1
            if self._followers == 0:
                await self._stop()

    async def event_at(self, sequence: int) -> str | None:
        """See `Log.event_at`."""
        return await self._store.event_at(sequence)

    async def _catch_up(self, position: int) -> AsyncGenerator[Slice, None]:
        async with aclosing(self._store.follow(position)) as slices:
            async for part in slices:
                if part.records:
                    yield part
                    if part.records[-1].metadata.sequence >= self._from:
                        return

    def _behind(self, position: int) -> Slice | None:
        """What is kept and lies behind a position; None: nothing, or not all of it any more."""
        if position < self._from:
            return None
        found: list[Slice] = []
        for part in reversed(self._kept):
            if part.records[-1].metadata.sequence <= position:
                break
            found.append(part)
        if not found:
            return None
        if len(found) == 1 and found[0].records[0].metadata.sequence > position:
            return found[0]
        records = tuple(record for part in reversed(found) for record in part.records)
        known = bisect_right(records, position, key=_sequence)
        return Slice(records[known : known + TOGETHER], found[0].head)

    async def _wait_for_more(self, position: int) -> None:
        async with self._changed:
            while self._failure is None and self._last() <= position and position >= self._from:
                self._wanted.set()
                await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def _last(self) -> int:
        return self._kept[-1].records[-1].metadata.sequence if self._kept else self._from

    async def _ensure_reading(self) -> None:
        async with self._starting:
            if self._reading is not None and not self._reading.done():
                return
            self._from = await self._store.head()
            self._kept.clear()
            self._size = self._bytes = 0
            self._failure = None
            self._reading = asyncio.create_task(self._read(self._from))

    async def _stop(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, after: int) -> None:
        try:
            async with aclosing(self._store.follow(after)) as slices:
                async for part in slices:
                    if part.records:
                        await self._add(part)
                        await self._wanted.wait()
            failure: CimError = Unavailable("the reading of the log came to an end")
        except CimError as error:
            failure = error
        except Exception as error:
            logger.exception("reading the log failed")
            failure = Failed(f"reading the log failed: {type(error).__name__}")
        async with self._changed:
            # One that was stopped may fail while it ends, when another is in its place.
            if self._reading is asyncio.current_task():
                self._failure = failure
                self._changed.notify_all()

    async def _add(self, part: Slice) -> None:
        async with self._changed:
            self._wanted.clear()
            self._kept.append(part)
            self._size += len(part.records)
            self._bytes += _bytes(part)
            while len(self._kept) > 1 and (
                self._size > self._keep or self._bytes > self._keep_bytes
            ):
                oldest = self._kept.popleft()
                self._size -= len(oldest.records)
                self._bytes -= _bytes(oldest)
                self._from = oldest.records[-1].metadata.sequence
            self._changed.notify_all()


def _sequence(record: EventRecord) -> int:
    return record.metadata.sequence


def _bytes(part: Slice) -> int:
    return sum(len(record.data) for record in part.records)

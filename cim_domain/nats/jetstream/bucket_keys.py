"""Knowing in memory which keys a bucket cannot have, so that most of them need not be asked for."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from random import random
from typing import Any

from cim_domain.backoff import Backoff
from cim_domain.errors import RequestError, Unavailable
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.jetstream.bloom_filter import RotatingBloomFilter
from cim_domain.nats.jetstream.reader import follow_stream

logger = logging.getLogger(__name__)

HEARTBEAT = 1.0
"""Seconds; see `reader`. Twice as long keys may be missed when a server dies that
is not the one connected to.
"""

PATIENCE = 3.0
"""Seconds that a start waits until all keys are read; some 20,000 are in one."""

_LOOK_AGAIN = 1.0
_RETRY = Backoff(first_delay=0.05, ceiling=0.5)


class BucketKeys:
    """The keys of a bucket as they come, marked in `marks`.

    Any may be there until all are read that were there at the start, for which `start` waits
    `patience` seconds; and whenever reading was interrupted, until those that were missed are read.
    Of a bucket that was made anew, all are read anew.
    """

    def __init__(
        self, link: Link, bucket: str, marks: RotatingBloomFilter, patience: float = PATIENCE
    ) -> None:
        self._link = link
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._marks = marks
        self._patience = patience
        self._created = ""
        """When the bucket was made that is being read."""
        self._position = 0
        self._moved = asyncio.Event()
        self._complete = False
        self._disturbed = asyncio.Event()
        self._stop_listening: Callable[[], None] = lambda: None
        self._reading: asyncio.Task[None]
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, key: str) -> None:
        """Know of a key before the server tells of it."""
        self._marks.add(key)

    def may_have(self, key: str) -> bool:
        """Whether the bucket may have a key."""
        return not self._complete or self._marks.may_have(key)

    async def start(self) -> None:
        """Read which keys there are, and read on. Raises `ApiError` and `Unavailable`."""
        self._stop_listening = self._link.listen(self._connection_changed)
        self._read_anew((await self._info())["created"])
        try:
            async with asyncio.timeout(self._patience):
                await self._read_to_the_end()
        except TimeoutError:
            logger.warning("%s is not read to its end yet; until then it is asked", self._stream)
            self._disturbed.set()
        if self._reading.done():
            self._reading.result()
        self._complete = self._link.connected and not self._disturbed.is_set()
        self._run(self._stay_complete())

    async def stop(self) -> None:
        """Read no more."""
        self._stop_listening()
        self._complete = False
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, RequestError):
                await task

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self) -> None:
        """Mark the keys, for ever."""
        slices = follow_stream(
            self._link,
            self._stream,
            0,
            heartbeat=HEARTBEAT,
            headers_only=True,
            interrupted=self._interrupted,
        )
        try:
            async with aclosing(slices):
                async for part in slices:
                    for one in part.messages:
                        self._marks.add(one.message.subject.removeprefix(self._prefix))
                        self._position = one.sequence
                    self._moved.set()
        finally:
            self._interrupted()

    def _interrupted(self) -> None:
        self._complete = False
        self._disturbed.set()

    async def _read_to_the_end(self) -> None:
        """Return when all keys that are there by now are marked, or nobody marks them any more."""
        number = 0
        while not self._reading.done():
            try:
                info = await self._info()
                state = info["state"]
                if info["created"] != self._created:
                    self._reading.cancel()
                    await asyncio.wait([self._reading])
                    self._read_anew(info["created"])
                async with asyncio.timeout(_LOOK_AGAIN):
                    while state["messages"] and self._position < state["last_seq"]:
                        self._moved.clear()
                        await self._moved.wait()
            except TimeoutError:
                # There are many, or the last ones have gone with their time.
                continue
            except (Unavailable, ApiError) as error:
                logger.debug("reading %s: %s", self._stream, error)
            else:
                return
            await asyncio.sleep(_RETRY.delay(number, random()))  # noqa: S311
            number += 1

    async def _info(self) -> dict[str, Any]:
        return await call(self._link.requests, f"STREAM.INFO.{self._stream}")

    def _read_anew(self, created: str) -> None:
        """Read the bucket that was made then from its beginning; if it is another one by now, a
        look afterwards shows that.
        """
        self._created = created
        self._position = 0
        self._reading = self._run(self._read())
        self._disturbed.clear()

    async def _stay_complete(self) -> None:
        """Mark what was missed before keys are told apart again."""
        while True:
            await self._disturbed.wait()
            self._disturbed.clear()
            if self._reading.done():
                problem = self._reading.exception()
                if self._link.client.is_closed:
                    return
                logger.warning("%s cannot be read along: %s", self._stream, problem)
                await asyncio.sleep(_LOOK_AGAIN)
                self._read_anew(self._created)
            await self._read_to_the_end()
            self._complete = self._link.connected and not self._disturbed.is_set()

    def _connection_changed(self, change: ConnectionChange) -> None:
        if change in {ConnectionChange.DISCONNECTED, ConnectionChange.RECONNECTED}:
            self._complete = False
        if change is ConnectionChange.RECONNECTED:
            self._disturbed.set()

"""How long a service waits when it starts and when it ends."""

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

from cim_domain.backoff import Backoff
from cim_domain.errors import RequestError, Unavailable
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import Denied, NoAnswer
from cim_domain.nats.jetstream.api import ApiError, StorageFull

logger = logging.getLogger("cim_domain.service.service")

BETWEEN = Backoff(first_delay=0.2, ceiling=2)
"""From one attempt to start to the next."""

_CUT = 0.5
"""Seconds for each thing that is cut to notice it."""


class Starting:
    """The attempts of one start, while JetStream cannot yet do what is asked of it."""

    def __init__(self, link: Link, seconds: float) -> None:
        self._link = link
        self._end = asyncio.get_running_loop().time() + seconds
        self._attempts = 0

    async def again(self, error: RequestError) -> None:
        """Return when it is time to try again. Raises the error where that is no use."""
        delay = BETWEEN.delay(self._attempts, random.random())  # noqa: S311 - out of step
        late = asyncio.get_running_loop().time() + delay >= self._end
        if late or self._link.client.is_closed or not _may_pass(error):
            raise error
        logger.warning("JetStream is waited for: %s", error.message)
        self._attempts += 1
        await asyncio.sleep(delay)


def _may_pass(error: RequestError) -> bool:
    """Whether it is said of a JetStream that has no leader yet."""
    said = error.__cause__ if type(error) is Unavailable and error.__cause__ else error
    if isinstance(said, ApiError):
        return said.status_code == 503 and not isinstance(said, StorageFull)
    return isinstance(said, NoAnswer) and not isinstance(said, Denied)


async def leave_if_silent(link: Link, seconds: float) -> None:
    """Close a connection to a server that does not answer: all that waits for it ends then."""
    if not link.connected:
        return
    try:
        await round_trip(link.client, seconds=seconds)
    except Unavailable:
        logger.warning("the server has not answered for %g s: it is ended without it", seconds)
        await link.close()


async def ended_within(ending: Coroutine[Any, Any, object], seconds: float) -> None:
    """Return when something has ended; what takes longer is cut, one thing after another."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            logger.warning("what was in flight has not ended within %g s: it is cut", seconds)
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_CUT)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.cancelled():
        await task

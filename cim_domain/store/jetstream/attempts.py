"""Trying again what the server did not answer, for as long as that is worth it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from attrs import field, frozen

from cim_domain.errors import Unavailable
from cim_domain.nats.config.backoff import Backoff
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError

T = TypeVar("T")


@frozen
class Patience:
    """How long the store tries before it says that the server is away. All in seconds."""

    answer: float = 2.0
    """For one answer of the server."""
    budget: float = 12.0
    """For all tries of one operation together; outlasts the election of a leader (4 to 8 s)."""
    between: Backoff = field(factory=lambda: Backoff(first_delay=0.05, ceiling=0.5))
    """From one try to the next."""

    async def retried(self, stream: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again for want of an answer, until the budget is spent; raise anything else."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.budget
        for tries in count():
            try:
                return await attempt()
            except (NoAnswer, Later, ApiError) as raised:
                error = retriable(raised, stream)
                delay = self.between.delay(tries, random.random())  # noqa: S311
                if clock() + delay >= end:
                    raise Unavailable(
                        f"the event store did not answer for {self.budget:g} s"
                        f" ({error.message}); whether a command had an effect is unknown until it"
                        " is sent again with the same id",
                        details={"reason": error.code},
                    ) from error
            await asyncio.sleep(delay)
        raise AssertionError("count() does not end")


class Later(Unavailable):
    """The server could not now; the same again may work."""


def retriable(error: Unavailable | ApiError, stream: str) -> Unavailable:
    """What may be tried again, as such; raises what may not."""
    if not isinstance(error, ApiError):
        return error
    if error.status_code == 503:
        return Later(error.description)
    if error.error_code == STREAM_NOT_FOUND:
        raise Unavailable(
            f"there is no stream {stream} that holds the events: start the service once",
            code="log_missing",
        ) from error
    raise error

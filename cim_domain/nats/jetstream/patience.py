"""Trying again what the server did not answer, for as long as that is worth it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from attrs import field, frozen

from cim_domain.backoff import Backoff
from cim_domain.errors import Busy, Unavailable
from cim_domain.nats.connection.requests import Denied, NoAnswer
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError, StorageFull

TOO_MANY_REQUESTS = 10167

T = TypeVar("T")

_SLOWEST = 1024 * 1024
"""Bytes a second, of what is sent, that a connection need not be faster than."""


@frozen
class Patience:
    """How long to try before saying that the server is away. All in seconds."""

    answer: float = 2.0
    """For one answer of the server; for want of progress, where there is more to come."""
    budget: float = 12.0
    """For all tries of one operation together; outlasts the election of a leader (4 to 8 s)."""
    between: Backoff = field(factory=lambda: Backoff(first_delay=0.05, ceiling=0.5))
    """From one try to the next."""

    def answer_to(self, sent: int) -> float:
        """For the answer to so many bytes."""
        return self.answer + sent / _SLOWEST

    async def retried(self, stream: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again for want of an answer, until the budget is spent; raise anything else.

        Where the server had too much to do each time, that is `Busy`.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + self.budget
        unknown = False
        for tries in count():
            try:
                return await attempt()
            except (NoAnswer, Later, ApiError) as raised:
                refused = isinstance(raised, ApiError) and raised.error_code == TOO_MANY_REQUESTS
                unknown = unknown or not refused
                error = retriable(raised, stream)
                delay = self.between.delay(tries, random.random())  # noqa: S311
                if clock() + delay >= end:
                    raise _given_up(error, stream, self.budget, unknown=unknown) from error
            await asyncio.sleep(delay)
        raise AssertionError("count() does not end")


class Later(Unavailable):
    """The server could not now; the same again may work."""


def retriable(error: Unavailable | ApiError, stream: str) -> Unavailable:
    """What may be tried again, as such; raises what may not."""
    if isinstance(error, StorageFull | Denied):
        raise error
    if not isinstance(error, ApiError):
        return error
    if error.status_code == 503 or error.error_code == TOO_MANY_REQUESTS:
        return Later(error.description)
    if error.error_code == STREAM_NOT_FOUND:
        raise Unavailable(
            f"there is no stream {stream}: start the service once", code="log_missing"
        ) from error
    raise error


def _given_up(
    error: Unavailable, stream: str, budget: float, *, unknown: bool
) -> Unavailable | Busy:
    if unknown:
        return Unavailable(
            f"the stream {stream} did not answer for {budget:g} s ({error.message}); whether a"
            " command had an effect is unknown until it is sent again with the same id",
            details={"reason": error.code},
        )
    return Busy(
        f"the server had too much to do for {budget:g} s ({error.message}), and nothing was"
        " stored; send it again later"
    )

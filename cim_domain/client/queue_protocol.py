"""The client's side of commands that are stored first: what is sent, and what came back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from random import random

from attrs import frozen
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cim_domain.backoff import Backoff
from cim_domain.command_queue.stream import BAD_TIME, EARLIEST, LATEST
from cim_domain.errors import Conflict, Invalid, RequestError, Unavailable
from cim_domain.model.metadata import utc_now
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import (
    TOO_LARGE,
    WRONG_LAST_SEQUENCE,
    ApiError,
    StorageFull,
    answer_of,
)
from cim_domain.wire.command_status import CommandStatus

_LOOK = Backoff(first_delay=1, ceiling=10)
"""Seconds between looks at how a command stands where no news comes."""


@frozen
class Submitted:
    """A command is stored, at this place in the queue. `duplicate`: it was stored before."""

    command_id: str
    sequence: int
    duplicate: bool = False


@frozen
class Scheduled:
    """A command waits until `at`, in UTC."""

    command_id: str
    at: datetime


def due(at: datetime | None, after: timedelta | float | None) -> datetime:
    """When a command is due: at a time, or after so long (seconds, where it is a number).

    What lies in the past is due now. Raises `Invalid` (``bad_time``) unless exactly one of them is
    given, for a time without its time zone, and for one outside of what servers can count.
    """
    now = utc_now()
    if (at is None) == (after is None):
        raise _bad_time("say either at which time the command is due, or after how long")
    if after is not None:
        try:
            wait = after if isinstance(after, timedelta) else timedelta(seconds=after)
            return _within(now + wait, now)
        except (OverflowError, ValueError):
            raise _bad_time(f"{after!r} is no length of time that can be waited") from None
    assert at is not None  # noqa: S101 - one of the two is given
    if at.tzinfo is None or at.utcoffset() is None:
        raise _bad_time(f"{at.isoformat()} has no time zone: a time without one is any of several")
    return _within(at, now)


def submitted(command_id: str, subject: str, reply: Msg) -> Submitted:
    """What an acknowledgement says. Raises `Unavailable` where nothing was stored."""
    try:
        answer = answer_of(subject, reply)
        return Submitted(command_id, int(answer["seq"]), bool(answer.get("duplicate")))
    except (ApiError, KeyError) as error:
        raise _not_stored(error) from error


def check_scheduled(command_id: str, subject: str, reply: Msg, *, fresh: bool) -> None:
    """See that a command waits now. `fresh`: nobody else can have used its id.

    Raises `Conflict` (``already_scheduled``) where one with its id waits already, and `Unavailable`
    where it was not stored.
    """
    try:
        answer_of(subject, reply)["seq"]
    except (ApiError, KeyError) as error:
        if not (isinstance(error, ApiError) and error.error_code in WRONG_LAST_SEQUENCE):
            raise _not_stored(error) from error
        # Sent again after the connection was lost, the first one had arrived.
        if not fresh:
            raise Conflict(
                f"a command with the id {command_id} is scheduled already: cancel that one, and"
                " schedule this one with another id",
                code="already_scheduled",
                details={"command_id": command_id},
            ) from error


async def until_final(
    link: Link, subject: str, ask: Callable[[], Awaitable[CommandStatus | None]]
) -> CommandStatus:
    """How a command stands as soon as that is final; `subject` is where there is news of it.

    `ask` is called at first, at every news, when the connection is back, and slowly besides: news
    is told at most once.
    """
    news = asyncio.Event()

    def changed(change: ConnectionChange) -> None:
        if change is ConnectionChange.RECONNECTED:
            news.set()

    # The question follows the subscription on the same connection: nothing is told in between.
    subscription = await link.client.listen(subject, lambda _: news.set())
    stop_listening = link.listen(changed)
    try:
        number = 0
        while not ((standing := await ask()) and standing.final):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK.delay(number, random())):  # noqa: S311
                    await news.wait()
            news.clear()
            number += 1
        return standing
    finally:
        stop_listening()
        # Also while disconnected: the client would take it up again with the connection.
        with suppress(NatsError):
            await subscription.unsubscribe()


def _within(at: datetime, now: datetime) -> datetime:
    if not EARLIEST <= at <= LATEST:
        raise _bad_time(
            f"{at.isoformat()} is not between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}:"
            " servers count no further"
        )
    return max(at, now)


def _bad_time(problem: str) -> Invalid:
    return Invalid(problem, code=BAD_TIME)


def _not_stored(error: Exception) -> RequestError:
    if isinstance(error, StorageFull):
        return error
    if isinstance(error, ApiError) and error.error_code in TOO_LARGE:
        return Invalid(f"the command was not stored: {error.description}", code="too_large")
    said = error.description if isinstance(error, ApiError) else "the answer is no acknowledgement"
    return Unavailable(f"the command was not stored: {said}", code="not_stored")

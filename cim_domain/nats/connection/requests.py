"""Requests over one inbox: with one reply or with many, failed at once when the connection is lost.

The client's own `request` takes one reply only, and lets requests that were in flight when the
connection broke run into their time-out.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from typing import Self

import nats.errors
from attrs import define, field
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.publications import header_block

NO_RESPONDERS = "503"


class NoAnswer(Unavailable):
    """Nothing came back, so it is unknown what happened; `code` says more.

    ``timeout``: not in time. ``no_responders``: nobody listens there now. ``disconnected``: the
    connection was lost, or is.
    """


def _first(_: Msg) -> bool:
    return True


@define
class _Waiting:
    """One request under way, and what came back for it."""

    complete: Callable[[Msg], bool]
    done: asyncio.Future[None]
    replies: list[Msg] = field(factory=list)

    def time_out(self, seconds: float) -> None:
        """End it for want of an answer."""
        self.fail(NoAnswer(f"no answer within {seconds:g} s", code="timeout"))

    def fail(self, error: NoAnswer) -> None:
        """End it, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)
            # Whoever asked may have left already, and then nobody looks at the error.
            self.done.exception()


class Requests:
    """Sends requests over a connection. Start it before use; it lives as long as the connection."""

    def __init__(self, client: HardenedClient) -> None:
        self._client = client
        self._prefix = f"{client.new_inbox()}."
        self._tokens = count()
        self._waiting: dict[str, _Waiting] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> Self:
        """Listen for replies."""
        if self._subscription is None:
            self._subscription = await self._client.listen(f"{self._prefix}*", self._receive)
        return self

    def connection_lost(self) -> None:
        """Fail what is in flight: no reply to it can come any more."""
        for waiting in self._waiting.values():
            waiting.fail(NoAnswer("the connection to the server was lost", code="disconnected"))

    async def one(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float,  # noqa: ASYNC109 - how long the server may take is part of the question
    ) -> Msg:
        """The reply to a request, within `timeout` seconds. Raises `NoAnswer`."""
        block = header_block(headers) if headers else None
        return (await self.many(subject, payload, _first, block=block, timeout=timeout))[0]

    async def many(
        self,
        subject: str,
        payload: bytes,
        complete: Callable[[Msg], bool] = _first,
        *,
        block: bytes | None = None,
        timeout: float,  # noqa: ASYNC109
    ) -> list[Msg]:
        """The replies to a request, up to the one that `complete` says is the last of them.

        `complete` is called with each as it arrives; what it raises is raised here. All of them
        must come within `timeout` seconds. `block` holds the request's headers, see
        `cim_domain.nats.connection.publications`. Raises `NoAnswer`.
        """
        loop = asyncio.get_running_loop()
        token = str(next(self._tokens))
        waiting = _Waiting(complete, loop.create_future())
        self._waiting[token] = waiting
        # Lighter than a timeout's context, of which every append would pay for one.
        too_late = loop.call_later(timeout, waiting.time_out, timeout)
        try:
            self._client.send(subject, payload, self._prefix + token, block)
            await waiting.done
        except (
            nats.errors.OutboundBufferLimitError,
            nats.errors.ConnectionClosedError,
            nats.errors.ConnectionDrainingError,
        ) as error:
            raise NoAnswer("there is no connection to the server", code="disconnected") from error
        finally:
            too_late.cancel()
            del self._waiting[token]
        return waiting.replies

    def _receive(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject[len(self._prefix) :])
        if waiting is None or waiting.done.done():
            return
        if _nobody_responds(message):
            waiting.fail(NoAnswer("nobody answers there now", code="no_responders"))
            return
        waiting.replies.append(message)
        try:
            if waiting.complete(message):
                waiting.done.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever asked
            waiting.done.set_exception(error)


def _nobody_responds(message: Msg) -> bool:
    if message.data or not message.headers:
        return False
    # A message that was stored with such a header says its place beside it.
    headers = message.headers
    return headers.get("Status") == NO_RESPONDERS and "Nats-Sequence" not in headers

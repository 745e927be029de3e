"""Requests over one inbox: with one reply or with many, failed at once when the connection is lost.

The client's own `request` takes one reply only, and lets requests that were in flight when the
connection broke run into their time-out.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from typing import Self

import nats.errors
from attrs import define, field
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.limits import check_sizes
from cim_domain.nats.connection.publications import header_block

NO_RESPONDERS = "503"

_REFUSED = re.compile(r'(?P<kind>publish|subscription) to "(?P<subject>[^"]+)"', re.IGNORECASE)
"""What the server says of a message or a subscription that it has refused."""

_LOOKS = 4
"""So often, in the time that an answer may take, it is looked whether there is progress."""

_STEP = 0.02
"""Seconds from one round of looks to the next, at least: what is due earlier is looked at then."""

_BUSY = 64 * 1024
"""Bytes between two looks: with as many, replies may be waiting behind others on the connection."""

_BUSY_LOOKS = 5 * _LOOKS
"""So often they may be."""


class NoAnswer(Unavailable):
    """Nothing came back, so it is unknown what happened; `code` says more.

    ``timeout``: not in time. ``no_responders``: nobody listens there now. ``disconnected``: the
    connection was lost, or is. ``permission_denied``: see `Denied`.
    """


class Denied(NoAnswer):
    """The server does not allow this user what a request needs: nothing has happened."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the server does not allow this user to {what}: nothing was done",
            code="permission_denied",
        )


def _first(_: Msg) -> bool:
    return True


@define
class _Waiting:
    """One request under way, and what came back for it."""

    subject: str
    complete: Callable[[Msg], bool]
    done: asyncio.Future[None]
    timeout: float
    look_at: float
    """When it is looked next whether there is progress."""
    end: int = 0
    """How many bytes of the client's will have been sent when it is."""
    replies: list[Msg] = field(factory=list)
    progress: tuple[int, int, int] = (0, 0, 0)
    looks: int = 0
    quiet: int = 0
    """So many looks have seen no progress."""

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
        self._deaf = False
        """Whether the server has refused the subscription to replies."""
        self._looking: asyncio.TimerHandle | None = None
        self._look_at = inf
        """When the next round of looks is."""

    async def start(self) -> Self:
        """Listen for replies."""
        if self._subscription is None:
            self._subscription = await self._client.listen(f"{self._prefix}*", self._receive)
        return self

    def connection_lost(self) -> None:
        """Fail what is in flight: no reply to it can come any more."""
        # What is allowed may be another matter on the next connection.
        self._deaf = False
        for waiting in self._waiting.values():
            waiting.fail(NoAnswer("the connection to the server was lost", code="disconnected"))

    def denied(self, refusal: str) -> None:
        """Fail what the server has refused, in its own words: it says so once, and then nothing."""
        found = _REFUSED.search(refusal)
        if found is None:
            return
        # nats-py gives the server's words in lower case.
        kind, subject = found["kind"].lower(), found["subject"].lower()
        self._deaf = self._deaf or (kind == "subscription" and self._is_own(subject))
        for waiting in self._waiting.values():
            if self._deaf:
                waiting.fail(self._no_replies())
            elif kind == "publish" and subject == waiting.subject.lower():
                waiting.fail(Denied(f"publish to {waiting.subject}"))

    def _is_own(self, subject: str) -> bool:
        return subject.startswith(self._prefix.lower())

    def _no_replies(self) -> Denied:
        return Denied(f"listen for replies on {self._prefix}*")

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

        `complete` is called with each as it arrives; what it raises is raised here. `timeout` is
        for how many seconds there may be no progress: nothing of the request sent, and no reply
        come. `block` holds the request's headers, see
        `cim_domain.nats.connection.publications`. Raises `NoAnswer`, and `Invalid` (``too_large``).
        """
        self._client.require_loop()
        if self._deaf:
            raise self._no_replies()
        loop = asyncio.get_running_loop()
        token = str(next(self._tokens))
        first_look = loop.time() + timeout / _LOOKS
        waiting = self._waiting[token] = _Waiting(
            subject, complete, loop.create_future(), timeout, first_look
        )
        self._look_by(first_look)
        try:
            self._client.send(subject, payload, self._prefix + token, block)
            waiting.end = self._client.queued
            waiting.progress = self._progress(waiting, waiting.end)
            await waiting.done
        except (
            nats.errors.OutboundBufferLimitError,
            nats.errors.ConnectionClosedError,
            nats.errors.ConnectionDrainingError,
        ) as error:
            raise NoAnswer("there is no connection to the server", code="disconnected") from error
        except nats.errors.MaxPayloadError:
            check_sizes(self._client, subject, len(block or b""), len(payload))
            raise
        finally:
            del self._waiting[token]
        return waiting.replies

    def _look_by(self, when: float) -> None:
        """Have a round of looks by then: one timer for all, which costs more than an answer."""
        if when < self._look_at:
            if self._looking is not None:
                self._looking.cancel()
            self._look_at = when
            self._looking = asyncio.get_running_loop().call_at(when, self._look_round)

    def _look_round(self) -> None:
        self._looking, self._look_at = None, inf
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting.values():
            if waiting.look_at <= now:
                self._look(waiting)
                waiting.look_at = now + waiting.timeout / _LOOKS
        if self._waiting:
            soonest = min(waiting.look_at for waiting in self._waiting.values())
            self._look_by(max(soonest, now + _STEP))

    def _look(self, waiting: _Waiting) -> None:
        """See whether there is progress; end it for want of that."""
        progress = self._progress(waiting, self._client.sent)
        waiting.looks += 1
        waiting.quiet = 0 if progress != waiting.progress else waiting.quiet + 1
        waiting.progress = progress
        if waiting.quiet >= _LOOKS:
            waiting.fail(NoAnswer(f"no answer within {waiting.timeout:g} s", code="timeout"))

    def _progress(self, waiting: _Waiting, sent: int) -> tuple[int, int, int]:
        # The only reply, once asked for, is not waited for longer because others come: where its
        # sender has died, it never will.
        several = waiting.complete is not _first and waiting.looks < _BUSY_LOOKS
        received = self._client.stats["in_bytes"] // _BUSY if several else 0
        return len(waiting.replies), min(sent, waiting.end), received

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

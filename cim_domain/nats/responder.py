"""Answering requests on a subject: side by side, each one, and to the end when it stops.

Instances that answer in the same queue group share the requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter_ns
from typing import Self

import nats.errors
from attrs import define, field, frozen
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cim_domain.errors import RequestError
from cim_domain.nats.client import check_size
from cim_domain.nats.link import Link

logger = logging.getLogger("cim_domain.nats")

QUEUE = "q"
"""The queue group that NATS services use unless told otherwise."""


@frozen
class Request:
    """A message that came on a responder's subject. `reply` is empty where nobody waits."""

    subject: str
    headers: Mapping[str, str]
    data: bytes
    reply: str


@frozen
class Response:
    """What goes back. `error` is the text of an error, for the responder's statistics."""

    data: bytes
    headers: Mapping[str, str] = field(factory=dict)
    error: str | None = None


Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request. It never raises: what goes wrong is in the response."""

OnError = Callable[[RequestError], Response]
"""Words an error as a response."""


@define
class Statistics:
    """What a responder has done since it started. Times are in nanoseconds."""

    requests: int = 0
    errors: int = 0
    processing_time: int = 0
    last_error: str = ""


class Responder:
    """Answers the requests on one subject, which may hold wildcards."""

    def __init__(
        self, link: Link, name: str, subject: str, handler: Handler, on_error: OnError
    ) -> None:
        self.name = name
        self.subject = subject
        self.statistics = Statistics()
        self._link = link
        self._handler = handler
        self._on_error = on_error
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Self:
        """Listen from now on; the server knows it after a `round_trip`."""
        self._subscription = await self._link.client.subscribe(
            self.subject, queue=QUEUE, cb=self._receive
        )
        return self

    async def stop(self) -> None:
        """Take no new requests; return when those that came are answered."""
        if self._subscription is not None and self._link.connected:
            try:
                await self._subscription.drain()  # type: ignore[no-untyped-call]
            except (nats.errors.Error, OSError) as error:
                logger.warning("draining %s: %s", self.subject, error)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _receive(self, message: Msg) -> None:
        # A subscription's callbacks run one after another, so each request gets its own task.
        task = asyncio.create_task(self._respond(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, message: Msg) -> None:
        started = perf_counter_ns()
        request = Request(message.subject, message.headers or {}, message.data, message.reply)
        response = await self._handler(request)
        if request.reply and not request.reply.startswith("$JS."):
            response = await self._send(request.reply, response)
        statistics = self.statistics
        statistics.requests += 1
        statistics.processing_time += perf_counter_ns() - started
        if response.error is not None:
            statistics.errors += 1
            statistics.last_error = response.error

    async def _send(self, reply: str, response: Response) -> Response:
        headers = dict(response.headers) or None
        try:
            check_size(self._link.client, reply, response.data, headers)
        except RequestError as error:
            return await self._send(reply, self._on_error(error))
        try:
            await self._link.client.publish(reply, response.data, headers=headers)
        except nats.errors.Error as error:
            # Whoever asked runs into a time-out, and may ask again with the same id.
            logger.warning("a reply could not be sent: %s", type(error).__name__)
        return response

"""Answering requests on a subject: side by side, each one, and to the end when it stops.

Instances that answer in the same queue group share the requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter, perf_counter_ns
from typing import Self

import nats.errors
from attrs import define, field, frozen
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cim_domain.errors import Busy, Failed, Invalid, RequestError
from cim_domain.model.failures import awaited_model_code, cause
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.nats.connection.limits import check_sizes
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.publications import header_block
from cim_domain.nats.services.reply_subjects import may_reply

logger = logging.getLogger("cim_domain.nats")

HELD = 64 * 1024 * 1024
"""Bytes of requests that a responder has in hand at most; what comes beyond is `busy` at once."""

_CROWD = 4 * 1024 * 1024
"""Bytes of requests in hand, with which a large one is begun only when no more come: a server
hangs up on who does not read what it has for him, some 64 MiB, and handling keeps from reading.
"""

_LARGE = 64 * 1024
"""Bytes."""

_CALM = 0.002
"""Seconds in which nothing comes."""

_PATIENCE = 0.1
"""Seconds after which one is begun all the same."""

_OVERHEAD = 8 * 1024
"""Bytes, about, that a request in hand takes beside its payload and headers."""

_HEADER = 256
"""Bytes, about, that a header takes, once it is read, beside its text."""

_SILENCE = 1.0
"""Seconds between two words about requests that nobody hears were dropped."""

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
    """Answers the requests on one subject, which may hold wildcards.

    What asks for a reply on a subject that begins with `guarded` is refused, and handled by nobody.
    Past `held` bytes of requests in hand, see `HELD`, what comes is answered `busy` at once.
    """

    def __init__(
        self,
        link: Link,
        name: str,
        subject: str,
        handler: Handler,
        on_error: OnError,
        guarded: str = "",
        held: int = HELD,
    ) -> None:
        self.name = name
        self.subject = subject
        self.statistics = Statistics()
        self._link = link
        self._handler = handler
        self._on_error = on_error
        self._guarded = guarded
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = held
        self._held = 0
        self._beginning = asyncio.Lock()
        self._dropped = 0
        self._told = -_SILENCE

    @property
    def listening(self) -> bool:
        """Whether requests come here."""
        return self._subscription is not None

    async def start(self) -> Self:
        """Listen from now on; the server knows it after a `round_trip`."""
        self._subscription = await self._link.client.listen(self.subject, self._receive, QUEUE)
        return self

    async def stop(self) -> None:
        """Take no new requests; return when those that came are answered."""
        if self._subscription is not None and self._link.connected:
            try:
                await self._subscription.drain()  # type: ignore[no-untyped-call]
            except (nats.errors.Error, OSError) as error:
                logger.warning("draining %s: %s", self.subject, error)
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in tuple(self._tasks):
                task.cancel()

    def _receive(self, message: Msg) -> None:
        size = len(message.data) + _headers_size(message.headers or {}) + _OVERHEAD
        if self._held + size > self._room:
            self._turn_away(message)
            return
        self._held += size
        crowded = size >= _LARGE and self._held > _CROWD
        task = asyncio.create_task(
            self._respond_in_calm(message) if crowded else self._respond(message)
        )
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._held -= size
            self._tasks.discard(task)

        task.add_done_callback(done)

    def _turn_away(self, message: Msg) -> None:
        """Say that it is too much; where nobody hears it, log it, though not each time."""
        busy = Busy(f"there is no room for more requests on {self.name}; send it again later")
        if message.reply and may_reply(message.reply, self._guarded):
            self._count(0, self._send(message.reply, self._on_error(busy)))
            return
        self._count(0, self._on_error(busy))
        self._dropped += 1
        now = perf_counter()
        if now - self._told >= _SILENCE:
            logger.error("no room: %d on %s without a reply dropped", self._dropped, self.name)
            self._told = now
            self._dropped = 0

    async def _respond_in_calm(self, message: Msg) -> None:
        """Respond once nothing more comes, or has come for long: reading goes first."""
        clock = asyncio.get_running_loop().time
        async with self._beginning:
            end, before = clock() + _PATIENCE, -1
            while clock() < end and before != (now := self._link.client.stats["in_bytes"]):
                before = now
                await asyncio.sleep(_CALM)
        await self._respond(message)

    async def _respond(self, message: Msg) -> None:
        started = perf_counter_ns()
        request = Request(message.subject, message.headers or {}, message.data, message.reply)
        replies = bool(request.reply) and may_reply(request.reply, self._guarded)
        if request.reply and not replies:
            logger.warning("refused on %s: the reply was to go to %s", self.name, request.reply)
            response = self._on_error(Invalid("replies are not sent there", code="not_a_request"))
        else:
            response = await self._response(request)
        if replies:
            response = self._send(request.reply, response)
        self._count(perf_counter_ns() - started, response)

    def _count(self, nanoseconds: int, response: Response) -> None:
        statistics = self.statistics
        statistics.requests += 1
        statistics.processing_time += nanoseconds
        if response.error is not None:
            statistics.errors += 1
            statistics.last_error = response.error

    async def _response(self, request: Request) -> Response:
        try:
            with awaited_model_code:
                return await self._handler(request)
        except Exception as error:
            logger.exception("answering on %s failed", self.name)
            return self._on_error(Failed(f"the service failed: {cause(error)}"))

    def _send(self, reply: str, response: Response) -> Response:
        """Send the response, or an error in its place where it cannot be sent; gives what it is."""
        try:
            self._check_and_send(reply, response)
        except RequestError as error:
            response = self._on_error(_of_answer(error))
            self._try_to_send(reply, response)
        except nats.errors.Error as error:
            _not_sent(error)
        return response

    def _try_to_send(self, reply: str, response: Response) -> None:
        try:
            self._check_and_send(reply, response)
        except (nats.errors.Error, RequestError) as error:
            _not_sent(error)

    def _check_and_send(self, reply: str, response: Response) -> None:
        block = header_block(response.headers) if response.headers else None
        client = self._link.client
        check_sizes(client, reply, len(block or b""), len(response.data))
        client.send(reply, response.data, block=block)


def _headers_size(headers: Mapping[str, str]) -> int:
    """Bytes that headers take while a request is in hand: as they came, and as they are read."""
    if isinstance(headers, LazyHeaders):
        return 2 * len(headers.lines) + _HEADER * headers.lines.count(b"\n")
    return sum(len(name) + len(value) + _HEADER for name, value in headers.items())


def _of_answer(error: RequestError) -> RequestError:
    """What kept an answer from being sent, as whoever asked can use it: he has sent little."""
    if error.code != "too_large":
        return error
    size, limit = error.details.get("bytes"), error.details.get("limit")
    return Failed(
        f"the answer has {size} bytes, and a reply may have {limit}: ask for less at once, such as"
        " a page with a smaller limit",
        code="too_large",
        details={**error.details, "part": "answer"},
    )


def _not_sent(error: Exception) -> None:
    # Whoever asked runs into a time-out, and may ask again with the same id.
    logger.warning("a reply could not be sent: %s", type(error).__name__)

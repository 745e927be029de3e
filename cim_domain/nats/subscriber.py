"""Working off a stream with others: a durable consumer, acknowledged message by message.

Each message is handled at least once, by one of the instances that share the consumer. A handler
that raises gets the message again, after a delay that grows; when it has failed often enough, or
says that it never will succeed, the message goes to the dead letters with the reason.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from attrs import field, frozen
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import Failed, Invalid, RequestError
from cim_domain.nats.delivery import read_delivery
from cim_domain.nats.jetstream import NANOSECONDS, call
from cim_domain.nats.link import Link
from cim_domain.nats.pull import Pull

logger = logging.getLogger("cim_domain.nats")

_RESUME = Backoff(first_delay=0.05, ceiling=2)
_ACK = b"+ACK"
_NAK = b"-NAK"
_TERM = b"+TERM"
_PROGRESS = b"+WPI"


@frozen
class Received:
    """A message as a handler gets it. `deliveries` counts the attempts, this one included."""

    subject: str
    headers: Mapping[str, str]
    data: bytes
    sequence: int
    deliveries: int


Handler = Callable[[Received], Awaitable[None]]
"""Handles a message. Raises `Invalid` where trying again is useless, anything else to be called
again."""

OnFailure = Callable[[Received, RequestError, bool], Awaitable[None]]
"""Hears of each attempt that failed, before the server does, and whether the message is a dead
letter by now. Where it raises then, the message comes again."""

Key = Callable[[Received], str]
"""Messages with the same key are handled one after another by an instance."""


@frozen(kw_only=True)
class Retries:
    """How often a message is tried, and how long apart. `ack_wait` is in seconds.

    A message that is not acknowledged for so long, because its handler's process died, is
    delivered again.
    """

    attempts: int = 5
    between: Backoff = field(factory=lambda: Backoff(first_delay=0.5, ceiling=60))
    ack_wait: float = 30.0


@frozen(kw_only=True)
class ConsumerDefinition:
    """A durable consumer: which messages, from where on. `name` is shared by all instances."""

    stream: str
    name: str
    filter_subject: str | None = None
    history: bool = False
    """Whether it begins with what the stream holds already, when it is first made."""

    def config(self, retries: Retries, concurrency: int) -> dict[str, Any]:
        """The configuration in JetStream's own words."""
        config: dict[str, Any] = {
            "name": self.name,
            "durable_name": self.name,
            "deliver_policy": "all" if self.history else "new",
            "ack_policy": "explicit",
            "ack_wait": int(retries.ack_wait * NANOSECONDS),
            # The attempts are counted here, where the reason of the last failure is known.
            "max_deliver": -1,
            "max_ack_pending": max(1000, concurrency * 10),
            "replay_policy": "instant",
        }
        if self.filter_subject:
            config["filter_subject"] = self.filter_subject
        return config


class Subscriber:
    """Hands a consumer's messages to a handler, up to `concurrency` at a time."""

    def __init__(
        self,
        link: Link,
        definition: ConsumerDefinition,
        handler: Handler,
        dead_letters: DeadLetters,
        *,
        dead_letter_name: str,
        retries: Retries | None = None,
        concurrency: int = 16,
        key: Key | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        self._link = link
        self._definition = definition
        self._handler = handler
        self._dead_letters = dead_letters
        self._dead_letter_name = dead_letter_name
        self._retries = retries or Retries()
        self._concurrency = concurrency
        self._key = key
        self._on_failure = on_failure
        self._last_of: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Have the consumer exist, and begin. Raises `ApiError` and `NoAnswer`."""
        definition = self._definition
        await call(
            self._link.requests,
            f"CONSUMER.CREATE.{definition.stream}.{definition.name}"
            + (f".{definition.filter_subject}" if definition.filter_subject else ""),
            {
                "stream_name": definition.stream,
                "config": definition.config(self._retries, self._concurrency),
            },
        )
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take nothing new, and return when what was taken is handled."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def pending(self) -> tuple[int, int]:
        """How many messages wait to be delivered, and how many are being handled somewhere."""
        definition = self._definition
        info = await call(
            self._link.requests, f"CONSUMER.INFO.{definition.stream}.{definition.name}"
        )
        return int(info["num_pending"]), int(info["num_ack_pending"])

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with Pull(
                    self._link, self._definition.stream, self._definition.name, self._concurrency
                ) as pull:
                    try:
                        while messages := await pull.take(self._concurrency):
                            failures = 0
                            for message in messages:
                                self._begin(pull, message)
                    finally:
                        for message in pull.untaken():
                            await self._answer(message, _NAK)
            except NatsError as error:
                logger.debug("the consumer %s: %s", self._definition.name, error)
            await asyncio.sleep(_RESUME.delay(failures, random.random()))  # noqa: S311
            failures += 1

    def _begin(self, pull: Pull, message: Msg) -> None:
        delivery = read_delivery(message)
        received = Received(
            message.subject,
            message.headers or {},
            message.data,
            delivery.sequence,
            delivery.deliveries,
        )
        key = self._key(received) if self._key else None
        before = self._last_of.get(key) if key is not None else None
        task = asyncio.create_task(self._handle(pull, message, received, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if key is not None:
            self._last_of[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._last_of.get(key) is task:
            del self._last_of[key]

    async def _handle(
        self, pull: Pull, message: Msg, received: Received, before: asyncio.Task[None] | None
    ) -> None:
        progress = asyncio.create_task(self._tell_progress(message))
        try:
            if before is not None:
                await asyncio.wait([before])
            await self._answer(message, await self._outcome(received))
        finally:
            progress.cancel()
            await pull.release(1)

    async def _outcome(self, received: Received) -> bytes:
        """Handle a message; what is to be answered to the server."""
        try:
            await self._handler(received)
        except Exception as error:
            problem = _problem(error)
            if not isinstance(error, RequestError):
                logger.exception("%s cannot handle %s", self._definition.name, received.subject)
            return await self._failed(received, problem)
        return _ACK

    async def _failed(self, received: Received, problem: RequestError) -> bytes:
        attempt = received.deliveries
        if attempt < self._retries.attempts and not isinstance(problem, Invalid):
            with suppress(RequestError):
                await self._tell_failure(received, problem, dead=False)
            delay = self._retries.between.delay(attempt - 1, random.random())  # noqa: S311
            logger.warning(
                "%s: attempt %d at message %d failed, the next in %.1f s: %s",
                self._definition.name, attempt, received.sequence, delay, problem.message,
            )  # fmt: skip
            return b"-NAK " + orjson.dumps({"delay": int(delay * NANOSECONDS)})
        letter = DeadLetter.about(
            problem,
            consumer=self._dead_letter_name,
            subject=received.subject,
            headers=received.headers,
            data=received.data,
            sequence=received.sequence,
            deliveries=attempt,
        )
        try:
            await self._dead_letters.put(letter)
            await self._tell_failure(received, problem, dead=True)
        except RequestError as away:
            # Not kept anywhere else yet, so it must come again.
            logger.warning("no dead letter could be written: %s", away.message)
            return b"-NAK " + orjson.dumps({"delay": int(5 * NANOSECONDS)})
        logger.error(
            "%s: message %d is a dead letter: %s",
            self._definition.name, received.sequence, problem.message,
        )  # fmt: skip
        return _TERM

    async def _tell_failure(self, received: Received, problem: RequestError, *, dead: bool) -> None:
        if self._on_failure is not None:
            await self._on_failure(received, problem, dead)

    async def _answer(self, message: Msg, answer: bytes) -> None:
        # Where it does not arrive, the message comes again.
        with suppress(NatsError):
            await self._link.client.publish(message.reply, answer)

    async def _tell_progress(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(self._retries.ack_wait / 3)
            await self._answer(message, _PROGRESS)


def _problem(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return Failed(f"the handler failed: {type(error).__name__}", code="handler_failed")

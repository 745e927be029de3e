"""Working off a stream with others: a durable consumer, acknowledged message by message.

Each message is handled at least once, by one of the instances that share the consumer. A handler
that raises gets the message again, after a delay that grows; when it has failed often enough, or
says that it never will succeed, the message goes to the dead letters with the reason.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetters
from cim_domain.errors import CimError, RequestError
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.consumers import Consumer, ConsumerDefinition, ConsumerState, Retries
from cim_domain.nats.jetstream.delivery import read_delivery
from cim_domain.nats.jetstream.pull import Pull
from cim_domain.nats.jetstream.redelivery import (
    NAK,
    PROGRESS,
    Attempts,
    Handler,
    OnFailure,
    Received,
)

__all__ = [
    "ConsumerDefinition",
    "ConsumerState",
    "Handler",
    "Key",
    "OnFailure",
    "Received",
    "Retries",
    "Subscriber",
]

logger = logging.getLogger("cim_domain.nats")

LOOK_EVERY = 5.0
"""Seconds between looks at how far the consumer is, for the case that it is deleted."""

_RESUME = Backoff(first_delay=0.05, ceiling=2)


Key = Callable[[Received], str]
"""Messages with the same key are handled one after another by an instance, as they are delivered:
one that failed comes again behind those that were waiting. Must not raise."""


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
        self._concurrency = concurrency
        self._key = key
        retries = retries or Retries()
        self._progress_every = retries.ack_wait / 3
        self._consumer = Consumer(link, definition, retries, concurrency)
        self._attempts = Attempts(
            definition.name, handler, dead_letters, dead_letter_name, retries, on_failure
        )
        self._pull: Pull | None = None
        self._in_hand: dict[int, Msg] = {}
        self._last_of: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: list[asyncio.Task[None]] = []
        self._stopping = False
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why no messages come now; None: they do, as far as this instance knows."""
        return self._trouble

    async def start(self) -> None:
        """Have the consumer exist, and begin.

        Raises `ConfigurationError` where the server refuses the consumer, `ApiError` and
        `NoAnswer` where it cannot now.
        """
        await self._consumer.ensure()
        self._stopping = False
        self._running = [asyncio.create_task(one()) for one in (self._run, self._watch)]

    async def stop(self) -> None:
        """Take nothing new, hand back what was not begun, and return when the rest is handled."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._running = []
        while self._tasks:
            await asyncio.wait(self._tasks)
        # So that others get at once what was handed back, whatever becomes of the connection.
        with suppress(RequestError):
            await self._consumer.state()

    async def state(self) -> ConsumerState:
        """How the consumer fares, for all instances. Raises `ApiError` and `NoAnswer`."""
        return await self._consumer.state()

    async def pending(self) -> tuple[int, int]:
        """How many messages wait to be delivered, and how many are being handled somewhere."""
        state = await self.state()
        return state.pending, state.in_flight

    async def _run(self) -> None:
        """Take messages and begin with each; again and again, until it is stopped."""
        failures = 0
        definition = self._definition
        while not self._stopping:
            problem = None
            try:
                await self._consumer.ensure()
                pull = self._pull = Pull(
                    self._link,
                    definition.stream,
                    definition.name,
                    self._concurrency,
                    lambda: len(self._in_hand),
                )
                try:
                    async with pull:
                        self._trouble = None
                        while messages := await pull.take():
                            failures = 0
                            for message in messages:
                                self._begin(message)
                finally:
                    for message in pull.untaken():
                        await self._answer(message, NAK)
            except (CimError, NatsError) as error:
                problem = str(error) or type(error).__name__
            except Exception as error:
                logger.exception("taking messages of the consumer %s failed", definition.name)
                problem = f"taking messages failed: {type(error).__name__}"
            self._has_trouble(problem)
            if not self._stopping:
                await asyncio.sleep(_RESUME.delay(failures, random.random()))  # noqa: S311
            failures += 1

    def _has_trouble(self, problem: str | None) -> None:
        level = logging.DEBUG if problem == self._trouble else logging.WARNING
        self._trouble = problem
        if problem is not None:
            logger.log(level, "no messages of %s: %s", self._definition.name, problem)

    async def _watch(self) -> None:
        """Know about where the consumer is, for the day it is gone."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._consumer.state()
            except RequestError as error:
                logger.debug("looking at %s: %s", self._definition.name, error)

    def _begin(self, message: Msg) -> None:
        delivery = read_delivery(message)
        if delivery.sequence in self._in_hand:
            # Late to be acknowledged, it was delivered again: the newest delivery gets the answer.
            self._in_hand[delivery.sequence] = message
            return
        received = Received(
            message.subject,
            message.headers or {},
            message.data,
            delivery.sequence,
            delivery.deliveries,
        )
        key = self._key(received) if self._key else None
        self._in_hand[received.sequence] = message
        before = self._last_of.get(key) if key is not None else None
        task = asyncio.create_task(self._handle(received, before))
        self._tasks.add(task)
        if key is not None:
            self._last_of[key] = task
        task.add_done_callback(lambda done: self._done(received.sequence, key, done))

    def _done(self, sequence: int, key: str | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._in_hand.pop(sequence, None)
        if key is not None and self._last_of.get(key) is task:
            del self._last_of[key]
        if self._pull is not None:
            self._pull.more()

    async def _handle(self, received: Received, before: asyncio.Task[None] | None) -> None:
        progress = asyncio.create_task(self._tell_progress(received.sequence))
        try:
            if before is not None:
                await asyncio.wait([before])
            if before is not None and self._stopping:
                answer = NAK
            else:
                answer = await self._attempts.outcome(received)
        finally:
            progress.cancel()
        # From here on, what is delivered is another attempt.
        await self._answer(self._in_hand.pop(received.sequence), answer)

    async def _answer(self, message: Msg, answer: bytes) -> None:
        # Where it does not arrive, the message comes again.
        with suppress(NatsError):
            await self._link.client.publish(message.reply, answer)

    async def _tell_progress(self, sequence: int) -> None:
        while True:
            await asyncio.sleep(self._progress_every)
            await self._answer(self._in_hand[sequence], PROGRESS)

"""Working off a stream with others: a durable consumer, acknowledged message by message.

Each message is handled at least once, by one of the instances that share the consumer. A handler
that raises gets the message again, after a delay that grows; when it has failed often enough, or
says that it never will succeed, the message goes to the dead letters with the reason. What only
newer code can handle stays with the consumer, for an instance that has it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetters
from cim_domain.errors import CimError, RequestError
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import NANOSECONDS
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.consumers import Consumer, ConsumerDefinition, ConsumerState, Retries
from cim_domain.nats.jetstream.delivery import read_delivery
from cim_domain.nats.jetstream.pull import Pull
from cim_domain.nats.jetstream.redelivery import (
    NAK,
    PROGRESS,
    Attempts,
    Handler,
    OnFailure,
    Postponed,
    Received,
)
from cim_domain.nats.jetstream.unended_attempts import UnendedAttempts

__all__ = [
    "ConsumerDefinition",
    "ConsumerState",
    "Handler",
    "Key",
    "OnFailure",
    "Postponed",
    "Received",
    "Retries",
    "Subscriber",
]

logger = logging.getLogger("cim_domain.nats")

LOOK_EVERY = 5.0
"""Seconds between looks at how far the consumer is, for the case that it is deleted."""

WAITING = 1000
"""So many messages may wait here for their turn, beside those that are being handled."""

WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of those, with which no more is asked for."""

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
        bucket: Bucket,
        dead_letter_name: str,
        retries: Retries | None = None,
        concurrency: int = 16,
        key: Key | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        """`bucket`, which exists, is where it is noted what was begun and did not end."""
        self._link = link
        self._definition = definition
        self._concurrency = concurrency
        self._key = key
        self._retries = retries = retries or Retries()
        self._consumer = Consumer(link, definition, retries)
        self._attempts = Attempts(
            definition.name,
            handler,
            dead_letters,
            dead_letter_name,
            retries,
            on_failure,
            UnendedAttempts(bucket, definition.name),
        )
        self._pull: Pull | None = None
        self._in_hand: dict[int, Msg] = {}
        """What has come and is not answered, by its sequence."""
        self._queues: dict[str, deque[Received]] = {}
        """What waits for another message with its key, behind each that is in work."""
        self._taken = 0
        """How many are in work: they have a slot, or wait for one."""
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting_bytes = 0
        self._postponed: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: list[asyncio.Task[None]] = []
        self._progress: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why no messages come or can be tried now; None: as far as is known here, all is well."""
        return self._trouble or next(iter(self._postponed.values()), None)

    def waiting_for(self, in_flight: int) -> str | None:
        """Why newer code is needed to handle a message, of so many in flight; None: it is not."""
        return self._attempts.waiting_for(in_flight)

    async def ensure(self) -> bool:
        """Have the consumer exist, and know what is handled here; whether it has begun now.

        Raises `ConfigurationError` where the server refuses the consumer, `ApiError` and
        `NoAnswer` where it cannot now.
        """
        return await self._consumer.ensure()

    async def handled(self) -> frozenset[str]:
        """What is handled here and by other versions of the code. Raises as `state` does."""
        return await self._consumer.handled()

    async def start(self) -> None:
        """Have the consumer exist, and begin. Raises as `ensure` does."""
        await self._consumer.ensure()
        self._stopping.clear()
        self._running = [asyncio.create_task(one()) for one in (self._run, self._watch)]
        self._progress = asyncio.create_task(self._tell_progress())

    async def stop(self) -> None:
        """Take nothing new, hand back what was not begun, and return when the rest is handled."""
        self._stopping.set()
        try:
            await _end(*self._running)
            for queue in tuple(self._queues.values()):
                await self._hand_back(queue)
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            # Of those that are left, because nobody waits for them any more, others get the rest.
            await _end(*self._tasks, self._progress)
        self._running, self._progress = [], None
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
        while not self._stopping.is_set():
            problem = None
            try:
                await self._consumer.ensure()
                pull = self._pull = Pull(
                    self._link,
                    definition.stream,
                    definition.name,
                    self._concurrency,
                    self._occupied,
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
            if not self._stopping.is_set():
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

    async def _tell_progress(self) -> None:
        """Have the server know that what is in hand is being seen to."""
        while True:
            await asyncio.sleep(self._retries.ack_wait / 3)
            for message in tuple(self._in_hand.values()):
                await self._answer(message, PROGRESS)

    def _occupied(self) -> int:
        """How many slots are not to be filled: those in work; all, while enough wait here."""
        waiting = len(self._in_hand) - self._taken
        full = waiting >= WAITING or self._waiting_bytes >= WAITING_BYTES
        return self._concurrency if full else self._taken

    def _begin(self, message: Msg) -> None:
        delivery = read_delivery(message)
        again = delivery.sequence in self._in_hand
        # Late to be acknowledged, it was delivered again: the newest delivery gets the answer.
        self._in_hand[delivery.sequence] = message
        if again:
            return
        received = Received(
            message.subject,
            message.headers or {},
            message.data,
            delivery.sequence,
            delivery.deliveries,
            datetime.fromtimestamp(delivery.stored / NANOSECONDS, UTC),
        )
        key = self._key(received) if self._key else None
        if key in self._queues:
            self._queues[key].append(received)
            self._waiting_bytes += len(received.data)
            return
        if key is not None:
            self._queues[key] = deque()
        self._taken += 1
        task = asyncio.create_task(self._work(received, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, received: Received, key: str | None) -> None:
        """Handle a message, and in the same slot those that come to wait for it meanwhile."""
        queue = deque() if key is None else self._queues[key]
        try:
            await self._handle(received)
            while queue and not self._stopping.is_set():
                await self._handle(self._next_of(queue))
            await self._hand_back(queue)
        finally:
            self._taken -= 1
            if key is not None:
                del self._queues[key]
            if self._pull is not None:
                self._pull.more()

    async def _hand_back(self, queue: deque[Received]) -> None:
        while queue:
            await self._answer(self._in_hand.pop(self._next_of(queue).sequence), NAK)

    def _next_of(self, queue: deque[Received]) -> Received:
        received = queue.popleft()
        self._waiting_bytes -= len(received.data)
        return received

    async def _handle(self, received: Received) -> None:
        answer = None
        delays = (self._retries.between.delay(number, random.random()) for number in count())  # noqa: S311
        while answer is None:
            try:
                async with self._slots:
                    answer = await self._attempts.outcome(received)
            except Postponed as problem:
                answer = await self._postpone(received, problem, next(delays))
        # From here on, what is delivered is another attempt.
        await self._answer(self._in_hand.pop(received.sequence), answer)

    async def _postpone(
        self, received: Received, problem: Postponed, seconds: float
    ) -> bytes | None:
        """Keep a message for a while without a slot; the answer to it, where that is to end."""
        logger.warning(
            "%s: message %d waits: %s", self._definition.name, received.sequence, problem.message
        )
        self._postponed[received.sequence] = problem.message
        self._taken -= 1
        if self._pull is not None:
            self._pull.more()
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return None
        else:
            return NAK
        finally:
            self._taken += 1
            del self._postponed[received.sequence]

    async def _answer(self, message: Msg, answer: bytes) -> None:
        # Where it does not arrive, the message comes again.
        with suppress(NatsError):
            await self._link.client.publish(message.reply, answer)


async def _end(*tasks: asyncio.Task[None] | None) -> None:
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)

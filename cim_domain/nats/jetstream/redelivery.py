"""What becomes of a message: handled, tried again later, handed back, or a dead letter.

No message is lost on any way through here: what cannot be written to the dead letters now stays
with its consumer, and so does what only newer code can handle.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import orjson
from attrs import field, frozen

from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import Failed, Invalid, Outdated, RequestError, Unavailable
from cim_domain.model.failures import awaited_model_code, cause_with_text
from cim_domain.nats.connection.lazy_headers import combined
from cim_domain.nats.jetstream.api import NANOSECONDS
from cim_domain.nats.jetstream.consumers import Retries
from cim_domain.nats.jetstream.unended_attempts import UnendedAttempts

logger = logging.getLogger("cim_domain.nats")

ACK = b"+ACK"
NAK = b"-NAK"
TERM = b"+TERM"
PROGRESS = b"+WPI"

T = TypeVar("T")

_REMEMBERED = 10_000

_LATE = 5.0
"""Seconds that what was handed back may come later than was asked for."""


@frozen
class Received:
    """A message as a handler gets it. `deliveries` counts all of them, this one included.

    `stored_at` is when the stream took it in, by the server's clock; None where nobody said.
    """

    subject: str
    headers: Mapping[str, str]
    data: bytes
    sequence: int
    deliveries: int
    stored_at: datetime | None = field(default=None, eq=False)


class Postponed(Unavailable):
    """The service itself is busy, or what it stands on is away: a message could not be tried."""

    @classmethod
    def by(cls, error: RequestError) -> "Postponed":
        """By an error of the service's own."""
        return cls(error.message, code=error.code, details=error.details)


class GaveUp(Failed):
    """A message was begun so often without an end that it is not begun any more."""

    def __init__(self, times: int) -> None:
        super().__init__(
            f"it was begun {times} times in a row and never ended: it may be what ends the process",
            code="gave_up",
        )


Handler = Callable[[Received], Awaitable[None]]
"""Handles a message. Raises `Invalid` where trying again is useless; `Postponed` where it was not
tried, and `Outdated` where newer code is needed, which count as no attempts; and anything else to
be called again."""

OnFailure = Callable[[Received, RequestError, bool], Awaitable[None]]
"""Hears of each attempt that failed, before the server does, and whether the message is a dead
letter by now. Where it raises then, it is told again later, and the message stays."""


class Attempts:
    """Has messages handled, and decides what the server is to be answered."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        dead_letters: DeadLetters,
        dead_letter_name: str,
        retries: Retries,
        on_failure: OnFailure | None,
        unended: UnendedAttempts,
    ) -> None:
        self._name = name
        self._handler = handler
        self._dead_letters = dead_letters
        self._dead_letter_name = dead_letter_name
        self._retries = retries
        self._on_failure = on_failure
        self._unended = unended
        self._handed_back: dict[int, tuple[str, float]] = {}
        """Why newer code is needed, and when it would have come here again, by sequence."""
        self._failures: dict[int, int] = {}
        """How often an attempt has failed here, by the message's sequence."""
        self._given_up: dict[int, RequestError] = {}

    def waiting_for(self, in_flight: int) -> str | None:
        """Why newer code is needed, where that holds something up as far as is known here.

        `in_flight` is how many messages the consumer has not had acknowledged: of none, nothing
        waits. What was handed back and does not come again, another instance has handled.
        """
        now = asyncio.get_running_loop().time()
        for sequence, (_, until) in tuple(self._handed_back.items()):
            if not in_flight or until < now:
                del self._handed_back[sequence]
        return next((why for why, _ in self._handed_back.values()), None)

    async def outcome(self, received: Received) -> bytes:
        """Handle a message; what is to be answered to the server. Raises `Postponed`."""
        problem = self._given_up.get(received.sequence) or await self._attempt(received)
        if isinstance(problem, Postponed):
            await self._tell(received, problem)
            raise problem
        try:
            if isinstance(problem, Outdated):
                return await self._hand_back(received, problem)
            self._handed_back.pop(received.sequence, None)
            if problem is not None:
                return await self._failed(received, problem)
            self._failures.pop(received.sequence, None)
        except Exception:
            logger.exception("%s: message %d comes again", self._name, received.sequence)
            return self._again(received)
        return ACK

    async def _attempt(self, received: Received) -> RequestError | None:
        """Have the message handled; what came in the way of it, if anything."""
        if received.deliveries <= self._retries.uncounted_deliveries:
            return await self._handled(received)
        sequence = received.sequence
        try:
            unended, revision = await self._unended.count(sequence)
            if unended >= self._retries.attempts:
                return GaveUp(unended)
            revision = await self._unended.begin(sequence, unended, revision)
        except RequestError as error:
            return Postponed.by(error)
        try:
            return await self._handled(received)
        finally:
            await self._unended.end(sequence, revision)

    async def _handled(self, received: Received) -> RequestError | None:
        try:
            with awaited_model_code:
                await self._handler(received)
        except RequestError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must not be lost
            return self._unexpected(received, error)
        return None

    async def _failed(self, received: Received, problem: RequestError) -> bytes:
        failures = self._failures.get(received.sequence, 0) + 1
        _remember(self._failures, received.sequence, failures)
        if failures >= self._retries.attempts or isinstance(problem, Invalid | GaveUp):
            return await self._bury(received, problem)
        await self._tell(received, problem)
        logger.warning(
            "%s: attempt %d at message %d failed: %s",
            self._name, failures, received.sequence, problem.message,
        )  # fmt: skip
        return self._again(received)

    def _unexpected(self, received: Received, error: Exception) -> RequestError:
        logger.error("%s cannot handle %s", self._name, received.subject, exc_info=error)
        return Failed(f"the handler failed: {cause_with_text(error)}", code="handler_failed")

    async def _bury(self, received: Received, problem: RequestError) -> bytes:
        letter = DeadLetter.about(
            problem,
            consumer=self._dead_letter_name,
            subject=received.subject,
            headers=combined(received.headers),
            data=received.data,
            sequence=received.sequence,
            deliveries=received.deliveries,
        )
        # Until it is kept elsewhere it comes again, but not to the handler.
        _remember(self._given_up, received.sequence, problem)
        try:
            await self._dead_letters.put(letter)
            if self._on_failure is not None:
                await self._on_failure(received, problem, True)  # noqa: FBT003
        except RequestError as away:
            logger.warning("no dead letter could be written: %s", away.message)
            return self._again(received)
        self._given_up.pop(received.sequence, None)
        self._failures.pop(received.sequence, None)
        logger.error(
            "%s: message %d is a dead letter: %s", self._name, received.sequence, problem.message
        )
        return TERM

    async def _tell(self, received: Received, problem: RequestError) -> None:
        if self._on_failure is not None:
            with suppress(RequestError):
                await self._on_failure(received, problem, False)  # noqa: FBT003

    async def _hand_back(self, received: Received, problem: Outdated) -> bytes:
        """Leave a message to whoever gets it next, which may be an instance of newer code."""
        await self._tell(received, problem)
        sequence, delay = received.sequence, self._delay(received)
        level = logging.DEBUG if sequence in self._handed_back else logging.WARNING
        until = asyncio.get_running_loop().time() + delay + _LATE
        _remember(self._handed_back, sequence, (problem.message, until))
        logger.log(
            level, "%s: message %d is left to newer code: %s",
            self._name, sequence, problem.message,
        )  # fmt: skip
        return _nak(delay)

    def _again(self, received: Received) -> bytes:
        """The answer with which a message is delivered again, later each time."""
        return _nak(self._delay(received))

    def _delay(self, received: Received) -> float:
        draw = random.random()  # noqa: S311 (spreads attempts, guards nothing)
        return self._retries.between.delay(received.deliveries - 1, draw)


def _nak(delay: float) -> bytes:
    return b"-NAK " + orjson.dumps({"delay": int(delay * NANOSECONDS)})


def _remember(known: dict[int, T], sequence: int, what: T) -> None:
    """Note something about a message, and forget what was noted first of too many."""
    known[sequence] = what
    while len(known) > _REMEMBERED:
        del known[next(iter(known))]

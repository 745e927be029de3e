"""Being told what a service does, as it does it: for metrics, and whatever else counts.

async with Service(domain, load_settings(), observer=MyObserver()):
    await stop.wait()
"""

import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Protocol

from attrs import define, field

from cim_domain.commands.decisions import CommandRequest
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import Unavailable
from cim_domain.projections.status import ProjectionStatus
from cim_domain.store.fullness import FULL
from cim_domain.wire.outcome import Outcome

logger = logging.getLogger("cim_domain.observability.observer")


class Observer(Protocol):
    """Is told. Methods are called on the event loop, often: they must be quick.

    Message types are as they came, and anybody may send any.
    """

    def command(self, message_type: str, outcome: Outcome, seconds: float) -> None:
        """A command was carried out, or refused: a client's, a process's or a stored one."""

    def rejection(self, process: str, code: str) -> None:
        """A command of a process was rejected; `command` is told of it, too."""

    def query(self, message_type: str, error: str | None, seconds: float) -> None:
        """A query was answered; `error` is the code of the error that it was answered with."""

    def projection(self, status: ProjectionStatus) -> None:
        """A projection has gone on, waits, or has stopped."""

    def dead_letter(self, letter: DeadLetter) -> None:
        """A message that could not be handled was put among the dead letters."""

    def dead_letter_refused(self, letter: DeadLetter) -> None:
        """There was no room for it there."""


class NoObserver:
    """An `Observer` to whom it is all the same."""

    def rejection(self, process: str, code: str) -> None:
        """See `Observer`."""

    def command(self, message_type: str, outcome: Outcome, seconds: float) -> None:
        """See `Observer`."""

    def query(self, message_type: str, error: str | None, seconds: float) -> None:
        """See `Observer`."""

    def projection(self, status: ProjectionStatus) -> None:
        """See `Observer`."""

    def dead_letter(self, letter: DeadLetter) -> None:
        """See `Observer`."""

    def dead_letter_refused(self, letter: DeadLetter) -> None:
        """See `Observer`."""


@define(eq=False)
class GuardedObserver:
    """Tells another observer. What that raises goes no further; it is logged once."""

    _inner: Observer
    _failed: bool = field(default=False, init=False)

    def command(self, message_type: str, outcome: Outcome, seconds: float) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.command(message_type, outcome, seconds))

    def rejection(self, process: str, code: str) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.rejection(process, code))

    def query(self, message_type: str, error: str | None, seconds: float) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.query(message_type, error, seconds))

    def projection(self, status: ProjectionStatus) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.projection(status))

    def dead_letter(self, letter: DeadLetter) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.dead_letter(letter))

    def dead_letter_refused(self, letter: DeadLetter) -> None:
        """See `Observer`."""
        self._tell(lambda: self._inner.dead_letter_refused(letter))

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            if not self._failed:
                logger.exception("the observer failed; this is logged once")
            self._failed = True


@define(eq=False)
class ObservedDeadLetters:
    """`DeadLetters` that tell of each letter once it is kept, or when there is no room for it."""

    _inner: DeadLetters
    _observer: Observer
    refused: int = field(default=0, init=False)
    """How often there was no room for one."""

    async def put(self, letter: DeadLetter) -> None:
        """See `DeadLetters.put`."""
        try:
            await self._inner.put(letter)
        except Unavailable as error:
            if error.code == FULL:
                level = logging.DEBUG if self.refused else logging.ERROR
                logger.log(
                    level, "dead letters find no room and are counted only: %s", error.message
                )
                self.refused += 1
                self._observer.dead_letter_refused(letter)
            raise
        self._observer.dead_letter(letter)

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return await self._inner.count()


Execute = Callable[[CommandRequest], Coroutine[Any, Any, Outcome]]


def observed(execute: Execute, observer: Observer) -> Execute:
    """Carry out commands so that the observer is told of each."""

    async def execute_observed(request: CommandRequest) -> Outcome:
        started = perf_counter()
        outcome = await execute(request)
        observer.command(request.metadata.message_type, outcome, perf_counter() - started)
        return outcome

    return execute_observed

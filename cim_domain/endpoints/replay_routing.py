"""Replaying dead letters: each to the consumer that could not handle it, and to nobody else.

A request on ``nix.replay.process.builder`` names a letter of that consumer. One of the instances
hands the letter to the consumer and answers what came of it. A letter is deleted once that is done,
and not before: whatever ends the service in between, the letter can be replayed again. One that
fails again stays as it is, under the same sequence; the answer and the log tell the new reason.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Self

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cim_domain.commands.decoding import invalid, require_request
from cim_domain.endpoints.queries import Reply
from cim_domain.errors import Busy, Failed, NotFound, RequestError
from cim_domain.model.failures import cause_with_text
from cim_domain.model.subjects import Subjects
from cim_domain.nats.jetstream.dead_letter_box import DeadLetterBox, StoredLetter
from cim_domain.nats.services.responder import Request, Response
from cim_domain.wire.outcome import Outcome
from cim_domain.wire.replay_result import Replayed, Result

logger = logging.getLogger("cim_domain.replays")


class _Asked(BaseModel):
    """``{"sequence": 17}``: the letter's place among the dead letters."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sequence: int = Field(ge=1, lt=2**63)


@frozen
class Settled:
    """How a consumer was done with a letter."""

    result: Result = "handled"
    message: str = ""

    @classmethod
    def by(cls, outcome: Outcome) -> Self:
        """By the domain's last word on a command."""
        if outcome.error is None:
            return cls()
        result: Result = "conflict" if outcome.status == "conflict" else "rejected"
        return cls(result, outcome.error.message)


Replay = Callable[[StoredLetter], Awaitable[Settled]]
"""Has a consumer handle a letter. Whatever it raises, the letter stays."""


@frozen
class ReplayHandler:
    """Answers ``nix.replay.>``. `consumers` are those that this service has, by name."""

    _subjects: Subjects
    _box: DeadLetterBox
    _consumers: Mapping[str, Replay]
    _under_way: set[int] = field(factory=set, init=False)

    async def handle(self, request: Request) -> Response:
        """Replay the letter; the answer says what came of it."""
        try:
            require_request(request.headers, request.reply)
            consumer = request.subject.removeprefix(self._subjects.replay(""))
            replayed = await self._replay(consumer, _sequence(request.data))
        except RequestError as error:
            logger.warning("%s: %s", request.subject, error.message)
            return self.error(error)
        logger.info("letter %d of %s: %s", replayed.sequence, consumer, replayed.result)
        return Response(replayed.to_wire())

    def error(self, error: RequestError) -> Response:
        """The response that words an error."""
        return Reply.error(error).response()

    async def _replay(self, consumer: str, sequence: int) -> Replayed:
        if sequence in self._under_way:
            raise Busy(f"letter {sequence} is being replayed now", code="replaying")
        self._under_way.add(sequence)
        try:
            letter = await self._box.get(sequence)
            settled = await self._hand_over(consumer, letter)
            # Somebody else may have been as quick, or has thrown it away meanwhile.
            with suppress(NotFound):
                await self._box.discard(sequence)
        finally:
            self._under_way.discard(sequence)
        return Replayed(
            consumer=consumer, sequence=sequence, result=settled.result, message=settled.message
        )

    async def _hand_over(self, consumer: str, letter: StoredLetter) -> Settled:
        if letter.letter.consumer != consumer:
            raise NotFound(
                f"letter {letter.sequence} is one of {letter.letter.consumer}, not of"
                f" {consumer[:200]}"
            )
        replay = self._consumers.get(consumer)
        if replay is None:
            raise NotFound(
                f"this service has no consumer {consumer[:200]}: run the code that has it, or, if"
                " it was renamed here, give it its former name (name='...' in its class statement);"
                " or discard the letter",
                code="unknown_consumer",
            )
        try:
            return await replay(letter)
        except RequestError:
            raise
        except Exception as error:
            logger.exception("%s cannot handle letter %d", consumer, letter.sequence)
            raise Failed(
                f"the handler failed: {cause_with_text(error)}", code="handler_failed"
            ) from error


def _sequence(data: bytes) -> int:
    try:
        return _Asked.model_validate_json(data).sequence
    except ValidationError as error:
        raise invalid(error, "replay") from None

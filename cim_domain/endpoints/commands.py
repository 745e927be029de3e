"""Answering commands: from requests on subjects to the executor, and back."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

from attrs import frozen

from cim_domain.commands.decoding import (
    NOT_A_REQUEST,
    command_metadata,
    read_command,
    read_message,
    require_request,
)
from cim_domain.commands.interception import Execute
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import Failed, RequestError
from cim_domain.identity import IdSource, fresh_id
from cim_domain.model.domain import Domain
from cim_domain.model.failures import cause
from cim_domain.model.interception import intercepted
from cim_domain.model.messages import Command
from cim_domain.model.metadata import Clock, Metadata, utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.lazy_headers import combined
from cim_domain.nats.services.responder import Request, Response
from cim_domain.observability.observer import NoObserver, Observer
from cim_domain.store.fullness import FULL
from cim_domain.wire.codec import COMMAND_ID, EXPECTED_VERSION, error_headers, whole_number
from cim_domain.wire.outcome import Outcome

logger = logging.getLogger("cim_domain.service.service")

CONSUMER = "commands"
"""The consumer that dead letters name for commands nobody waits for."""


@frozen
class OwnCommand:
    """A command that the service carries out itself, whatever the domain, and without an event.

    `carry_out` is given the command and the organization on whose behalf it comes.
    """

    command: type[Command]
    carry_out: Callable[[Any, str | None], Awaitable[None]]


class CommandHandler:
    """Answers ``nix.cmd.>``. A command without a reply that cannot be served is a dead letter."""

    def __init__(
        self,
        domain: Domain,
        subjects: Subjects,
        execute: Execute,
        dead_letters: DeadLetters,
        own: Mapping[str, OwnCommand] | None = None,
        observer: Observer | None = None,
        clock: Clock = utc_now,
        room: Callable[[], int] | None = None,
        patience: float | None = None,
    ) -> None:
        """`room` says how many bytes a reply may have now; `patience` is for interceptors."""
        self._patience = patience
        self._room = room
        self._domain = domain
        self._own = own or {}
        self._subjects = subjects
        self._execute = execute
        self._dead_letters = dead_letters
        self._observer = observer or NoObserver()
        self._clock = clock

    async def handle(self, request: Request) -> Response:
        """Carry out the command."""
        started = perf_counter()
        try:
            outcome = await self.carry_out(request)
        except Exception as error:
            logger.exception("the command on %s failed", request.subject)
            outcome = Outcome.refused(Failed(f"the service failed: {cause(error)}"))
        if outcome.error is not None and not request.reply:
            await self._report(request, outcome.error, outcome.command_id)
        message_type = ".".join(request.subject.split(".")[-2:])
        self._observer.command(message_type, outcome, perf_counter() - started)
        return _response(outcome, self._room() if self._room else None)

    def error(self, error: RequestError) -> Response:
        """The response to a command whose own response could not be sent."""
        return _response(Outcome.refused(error))

    async def carry_out(self, request: Request, ids: IdSource | None = None) -> Outcome:
        """What comes of the command in a request.

        Where it has no id, `ids` gives it the one that it has each time it comes; or else it gets a
        fresh one, and cannot come again.
        """
        metadata = None
        try:
            require_request(request.headers, request.reply)
            message_type = self._subjects.type_in(request.subject)
            metadata = command_metadata(message_type, request.headers, ids or fresh_id, self._clock)
            if own := self._own.get(message_type):
                whole_number(request.headers, EXPECTED_VERSION)
                await self._carry_out_own(own, metadata, request.data)
                return Outcome.done(metadata)
            command = read_command(
                self._domain,
                metadata,
                request.headers,
                request.data,
                repeatable=ids is not None or COMMAND_ID in request.headers,
            )
        except RequestError as error:
            return Outcome.refused(error, metadata)
        return await self._execute(command)

    async def _carry_out_own(self, own: OwnCommand, metadata: Metadata, data: bytes) -> None:
        command = read_message(own.command, data)
        await intercepted(
            self._domain.interceptors,
            command,
            metadata,
            lambda: own.carry_out(command, metadata.organization_id),
            lambda _: None,
            stands=True,
            patience=self._patience,
        )

    async def _report(self, request: Request, error: RequestError, command_id: str | None) -> None:
        """Log what nobody waits for; keep the command unless the domain itself said no."""
        logger.warning("%s, sent without a reply subject: %s", request.subject, error.message)
        # What a stream has delivered is still there; nobody who may only read can fill this one.
        if error.status in {"rejected", "conflict"} or error.code == NOT_A_REQUEST:
            return
        headers = combined(request.headers)
        if command_id is not None:
            # Whether it had an effect may be unknown; with its id it has one when it is replayed.
            headers.setdefault(COMMAND_ID, command_id)
        letter = DeadLetter.about(
            error,
            consumer=CONSUMER,
            subject=request.subject,
            headers=headers,
            data=request.data,
        )
        try:
            await self._dead_letters.put(letter)
        except RequestError as away:
            level = logging.DEBUG if away.code == FULL else logging.ERROR
            logger.log(level, "it could not be put among the dead letters: %s", away.message)


def _response(outcome: Outcome, room: int | None = None) -> Response:
    error = outcome.error
    if error is None:
        return Response(outcome.to_wire(room))
    return Response(outcome.to_wire(room), error_headers(error.http, error.message), error.message)

"""Commands that are stored first, for now or for later; part of `cim_domain.client.client`."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from nats.aio.msg import Msg

from cim_domain.client.messages import MessagingClient, Payload, message_of
from cim_domain.client.queue_protocol import (
    Scheduled,
    Submitted,
    check_scheduled,
    due,
    submitted,
    until_final,
)
from cim_domain.client.requests import headers_of, own_headers, without_outcome
from cim_domain.command_queue.status_requests import NOT_SCHEDULED, CancelCommand, GetCommandStatus
from cim_domain.command_queue.stream import schedule_headers
from cim_domain.errors import Busy, Conflict, Invalid, NotFound, Rejected, Unavailable
from cim_domain.identity import canonical_id, fresh_id
from cim_domain.model.messages import Command
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.wire.codec import (
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    EXPECTED_VERSION,
    MESSAGE_ID,
    ORGANIZATION_ID,
)
from cim_domain.wire.command_status import CommandStatus, status_key


class SubmittingClient(MessagingClient):
    """Has commands stored, and tells how they stand."""

    async def submit(
        self,
        command: Command | str,
        payload: Payload | None = None,
        *,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Submitted:
        """Have a command stored, to be carried out as soon as a service can; it has one effect.

        Sent again with its id it is stored once, for two minutes; later, carried out once all the
        same. Raises `Invalid`, `Unavailable`, and `NoAnswer` as `send` does.
        """
        message_type, data = message_of(command, payload)
        command_id = _command_id(command_id)
        headers = headers_of(
            {
                MESSAGE_ID: status_key(command_id, organization_id),
                COMMAND_ID: command_id,
                CORRELATION_ID: correlation_id,
                CAUSATION_ID: causation_id,
                ORGANIZATION_ID: organization_id,
                EXPECTED_VERSION: expected_version,
                **own_headers(actor_id, meta),
            }
        )
        subject = self.subjects.submit(message_type)
        return submitted(command_id, subject, await self._store(command_id, subject, data, headers))

    async def schedule(
        self,
        command: Command | str,
        payload: Payload | None = None,
        *,
        at: datetime | None = None,
        after: timedelta | float | None = None,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Scheduled:
        """Have a command stored, to be carried out at a time, or after so long (or many seconds).

        One in the past is carried out at once. Raises `Invalid` (``bad_time`` for times without a
        time zone, before 1970 or after 2262), `Conflict` (``already_scheduled``) where one with
        this id waits already or is known to have been done or cancelled, `Unavailable`, and
        `NoAnswer` as `send` does.
        """
        message_type, data = message_of(command, payload)
        time = due(at, after)
        fresh = command_id is None
        command_id = _command_id(command_id)
        headers = headers_of(
            {
                **schedule_headers(time, self.subjects.submit(message_type)),
                COMMAND_ID: command_id,
                CORRELATION_ID: correlation_id,
                CAUSATION_ID: causation_id,
                ORGANIZATION_ID: organization_id,
                EXPECTED_VERSION: expected_version,
                **own_headers(actor_id, meta),
            }
        )
        if not fresh:
            await self._check_unused(
                command_id, organization_id=organization_id, actor_id=actor_id, meta=meta
            )
        subject = self.subjects.schedule(command_id)
        reply = await self._store(command_id, subject, data, headers)
        check_scheduled(command_id, subject, reply, fresh=fresh)
        return Scheduled(command_id, time)

    async def cancel(
        self,
        command_id: str,
        *,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> bool:
        """Have a scheduled command never carried out; False where it is too late for that.

        Once cancelled, an id cannot be scheduled anew. Raises `RequestError` and `NoAnswer`.
        """
        command = CancelCommand.message_type
        outcome = await self.send(
            command,
            {"command_id": _command_id(command_id)},
            organization_id=organization_id,
            actor_id=actor_id,
            meta=meta,
        )
        if outcome.error is not None and outcome.error.code != NOT_SCHEDULED:
            raise outcome.error
        return outcome.error is None

    async def status(
        self,
        command_id: str,
        *,
        sequence: int | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> CommandStatus:
        """How a stored command stands. One that waits its turn is found by its `sequence` alone.

        Raises `NotFound` where nothing is known of it, other `RequestError`s, and `NoAnswer`.
        """
        asked: dict[str, Any] = {"command_id": _command_id(command_id)}
        if sequence is not None:
            asked["sequence"] = sequence
        query = GetCommandStatus.message_type
        answer = await self.ask(
            query, asked, organization_id=organization_id, actor_id=actor_id, meta=meta
        )
        return CommandStatus.from_wire(answer.data)

    async def wait_for(
        self,
        command_id: str,
        *,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - how long it may take is part of the question
    ) -> CommandStatus:
        """What came of a stored command, as soon as that is final; the server tells when to ask.

        `timeout` is in seconds; None: as long as it takes. Raises `NoAnswer` (``timeout``), which
        says what was in the way last, and what `status` raises except `NotFound`.
        """
        command_id = _command_id(command_id)
        key = status_key(command_id, organization_id)
        known: CommandStatus | None = None

        async def ask() -> CommandStatus | None:
            nonlocal known
            known = await self._standing_now(
                command_id, organization_id=organization_id, actor_id=actor_id, meta=meta
            )
            return known

        try:
            async with asyncio.timeout(timeout):
                return await until_final(self._link, self.subjects.outcome(key), ask)
        except TimeoutError:
            why = f": {known.error.message}" if known and known.error else ""
            raise NoAnswer(
                f"the command {command_id} is not done within {timeout:g} s{why}",
                code="timeout",
                details={"command_id": command_id},
            ) from None

    async def _check_unused(self, command_id: str, **who: Any) -> None:
        """Raise `Conflict` where a command with this id is settled: one more would not be done.

        Where no service is there to ask, it stays unknown.
        """
        try:
            standing = await self._standing_now(command_id, **who)
        except Rejected:
            # Who may schedule need not be allowed to ask.
            return
        if standing is not None and standing.final:
            raise Conflict(
                f"a command with the id {command_id} was {standing.state} before: schedule this one"
                " with another id",
                code="already_scheduled",
                details={"command_id": command_id, "state": standing.state},
            )

    async def _standing_now(self, command_id: str, **who: Any) -> CommandStatus | None:
        """How a command stands, if that is known, and somebody is there to say it."""
        try:
            return await self.status(command_id, **who)
        except (NotFound, Busy, Unavailable):
            return None

    async def _store(
        self, command_id: str, subject: str, data: bytes, headers: Mapping[str, str]
    ) -> Msg:
        try:
            return await self._requests.one(subject, data, headers, None)
        except NoAnswer as error:
            if error.code == "no_responders":
                raise NoAnswer(
                    f"nothing stores commands on {subject}: start the service once, it makes the"
                    " stream",
                    code=error.code,
                ) from error
            raise without_outcome(error, command_id) from error


def _command_id(given: str | None) -> str:
    """An id as it becomes part of a subject. Raises `Invalid` (``bad_id``) for what is no UUID."""
    try:
        return fresh_id() if given is None else canonical_id(given)
    except ValueError:
        raise Invalid(f"{given!a} is no id of a command: expected a UUID", code="bad_id") from None

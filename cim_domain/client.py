"""The other side of a service: sending commands, asking queries, reading events.

    async with DomainClient.open("nix", load_settings()) as nix:
        outcome = await nix.send("flake.create", {"path": "/srv/web"})
        answer = await nix.ask("flake.get", {"path": "/srv/web"}, min_sequence=outcome.sequence)
        print(answer.json()["description"])

Messages go as types with their fields, or as the domain's own classes where a program has them.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Self

import orjson
from attrs import frozen
from nats.aio.msg import Msg

from cim_domain.client_requests import (
    BETWEEN,
    NUMBER,
    RetriedRequests,
    error_in,
    error_number,
    headers_of,
    without_outcome,
)
from cim_domain.codec import (
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    ERROR_CODE,
    EXPECTED_VERSION,
    MESSAGE_ID,
    MIN_SEQUENCE,
    ORGANIZATION_ID,
    SEQUENCE,
)
from cim_domain.errors import Invalid, NotFound
from cim_domain.identity import canonical_id, fresh_id
from cim_domain.messages import Command, Message, Query
from cim_domain.nats.config import NatsSettings
from cim_domain.nats.dead_letter_box import CONSUMER_NAME, DeadLetterBox
from cim_domain.nats.link import Link
from cim_domain.nats.requests import NoAnswer
from cim_domain.outcome import Outcome
from cim_domain.replayed import Replayed
from cim_domain.replies import bad_reply
from cim_domain.standing import Standing
from cim_domain.standings import standing_key
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventRecord
from cim_domain.subjects import Subjects
from cim_domain.submission import schedule_headers
from cim_domain.submitting import (
    Scheduled,
    Submitted,
    check_scheduled,
    due,
    submitted,
    until_final,
)
from cim_domain.tracking import NOT_SCHEDULED, CancelCommand, CommandStatus

__all__ = ["Answer", "DomainClient", "NoAnswer", "Scheduled", "Standing", "Submitted"]

TIMEOUT = 15.0
"""Seconds for an answer: more than a service itself waits for a server that is away."""

REPLAY_TIMEOUT = 300.0
"""Seconds for a replay: a process may do real work, a projection read the log anew."""

RETRY = 2.0
"""Seconds for which a request that found nobody is sent again."""


Payload = Mapping[str, Any] | bytes
"""A message's own fields: as they are, or as JSON already."""

_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


@frozen
class Answer:
    """What a query was answered: JSON, and how far the views had read (None: it was not said)."""

    data: bytes
    sequence: int | None

    def json(self) -> Any:
        """The result. Raises `Failed` (``bad_reply``) where it is no JSON."""
        try:
            return orjson.loads(self.data)
        except orjson.JSONDecodeError:
            raise bad_reply("its answer is no JSON") from None


class DomainClient:
    """Talks to the services of one domain, over a connection that exists.

    `timeout` is how many seconds one answer may take, `retry` for how many seconds a request is
    sent again that found no service there or no connection; 0 for never. To send a command again
    is safe: it always has an id.
    """

    def __init__(
        self, link: Link, subjects: Subjects, *, timeout: float = TIMEOUT, retry: float = RETRY
    ) -> None:
        self.subjects = subjects
        self._link = link
        self._requests = RetriedRequests(link, timeout, retry)
        self._log = JetStreamEvents(link, subjects)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        domain: str,
        settings: NatsSettings,
        *,
        url: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - of each request, not of this
        retry: float = RETRY,
    ) -> AsyncIterator[Self]:
        """A client with a connection of its own. Raises what `Link.open` raises."""
        subjects = Subjects(domain, settings.subject_prefix)
        link = await Link.open(settings, name=f"{subjects.service}-client", url=url)
        try:
            yield cls(link, subjects, timeout=timeout, retry=retry)
        finally:
            await link.drain()

    async def send(
        self,
        command: Command | str,
        payload: Payload | None = None,
        *,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        organization_id: str | None = None,
        expected_version: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - how long the service may take
    ) -> Outcome:
        """Have a command carried out; what came of it, also when it was refused.

        Raises `Invalid` for what cannot be sent, and `NoAnswer` when no reply came. Unless its
        code is ``no_responders`` it is unknown then whether the command had an effect:
        `details["command_id"]` is the id under which to send it again.
        """
        message_type, data = _message(command, payload)
        command_id = command_id or fresh_id()
        headers = headers_of(
            {
                COMMAND_ID: command_id,
                CORRELATION_ID: correlation_id,
                CAUSATION_ID: causation_id,
                ORGANIZATION_ID: organization_id,
                EXPECTED_VERSION: expected_version,
            }
        )
        try:
            reply = await self._requests.one(
                self.subjects.command(message_type), data, headers, timeout
            )
        except NoAnswer as error:
            raise without_outcome(error, command_id) from error
        if not reply.data and (reply.headers or {}).get(ERROR_CODE):
            raise error_in(reply)
        return Outcome.from_wire(reply.data, error_number(reply) or 500)

    async def submit(
        self,
        command: Command | str,
        payload: Payload | None = None,
        *,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        organization_id: str | None = None,
        expected_version: int | None = None,
    ) -> Submitted:
        """Have a command stored, to be carried out as soon as a service can; it has one effect.

        Sent again with its id it is stored once, for two minutes; later, carried out once all the
        same. Raises `Invalid`, `Unavailable`, and `NoAnswer` as `send` does.
        """
        message_type, data = _message(command, payload)
        command_id = _command_id(command_id)
        headers = headers_of(
            {
                MESSAGE_ID: standing_key(command_id, organization_id),
                COMMAND_ID: command_id,
                CORRELATION_ID: correlation_id,
                CAUSATION_ID: causation_id,
                ORGANIZATION_ID: organization_id,
                EXPECTED_VERSION: expected_version,
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
        expected_version: int | None = None,
    ) -> Scheduled:
        """Have a command stored, to be carried out at a time, or after so long (or many seconds).

        One in the past is carried out at once. Raises `Invalid` (``bad_time`` for times without a
        time zone or after 2262), `Conflict` (``already_scheduled``) where one with this id waits
        already, `Unavailable`, and `NoAnswer` as `send` does.
        """
        message_type, data = _message(command, payload)
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
            }
        )
        subject = self.subjects.schedule(command_id)
        reply = await self._store(command_id, subject, data, headers)
        check_scheduled(command_id, subject, reply, fresh=fresh)
        return Scheduled(command_id, time)

    async def cancel(self, command_id: str, *, organization_id: str | None = None) -> bool:
        """Have a scheduled command never carried out; False where it is too late for that.

        Once cancelled, an id cannot be scheduled anew. Raises `RequestError` and `NoAnswer`.
        """
        command = CancelCommand.message_type
        outcome = await self.send(
            command, {"command_id": _command_id(command_id)}, organization_id=organization_id
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
    ) -> Standing:
        """How a stored command stands. One that waits its turn is found by its `sequence` alone.

        Raises `NotFound` where nothing is known of it, other `RequestError`s, and `NoAnswer`.
        """
        asked: dict[str, Any] = {"command_id": _command_id(command_id)}
        if sequence is not None:
            asked["sequence"] = sequence
        query = CommandStatus.message_type
        return Standing.from_wire(
            (await self.ask(query, asked, organization_id=organization_id)).data
        )

    async def wait_for(
        self,
        command_id: str,
        *,
        organization_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - how long it may take is part of the question
    ) -> Standing:
        """What came of a stored command, as soon as that is final; the server tells when to ask.

        `timeout` is in seconds; None: as long as it takes. Raises `NoAnswer` (``timeout``), and
        what `status` raises except `NotFound`.
        """
        command_id = _command_id(command_id)
        key = standing_key(command_id, organization_id)
        try:
            async with asyncio.timeout(timeout):
                return await until_final(
                    self._link,
                    self.subjects.outcome(key),
                    lambda: self._standing_now(command_id, organization_id),
                )
        except TimeoutError:
            raise NoAnswer(
                f"the command {command_id} is not done within {timeout:g} s",
                code="timeout",
                details={"command_id": command_id},
            ) from None

    async def _standing_now(self, command_id: str, organization_id: str | None) -> Standing | None:
        """How a command stands, if that is known; where no service is there, wait for one."""
        while True:
            try:
                return await self.status(command_id, organization_id=organization_id)
            except NotFound:
                return None
            except NoAnswer as error:
                if error.code == "timeout":
                    raise
            await asyncio.sleep(BETWEEN.ceiling)

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

    async def ask(
        self,
        query: Query | str,
        payload: Payload | None = None,
        *,
        min_sequence: int | None = None,
        organization_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answer:
        """The answer to a query, from views that have read up to `min_sequence` at least.

        Raises the `RequestError` that the service's reply tells of, `Invalid` for what cannot be
        sent, and `NoAnswer`.
        """
        message_type, data = _message(query, payload)
        headers = headers_of({MIN_SEQUENCE: min_sequence, ORGANIZATION_ID: organization_id})
        reply = await self._requests.one(self.subjects.query(message_type), data, headers, timeout)
        if error_number(reply) is not None:
            raise error_in(reply)
        sequence = (reply.headers or {}).get(SEQUENCE, "")
        return Answer(reply.data, int(sequence) if NUMBER.fullmatch(sequence) else None)

    async def health(self) -> dict[str, Any]:
        """The health of one instance of the service, measured now. Raises `RequestError`."""
        reply = await self._requests.one(self.subjects.health, b"", {}, None)
        if error_number(reply) is not None:
            raise error_in(reply)
        try:
            report = orjson.loads(reply.data)
        except orjson.JSONDecodeError:
            report = None
        if not isinstance(report, dict) or "status" not in report:
            raise bad_reply("its reply is no report of health")
        return report

    async def replay(
        self,
        consumer: str,
        sequence: int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - how long the consumer may take
    ) -> Replayed:
        """Have a dead letter handled by the consumer that could not, and by nobody else.

        `sequence` is the letter's own, `consumer` the one that it names. It is deleted when that is
        done. Raises the `RequestError` that stands in the way still, and `NoAnswer`: unless its
        code is ``no_responders``, the consumer may yet be at it; the letter is there until it is
        done, and may be replayed again.
        """
        if not CONSUMER_NAME.fullmatch(consumer):
            raise Invalid(f"{consumer[:100]!a} is no name of a consumer", code="bad_consumer")
        data = orjson.dumps({"sequence": sequence})
        reply = await self._requests.one(
            self.subjects.replay(consumer), data, {}, timeout or REPLAY_TIMEOUT
        )
        if error_number(reply) is not None:
            raise error_in(reply)
        return Replayed.from_wire(reply.data)

    @property
    def dead_letters(self) -> DeadLetterBox:
        """The dead letters: to list, to look at, to throw away."""
        subjects = self.subjects
        return DeadLetterBox(self._link, subjects.dead_letter_stream, subjects.dead_letter_root)

    async def events(self, after: int = 0) -> AsyncGenerator[EventRecord, None]:
        """The events behind a sequence, up to the last there is now. Raises `Unavailable`."""
        async with aclosing(self._log.read(after)) as slices:
            async for part in slices:
                for record in part.records:
                    yield record

    async def follow(self, after: int = 0) -> AsyncGenerator[EventRecord, None]:
        """The events behind a sequence, and on as they are stored; never ends by itself."""
        async with aclosing(self._log.follow(after)) as slices:
            async for part in slices:
                for record in part.records:
                    yield record

    async def history(self, aggregate: str, aggregate_id: str) -> tuple[EventRecord, ...]:
        """The events of one aggregate, in order. Raises `Unavailable`."""
        return await self._log.load(aggregate, aggregate_id)


def _message(message: Message | str, payload: Payload | None) -> tuple[str, bytes]:
    """Type and payload. Raises `Invalid` for a type that would be another subject."""
    if isinstance(message, Message):
        return message.message_type, message.to_wire()
    if not _TYPE.fullmatch(message):
        raise Invalid(
            f"{message[:100]!r} is no type of a message: expected aggregate.action, in lower snake"
            " case, such as flake.create",
            code="bad_type",
        )
    return message, payload if isinstance(payload, bytes) else orjson.dumps(payload or {})


def _command_id(given: str | None) -> str:
    """An id as it becomes part of a subject. Raises `Invalid` (``bad_id``) for what is no UUID."""
    try:
        return fresh_id() if given is None else canonical_id(given)
    except ValueError:
        raise Invalid(f"{given!a} is no id of a command: expected a UUID", code="bad_id") from None

"""Sending commands and asking queries; part of `cim_domain.client.client`."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, overload

import orjson
from attrs import frozen
from pydantic import TypeAdapter, ValidationError

from cim_domain.client.requests import (
    NUMBER,
    RetriedRequests,
    error_in,
    error_number,
    headers_of,
    own_headers,
    without_outcome,
)
from cim_domain.errors import Failed, Invalid
from cim_domain.identity import fresh_id
from cim_domain.model.failures import problems
from cim_domain.model.messages import TYPE, Command, Message, Query
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.wire.codec import (
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    ERROR_CODE,
    EXPECTED_VERSION,
    MIN_SEQUENCE,
    ORGANIZATION_ID,
    SEQUENCE,
)
from cim_domain.wire.error_replies import bad_reply
from cim_domain.wire.outcome import Outcome

TIMEOUT = 15.0
"""Seconds for an answer: more than a service itself waits for a server that is away."""

RETRY = 2.0
"""Seconds for which a request that found nobody is sent again."""

Payload = Mapping[str, Any] | bytes
"""A message's own fields: as they are, or as JSON already."""

T = TypeVar("T")


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

    @overload
    def read(self, kind: type[T]) -> T: ...
    @overload
    def read(self, kind: Any) -> Any: ...
    def read(self, kind: Any) -> Any:
        """The result as a `kind`: a view, ``Page[OrderView]``, or whatever pydantic can read.

        Raises `Failed` (``bad_answer``), with the fields, where it is none.
        """
        try:
            return _adapter(kind).validate_json(self.data)
        except ValidationError as error:
            fields = problems(error)
            name = getattr(kind, "__name__", str(kind))
            raise Failed(
                f"the answer is no {name}: {fields[0]['path']}: {fields[0]['message']}",
                code="bad_answer",
                details={"fields": fields},
            ) from None


class MessagingClient:
    """Has commands carried out and queries answered by whatever service is there."""

    def __init__(
        self, link: Link, subjects: Subjects, *, timeout: float = TIMEOUT, retry: float = RETRY
    ) -> None:
        self.subjects = subjects
        self._link = link
        self._requests = RetriedRequests(link, timeout, retry)

    async def send(
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
        timeout: float | None = None,  # noqa: ASYNC109 - how long the service may take
    ) -> Outcome:
        """Have a command carried out; what came of it, also when it was refused.

        Raises `Invalid` for what cannot be sent, and `NoAnswer` when no reply came. Unless its
        code is ``no_responders`` it is unknown then whether the command had an effect:
        `details["command_id"]` is the id under which to send it again.
        """
        message_type, data = message_of(command, payload)
        command_id = command_id or fresh_id()
        headers = headers_of(
            {
                COMMAND_ID: command_id,
                CORRELATION_ID: correlation_id,
                CAUSATION_ID: causation_id,
                ORGANIZATION_ID: organization_id,
                EXPECTED_VERSION: expected_version,
                **own_headers(actor_id, meta),
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

    @overload
    async def ask(
        self,
        query: Query,
        answer: type[T],
        /,
        *,
        min_sequence: int | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> T: ...
    @overload
    async def ask(
        self,
        query: Query | str,
        payload: Payload | None = None,
        *,
        min_sequence: int | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answer: ...
    async def ask(
        self,
        query: Query | str,
        payload: Any = None,
        *,
        min_sequence: int | None = None,
        organization_id: str | None = None,
        actor_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Any:
        """The answer to a query, from views that have read up to `min_sequence` at least.

        With a class in the place of the payload, ``ask(GetOrder(number="1"), OrderView)``, it is
        what `Answer.read` makes of it. With a type's name, the payload is the query's fields.
        Raises the `RequestError` that the service's reply tells of, `Invalid` for what cannot be
        sent, and `NoAnswer`.
        """
        typed = isinstance(query, Query) and payload is not None
        message_type, data = message_of(query, None if typed else payload)
        headers = headers_of(
            {
                MIN_SEQUENCE: min_sequence,
                ORGANIZATION_ID: organization_id,
                **own_headers(actor_id, meta),
            }
        )
        reply = await self._requests.one(self.subjects.query(message_type), data, headers, timeout)
        if error_number(reply) is not None:
            raise error_in(reply)
        sequence = (reply.headers or {}).get(SEQUENCE, "")
        answer = Answer(reply.data, int(sequence) if NUMBER.fullmatch(sequence) else None)
        return answer.read(payload) if typed else answer


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def message_of(message: Message | str, payload: Payload | None) -> tuple[str, bytes]:
    """Type and payload. Raises `Invalid` for a type that would be another subject."""
    if isinstance(message, Message):
        return message.message_type, message.to_wire()
    if not TYPE.fullmatch(message):
        raise Invalid(
            f"{message[:100]!r} is no type of a message: expected aggregate.action, in lower snake"
            " case, such as flake.create",
            code="bad_type",
        )
    return message, payload if isinstance(payload, bytes) else orjson.dumps(payload or {})

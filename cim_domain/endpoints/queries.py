"""Answering queries: from the views of the projection that takes the query."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

import orjson
from attrs import frozen

from cim_domain.commands.decoding import query_metadata, read_message, require_request
from cim_domain.errors import Busy, Failed, NotFound, RequestError, Unavailable
from cim_domain.identity import fresh_id
from cim_domain.model.domain import Domain
from cim_domain.model.failures import cause
from cim_domain.model.interception import intercepted
from cim_domain.model.messages import Query
from cim_domain.model.metadata import Clock, Metadata, utc_now
from cim_domain.model.projection import Answer
from cim_domain.model.subjects import Subjects
from cim_domain.nats.services.responder import Request, Response
from cim_domain.observability.observer import NoObserver, Observer
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.views.generations import VIEWS_REPLACED
from cim_domain.wire.codec import MIN_SEQUENCE, SEQUENCE, error_headers, whole_number

logger = logging.getLogger("cim_domain.queries")

OWN_LIMIT = 250
"""So many of the service's own queries are worked on at a time; past it the answer is `busy`."""

OWN_AT_ONCE = 8
"""So many of them ask the server at a time: each asks it several times, and others want it, too."""


@frozen
class Reply:
    """What goes back to whoever asked."""

    data: bytes
    headers: Mapping[str, str]
    problem: str | None = None
    code: str | None = None
    """Of an error."""

    @classmethod
    def error(cls, error: RequestError) -> "Reply":
        """``{"error": {code, message, details}}``, and the headers of an error in NATS services."""
        return cls(
            orjson.dumps({"error": error.as_dict()}),
            error_headers(error.http, error.message),
            error.message,
            error.code,
        )

    def response(self) -> Response:
        """The same as a responder sends it."""
        return Response(self.data, self.headers, self.problem)


@frozen
class OwnQuery:
    """A query that the service answers itself, whatever the domain.

    `answer` is given the query and the organization on whose behalf it is asked; what it returns
    fits into JSON.
    """

    query: type[Query]
    answer: Callable[[Any, str | None], Awaitable[Any]]


class Answerer:
    """Answers the queries of a domain from its projections' runners.

    `own` are those, by type, that the service answers itself.
    `limit` is how many may be worked on at a time, `wait` how many seconds one may wait for views
    that are behind, `patience` how many seconds one may take altogether.
    """

    def __init__(
        self,
        domain: Domain,
        runners: Mapping[str, ProjectionRunner],
        *,
        limit: int = 1_000,
        wait: float = 5.0,
        patience: float = 30.0,
        own: Mapping[str, OwnQuery] | None = None,
        observer: Observer | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._domain = domain
        self._own = own or {}
        self._runners = runners
        self._limit = limit
        self._wait = wait
        self._patience = patience
        self._observer = observer or NoObserver()
        self._clock = clock
        self._in_flight = 0
        self._own_in_flight = 0
        self._own_turns = asyncio.Semaphore(OWN_AT_ONCE)

    @property
    def in_flight(self) -> int:
        """How many queries are being answered."""
        return self._in_flight

    async def answer(self, message_type: str, headers: Mapping[str, str], data: bytes) -> Reply:
        """The reply to a query. What goes wrong is in the reply."""
        started = perf_counter()
        reply = await self._reply(message_type, headers, data)
        self._observer.query(message_type, reply.code, perf_counter() - started)
        return reply

    async def _reply(self, message_type: str, headers: Mapping[str, str], data: bytes) -> Reply:
        if self._in_flight >= self._limit:
            return Reply.error(Busy(f"{self._in_flight} queries are in flight; ask again later"))
        self._in_flight += 1
        limit = asyncio.timeout(self._patience)
        try:
            async with limit:
                return await self._answer(message_type, headers, data)
        except RequestError as error:
            return Reply.error(error)
        except Exception as error:
            # The method may run out of a time of its own, too.
            if isinstance(error, TimeoutError) and limit.expired():
                return Reply.error(
                    Failed(f"the query took longer than {self._patience:g} s", code="timeout")
                )
            logger.exception("answering %s failed", message_type)
            return Reply.error(
                Failed(f"answering failed: {cause(error)}; the service's log says more")
            )
        finally:
            self._in_flight -= 1

    async def _answer(self, message_type: str, headers: Mapping[str, str], data: bytes) -> Reply:
        if own := self._own.get(message_type):
            return await self._answer_own(own, message_type, headers, data)
        found = self._domain.queries.get(message_type)
        if found is None:
            raise NotFound(
                f"there is no query {message_type[:200]!r} in the domain {self._domain.name!r}",
                code="unknown_query",
            )
        model, answer = found
        metadata = query_metadata(message_type, headers, fresh_id, self._clock)
        min_sequence = whole_number(headers, MIN_SEQUENCE) or 0
        query = read_message(answer.query, data or b"{}", message_type)
        runner = self._runners[model.name]
        return await self._intercepted(
            query, metadata, lambda: self._read(runner, answer, query, metadata, min_sequence)
        )

    async def _intercepted(
        self, query: Query, metadata: Metadata, answer: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        around = self._domain.interceptors
        # Nothing is stored: what an interceptor refuses afterwards has not been answered.
        return await intercepted(around, query, metadata, answer, lambda _: None, stands=False)

    async def _read(
        self,
        runner: ProjectionRunner,
        answer: Answer,
        query: Query,
        metadata: Metadata,
        min_sequence: int,
    ) -> Reply:
        organization_id = metadata.organization_id
        reading = await runner.reading(organization_id, min_sequence, self._wait)
        try:
            answered = await answer.ask(query, reading.views, metadata)
        except Unavailable as error:
            if error.code != VIEWS_REPLACED or not await runner.reopened(self._wait):
                raise
            reading = await runner.reading(organization_id, min_sequence, self._wait)
            answered = await answer.ask(query, reading.views, metadata)
        return Reply(answered, {SEQUENCE: str(reading.sequence)})

    async def _answer_own(
        self, own: OwnQuery, message_type: str, headers: Mapping[str, str], data: bytes
    ) -> Reply:
        if self._own_in_flight >= OWN_LIMIT:
            raise Busy(f"{self._own_in_flight} such queries are in flight; ask again later")
        self._own_in_flight += 1
        try:
            # What it is answered from is no view, but a header is read all the same.
            whole_number(headers, MIN_SEQUENCE)
            asked = read_message(own.query, data or b"{}")
            metadata = query_metadata(message_type, headers, fresh_id, self._clock)
            return await self._intercepted(
                asked, metadata, lambda: self._in_turn(own, asked, metadata)
            )
        finally:
            self._own_in_flight -= 1

    async def _in_turn(self, own: OwnQuery, query: Query, metadata: Metadata) -> Reply:
        async with self._own_turns:
            answered = await own.answer(query, metadata.organization_id)
        return Reply(orjson.dumps(answered), {})


class QueryHandler:
    """Answers ``nix.query.>``."""

    def __init__(self, subjects: Subjects, answerer: Answerer) -> None:
        self._subjects = subjects
        self._answerer = answerer

    async def handle(self, request: Request) -> Response:
        """Answer the query."""
        try:
            require_request(request.headers, request.reply)
        except RequestError as error:
            return self.error(error)
        message_type = self._subjects.type_in(request.subject)
        reply = await self._answerer.answer(message_type, request.headers, request.data)
        return reply.response()

    def error(self, error: RequestError) -> Response:
        """The response that words an error."""
        return Reply.error(error).response()

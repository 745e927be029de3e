"""The other side of a service: sending commands, asking queries, reading events.

    async with DomainClient.open("nix", load_settings()) as nix:
        outcome = await nix.send("flake.create", {"path": "/srv/web"})
        answer = await nix.ask("flake.get", {"path": "/srv/web"}, min_sequence=outcome.sequence)
        print(answer.json()["description"])

Messages go as types with their fields, or as the domain's own classes where a program has them.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

import orjson

from cim_domain.client.messages import RETRY, TIMEOUT
from cim_domain.client.queued_commands import SubmittingClient
from cim_domain.client.requests import error_in, error_number
from cim_domain.errors import Invalid
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letter_box import CONSUMER_NAME, DeadLetterBox
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventStore
from cim_domain.wire.error_replies import bad_reply
from cim_domain.wire.replay_result import Replayed

REPLAY_TIMEOUT = 300.0
"""Seconds for a replay: a process may do real work, a projection read the log anew."""


class DomainClient(SubmittingClient):
    """Talks to the services of one domain, over a connection that exists.

    `timeout` is how many seconds one answer may take, `retry` for how many seconds a request is
    sent again that found no service there or no connection; 0 for never. To send a command again
    is safe: it always has an id.
    """

    def __init__(
        self, link: Link, subjects: Subjects, *, timeout: float = TIMEOUT, retry: float = RETRY
    ) -> None:
        super().__init__(link, subjects, timeout=timeout, retry=retry)
        self.log: EventStore = JetStreamEvents(link, subjects)
        """The domain's log itself, read without its service; a client appends nothing."""

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
        async with aclosing(self.log.read(after)) as slices:
            async for part in slices:
                for record in part.records:
                    yield record

    async def follow(self, after: int = 0) -> AsyncGenerator[EventRecord, None]:
        """The events behind a sequence, and on as they are stored; never ends by itself."""
        async with aclosing(self.log.follow(after)) as slices:
            async for part in slices:
                for record in part.records:
                    yield record

    async def history(self, aggregate: str, aggregate_id: str) -> tuple[EventRecord, ...]:
        """The events of one aggregate, in order. Raises `Unavailable`."""
        return await self.log.load(aggregate, aggregate_id)

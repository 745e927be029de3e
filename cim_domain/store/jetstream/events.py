"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError
from cim_domain.nats.jetstream.reader import StreamMessage, follow_stream
from cim_domain.store.checks import another_log
from cim_domain.store.jetstream.appends import Appends
from cim_domain.store.jetstream.attempts import Patience, retriable
from cim_domain.store.jetstream.histories import Histories
from cim_domain.store.jetstream.publications import limits_of
from cim_domain.store.port import START, Commit, Limits, Position, Slice
from cim_domain.wire.codec import read_event


class JetStreamEvents:
    """An `EventStore` on a stream that exists; see `event_stream`."""

    def __init__(self, link: Link, subjects: Subjects, patience: Patience | None = None) -> None:
        self._link = link
        self._stream = subjects.event_stream
        self._source = subjects.service
        self._patience = patience or Patience()
        self._histories = Histories(link, subjects, self._patience.answer)
        self._appends = Appends(link, subjects, self._histories, self._patience)

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`: what the server at hand takes."""
        return limits_of(self._link.client.max_payload)

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        return await self._appends.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        version, records = await self._patience.retried(
            self._stream, lambda: self._histories.of(aggregate, aggregate_id, after)
        )
        if version < after.version:
            raise another_log(aggregate, aggregate_id, version, after)
        return records

    async def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        head = await self.head()
        position = after
        while position < head:
            messages = await self._patience.retried(
                self._stream, partial(self._histories.range, position + 1, head)
            )
            position = messages[-1].sequence
            yield Slice(tuple(map(self._histories.record, messages)), head)

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        async with aclosing(follow_stream(self._link, self._stream, after)) as slices:
            try:
                async for part in slices:
                    records = tuple(self._delivered(message) for message in part.messages)
                    yield Slice(records, part.head)
            except ApiError as error:
                raise retriable(error, self._stream) from error

    async def head(self) -> int:
        """See `EventStore.head`: as the leader knows it."""
        state = await self._patience.retried(self._stream, self._histories.state)
        return int(state["last_seq"])

    def _delivered(self, delivered: StreamMessage) -> EventRecord:
        message = delivered.message
        return read_event(
            message.subject, message.headers, message.data, delivered.sequence, self._source
        )

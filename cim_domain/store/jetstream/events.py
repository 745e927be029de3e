"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from attrs import frozen

from cim_domain.errors import Unavailable
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError
from cim_domain.nats.jetstream.patience import Later, Patience, retriable
from cim_domain.nats.jetstream.reader import StreamMessage, follow_stream
from cim_domain.store.checks import another_log
from cim_domain.store.gapless import gapless
from cim_domain.store.jetstream.appends import Appends
from cim_domain.store.jetstream.histories import Histories
from cim_domain.store.jetstream.holes import Holes
from cim_domain.store.jetstream.known_log import KnownLog
from cim_domain.store.jetstream.publications import limits_of
from cim_domain.store.jetstream.stream import partitioned
from cim_domain.store.port import START, Commit, Limits, LogIdentity, Position, Slice
from cim_domain.wire.codec import read_event

T = TypeVar("T")


@frozen
class _Tools:
    """What works on the log once it is known how many partitions it has."""

    histories: Histories
    appends: Appends


class JetStreamEvents:
    """An `EventStore` on a stream that exists; see `ensure_log`."""

    def __init__(self, link: Link, subjects: Subjects, patience: Patience | None = None) -> None:
        self._link = link
        self._subjects = subjects
        self._stream = subjects.event_stream
        self._patience = patience or Patience()
        self._known = KnownLog(link, subjects, self._patience.answer)
        self._holes = Holes(link.requests, self._stream, self._patience.answer)
        self._made: _Tools | None = None

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`: what the server at hand takes."""
        return limits_of(self._link.client.max_payload)

    async def identity(self) -> LogIdentity:
        """See `EventStore.identity`: as the stream's metadata say."""
        return await self._patience.retried(self._stream, self._known.check)

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        return await (await self._tools()).appends.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        histories = (await self._tools()).histories
        version, records = await self._read(lambda: histories.of(aggregate, aggregate_id, after))
        if version < after.version:
            await self._read(partial(self._holes.require_none, 0, None))
            raise another_log(aggregate, aggregate_id, version, after)
        return records

    async def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        histories = (await self._tools()).histories
        head = await self.head() if until is None else until
        position = after
        while position < head:
            messages = await self._read(partial(histories.range, position + 1, head))
            position = messages[-1].sequence
            yield Slice(tuple(map(histories.record, messages)), head)

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        async with (
            aclosing(self._delivered(after)) as slices,
            aclosing(gapless(slices, after, self._record_at)) as whole,
        ):
            async for part in whole:
                if part.records:
                    last = part.records[-1].metadata
                    self._known.saw(last.sequence, last.message_id)
                yield part

    async def first_lost(self) -> int | None:
        """See `EventStore.first_lost`."""
        return await self._read(self._holes.first)

    async def event_at(self, sequence: int) -> str | None:
        """See `Log.event_at`: as any replica has it, or the leader where that one has none."""
        histories = (await self._tools()).histories
        return await self._read(partial(histories.event_at, sequence))

    async def head(self) -> int:
        """See `EventStore.head`: as the leader knows it."""
        histories = (await self._tools()).histories
        state = await self._read(histories.state)
        return int(state["last_seq"])

    async def types(self) -> Mapping[str, int]:
        """See `EventStore.types`: by the subjects that the leader has."""
        return await self._read((await self._tools()).histories.types)

    async def _still_known(self) -> None:
        """Wait until it is known that what a reading goes on with by itself is the same log."""
        while True:
            try:
                await self.identity()
            except Unavailable as error:
                if error.code != Unavailable.default_code or self._link.client.is_closed:
                    raise
            else:
                return

    async def _tools(self) -> _Tools:
        if self._made is None:
            subjects = partitioned(self._subjects, await self.identity())
            histories = Histories(self._link, subjects, self._patience.answer, self._holes)
            appends = Appends(self._link, subjects, histories, self._patience, self._known)
            self._made = _Tools(histories, appends)
        return self._made

    async def _read(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` reads, tried again as need be, all of it from the log that is known."""

        async def checked() -> T:
            await self._known.check()
            connection = self._link.client.connections
            found = await attempt()
            if connection != self._link.client.connections:
                raise Later("the connection was another one meanwhile", code="disconnected")
            return found

        return await self._patience.retried(self._stream, checked)

    async def _delivered(self, after: int) -> AsyncGenerator[Slice, None]:
        """What the server sends of the log, which may have gaps."""
        following = follow_stream(self._link, self._stream, after, interrupted=self._known.doubt)
        async with aclosing(following) as slices:
            try:
                async for part in slices:
                    await self._still_known()
                    yield Slice(tuple(map(self._record, part.messages)), part.head)
            except ApiError as error:
                raise retriable(error, self._stream) from error

    async def _record_at(self, sequence: int) -> EventRecord | None:
        histories = (await self._tools()).histories
        return await self._read(partial(histories.record_at, sequence))

    def _record(self, delivered: StreamMessage) -> EventRecord:
        message = delivered.message
        return read_event(
            message.subject,
            message.headers,
            message.data,
            delivered.sequence,
            self._subjects.service,
        )

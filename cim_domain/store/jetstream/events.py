"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from attrs import frozen

from cim_domain.errors import ConfigurationError, Failed
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.jetstream.patience import Patience, retriable
from cim_domain.nats.jetstream.reader import StreamMessage, follow_stream
from cim_domain.store.checks import another_log
from cim_domain.store.jetstream.appends import Appends
from cim_domain.store.jetstream.histories import Histories
from cim_domain.store.jetstream.publications import limits_of
from cim_domain.store.jetstream.stream import log_identity, partitioned
from cim_domain.store.port import START, Commit, Limits, LogIdentity, Position, Slice
from cim_domain.wire.codec import read_event


@frozen
class _Log:
    """What works on the log once it is known which one it is."""

    identity: LogIdentity
    histories: Histories
    appends: Appends


class JetStreamEvents:
    """An `EventStore` on a stream that exists; see `ensure_log`."""

    def __init__(self, link: Link, subjects: Subjects, patience: Patience | None = None) -> None:
        self._link = link
        self._subjects = subjects
        self._stream = subjects.event_stream
        self._patience = patience or Patience()
        self._known: _Log | None = None

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`: what the server at hand takes."""
        return limits_of(self._link.client.max_payload)

    async def identity(self) -> LogIdentity:
        """See `EventStore.identity`: as the stream's metadata say."""
        return (await self._log()).identity

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        return await (await self._log()).appends.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`."""
        histories = (await self._log()).histories
        version, records = await self._patience.retried(
            self._stream, lambda: histories.of(aggregate, aggregate_id, after)
        )
        if version < after.version:
            raise another_log(aggregate, aggregate_id, version, after)
        return records

    async def read(self, after: int = 0, until: int | None = None) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        histories = (await self._log()).histories
        head = await self.head() if until is None else until
        position = after
        while position < head:
            messages = await self._patience.retried(
                self._stream, partial(histories.range, position + 1, head)
            )
            position = messages[-1].sequence
            yield Slice(tuple(map(histories.record, messages)), head)

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
        histories = (await self._log()).histories
        state = await self._patience.retried(self._stream, histories.state)
        return int(state["last_seq"])

    async def _log(self) -> _Log:
        if self._known is None:
            identity = await self._patience.retried(self._stream, self._identity)
            subjects = partitioned(self._subjects, identity)
            histories = Histories(self._link, subjects, self._patience.answer)
            appends = Appends(self._link, subjects, histories, self._patience)
            self._known = _Log(identity, histories, appends)
        return self._known

    async def _identity(self) -> LogIdentity:
        info = await call(
            self._link.requests, f"STREAM.INFO.{self._stream}", timeout=self._patience.answer
        )
        try:
            return log_identity(self._subjects, info["config"])
        except ConfigurationError as error:
            raise Failed(str(error), code="another_log") from error

    def _delivered(self, delivered: StreamMessage) -> EventRecord:
        message = delivered.message
        return read_event(
            message.subject,
            message.headers,
            message.data,
            delivered.sequence,
            self._subjects.service,
        )

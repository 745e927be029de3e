"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event.

Every write names the sequence that the aggregate's last event must have, always by the one pattern
for all of the aggregate's events: on a replicated stream, patterns that overlap but differ as text
are not checked against each other.

A write whose answer does not come has an unknown outcome. It is sent again, with the same ids and
the same expectation; a server that has it already refuses or says "duplicate", and then the
aggregate's tail, read from the leader, tells what happened.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import lru_cache, partial
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4

from attrs import field, frozen
from nats.errors import ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError

from cim_domain.codec import event_headers, read_event
from cim_domain.errors import Failed, Invalid, Unavailable
from cim_domain.nats.backoff import Backoff
from cim_domain.nats.direct import StoredMessage, get_range, take_by_subject
from cim_domain.nats.jetstream import STREAM_NOT_FOUND, ApiError, answer_of, call
from cim_domain.nats.limits import check_sizes
from cim_domain.nats.link import Link
from cim_domain.nats.outgoing import extended, header_block
from cim_domain.nats.reader import StreamMessage, follow_stream
from cim_domain.nats.requests import NoAnswer
from cim_domain.nats.streams import StreamDefinition
from cim_domain.store.checks import another_log, check_commits, tail_of
from cim_domain.store.port import (
    START,
    Commit,
    EventRecord,
    Limits,
    Position,
    Slice,
    StoreConflict,
)
from cim_domain.subjects import Subjects

# Error codes of the server that say: not as expected, or known already. See `_outcome`.
_WRONG_LAST_SEQUENCE = {10071}
_WRITE_UNDER_WAY = {10164}
_KNOWN_ID = {10201}
# The same, or another write, is still under way; or the batch met too many others: again, later.
_LATER = {10158, 10176, 10210}
_FULL = {10023, 10047, 10077, 10122}

HEADERS_MARGIN = 8 * 1024
"""Bytes of `max_payload` that an event's data leave to its headers."""

RANGE = 1000

EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"

_BATCH_ROOM = 128
"""Bytes that a batch may add to a message's headers."""
_LONG_INBOX = "_" * 64

T = TypeVar("T")


def event_stream(subjects: Subjects, replicas: int = 1) -> StreamDefinition:
    """The stream that holds a domain's events; nothing can be deleted from it."""
    return StreamDefinition(
        subjects.event_stream,
        {
            "subjects": [subjects.journals],
            "storage": "file",
            "retention": "limits",
            "num_replicas": replicas,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "discard": "new",
            "duplicate_window": 120 * 1_000_000_000,
            "allow_direct": True,
            "allow_atomic": True,
            "deny_delete": True,
            "deny_purge": True,
            "republish": {"src": subjects.journals, "dest": subjects.republished},
        },
    )


@lru_cache(maxsize=8)
def _limits(max_payload: int) -> Limits:
    return Limits(events=1000, event_bytes=max_payload - HEADERS_MARGIN)


@frozen
class Patience:
    """How long the store tries before it says that the server is away. All in seconds."""

    answer: float = 2.0
    """For one answer of the server."""
    budget: float = 12.0
    """For all tries of one operation together; outlasts the election of a leader (4 to 8 s)."""
    between: Backoff = field(factory=lambda: Backoff(first_delay=0.05, ceiling=0.5))
    """From one try to the next."""


class JetStreamEvents:
    """An `EventStore` on a stream that exists; see `event_stream`."""

    def __init__(self, link: Link, subjects: Subjects, patience: Patience | None = None) -> None:
        self._link = link
        self._subjects = subjects
        self._stream = subjects.event_stream
        self._source = subjects.service
        self._patience = patience or Patience()

    @property
    def limits(self) -> Limits:
        """See `EventStore.limits`: what the server at hand takes."""
        return _limits(self._link.client.max_payload)

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`. One event is a plain publish, several are an atomic batch."""
        check_commits(commits, self.limits)
        messages = [message for commit in commits for message in self._messages(commit)]
        for message in messages:
            self._check_size(message)
        return await self._retried(lambda: self._outcome(commits, messages))

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        """See `EventStore.load`.

        The leader says which exact subjects there are and how many messages each; these are read
        from any replica and checked to be complete.
        """
        version, records = await self._retried(
            lambda: self._history(aggregate, aggregate_id, after)
        )
        if version < after.version:
            raise another_log(aggregate, aggregate_id, version, after)
        return records

    async def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.read`."""
        head = await self.head()
        position = after
        while position < head:
            messages = await self._retried(partial(self._range, position + 1, head))
            position = messages[-1].sequence
            yield Slice(tuple(self._stored(message) for message in messages), head)

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        """See `EventStore.follow`."""
        async with aclosing(follow_stream(self._link, self._stream, after)) as slices:
            try:
                async for part in slices:
                    records = tuple(self._delivered(message) for message in part.messages)
                    yield Slice(records, part.head)
            except ApiError as error:
                raise _retriable(error, self._stream) from error

    async def head(self) -> int:
        """See `EventStore.head`: as the leader knows it."""

        async def ask() -> int:
            return int((await self._state())["last_seq"])

        return await self._retried(ask)

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again for want of an answer, until the budget is spent; raise anything else."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience.budget
        for tries in count():
            try:
                return await attempt()
            except (NoAnswer, _Later, ApiError) as raised:
                error = _retriable(raised, self._stream)
                delay = self._patience.between.delay(tries, random.random())  # noqa: S311
                if clock() + delay >= end:
                    raise Unavailable(
                        f"the event store did not answer for {self._patience.budget:g} s"
                        f" ({error.message}); whether a command had an effect is unknown until it"
                        " is sent again with the same id",
                        details={"reason": error.code},
                    ) from error
            await asyncio.sleep(delay)
        raise AssertionError("count() does not end")

    async def _outcome(
        self, commits: Sequence[Commit], messages: Sequence["_Outgoing"]
    ) -> tuple[Position, ...]:
        try:
            answer = await (
                self._publish(messages[0]) if len(messages) == 1 else self._batch(messages)
            )
        except ApiError as error:
            if error.error_code in _WRONG_LAST_SEQUENCE | _WRITE_UNDER_WAY | _KNOWN_ID:
                return await self._resolve(commits, error.error_code)
            if error.error_code in _LATER:
                raise _Later(error.description, code="busy") from error
            if error.error_code in _FULL:
                raise Unavailable(
                    f"the stream {self._stream} takes no more ({error.description}): give the"
                    " server more storage",
                    code="log_full",
                ) from error
            raise
        if answer.get("duplicate"):
            return await self._resolve(commits)
        if "seq" not in answer:
            raise NoAnswer("something answered that is not a stream", code="no_acknowledgement")
        return _positions(commits, int(answer["seq"]))

    async def _publish(self, message: "_Outgoing") -> dict[str, Any]:
        (reply,) = await self._link.requests.many(
            message.subject, message.data, block=message.block, timeout=self._patience.answer
        )
        return answer_of(message.subject, reply)

    async def _batch(self, messages: Sequence["_Outgoing"]) -> dict[str, Any]:
        """One atomic batch; its first message asks for an answer, or overload looks like a gap."""
        batch = uuid4().hex
        last = len(messages)
        sent = [
            message.in_batch(batch, number, commit=number == last)
            for number, message in enumerate(messages, 1)
        ]
        first = asyncio.create_task(self._publish(sent[0]))
        # A turn of the loop, in which that task sends its message: the order must hold.
        await asyncio.sleep(0)
        try:
            for message in sent[1:-1]:
                self._link.client.send(message.subject, message.data, block=message.block)
            return await self._publish(sent[-1])
        except (OutboundBufferLimitError, ConnectionClosedError, ConnectionDrainingError) as error:
            raise NoAnswer("there is no connection to the server", code="disconnected") from error
        except ApiError:
            # Where the first was refused, the last is merely said to follow a gap.
            await first
            raise
        finally:
            first.cancel()
            await asyncio.wait([first])
            if not first.cancelled():
                first.exception()

    async def _resolve(
        self, commits: Sequence[Commit], error_code: int | None = None
    ) -> tuple[Position, ...]:
        """What became of a write that the server refused or knew: stored before, or a conflict."""
        histories = await asyncio.gather(
            *(self._history(one.aggregate, one.aggregate_id, one.expected) for one in commits)
        )
        found = [
            tail_of(commit, tail) for commit, (_, tail) in zip(commits, histories, strict=True)
        ]
        if all(found):
            return tuple(position for position in found if position)
        refused = [
            commit.aggregate_id
            for commit, (version, _), position in zip(commits, histories, found, strict=True)
            if version != commit.expected.version and not position
        ]
        if refused:
            raise StoreConflict("other events were stored meanwhile", refused)
        if error_code in _WRITE_UNDER_WAY:
            raise _Later("another write to the aggregate is under way", code="busy")
        if error_code in _WRONG_LAST_SEQUENCE:
            raise StoreConflict("other events were expected than there are", refused)
        raise StoreConflict("the log has an event with such an id already", refused)

    async def _history(
        self, aggregate: str, aggregate_id: str, after: Position
    ) -> tuple[int, tuple[EventRecord, ...]]:
        """How many events the aggregate has, and those that follow a position."""
        counts = await self._counts(self._subjects.journal_of(aggregate, aggregate_id))
        version = sum(counts.values())
        wanted = version - after.version
        if wanted <= 0:
            return version, ()
        found: dict[int, tuple[EventRecord, StoredMessage]] = {}

        def take(message: StoredMessage) -> None:
            found[message.sequence] = (self._stored(message), message)

        await asyncio.gather(
            *(
                take_by_subject(
                    self._link.requests,
                    self._stream,
                    subject,
                    take,
                    start=after.sequence + 1,
                    limit=min(number, wanted),
                    timeout=self._patience.answer,
                )
                for subject, number in counts.items()
            )
        )
        records = _complete(
            [found[sequence][0] for sequence in sorted(found)],
            after.version,
            version,
            f"{aggregate} {aggregate_id}",
        )
        newest = found[records[-1].metadata.sequence][1]
        await self._require_whole_commit(newest, aggregate, aggregate_id)
        return version, records

    async def _require_whole_commit(
        self, newest: StoredMessage, aggregate: str, aggregate_id: str
    ) -> None:
        """Raise `_Later` while the commit that an aggregate's newest event is of is being stored.

        The server counts the messages of a batch one by one while it stores them. A batch that does
        not end with this message goes on with the next: with another aggregate, if all is there.
        """
        batch = newest.headers.get(BATCH_ID)
        if batch is None or BATCH_COMMIT in newest.headers:
            return
        following = await self._range(newest.sequence + 1, newest.sequence + 1)
        same = following[0].headers.get(BATCH_ID) == batch
        own = self._subjects.journal_of(aggregate, aggregate_id).removesuffix("*")
        if same and following[0].subject.startswith(own):
            raise _Later("a commit to the aggregate is under way", code="busy")

    async def _counts(self, pattern: str) -> dict[str, int]:
        state = await self._state(pattern)
        return {subject: int(number) for subject, number in (state.get("subjects") or {}).items()}

    async def _state(self, pattern: str | None = None) -> dict[str, Any]:
        info = await call(
            self._link.requests,
            f"STREAM.INFO.{self._stream}",
            {"subjects_filter": pattern} if pattern else None,
            timeout=self._patience.answer,
        )
        state: dict[str, Any] = info["state"]
        return state

    async def _range(self, start: int, head: int) -> list[StoredMessage]:
        messages = await get_range(
            self._link.requests,
            self._stream,
            start=start,
            limit=min(RANGE, head - start + 1),
            timeout=self._patience.answer,
        )
        if not messages or messages[0].sequence != start:
            raise _Later("a replica is behind", code="behind")
        return messages

    def _messages(self, commit: Commit) -> list["_Outgoing"]:
        # On the first message alone: it holds for all that the batch adds to this aggregate, and
        # every reader of the log pays for each header.
        expectation = {
            EXPECTED_SEQUENCE: str(commit.expected.sequence),
            EXPECTED_SUBJECT: self._subjects.journal_of(commit.aggregate, commit.aggregate_id),
        }
        outgoing: list[_Outgoing] = []
        for event in commit.events:
            headers = event_headers(event.metadata)
            if not outgoing:
                headers.update(expectation)
            subject = self._subjects.journal(event.metadata.message_type, commit.aggregate_id)
            outgoing.append(_Outgoing(subject, event.data, header_block(headers)))
        return outgoing

    def _check_size(self, message: "_Outgoing") -> None:
        """Raise `Failed` for a message that would end the connection, as the last of a batch."""
        block = len(message.block) + _BATCH_ROOM
        try:
            check_sizes(
                self._link.client, message.subject, block, len(message.data), reply=_LONG_INBOX
            )
        except Invalid as error:
            raise Failed(error.message, code="too_large", details=error.details) from error

    def _stored(self, message: StoredMessage) -> EventRecord:
        return read_event(
            message.subject, message.headers, message.data, message.sequence, self._source
        )

    def _delivered(self, delivered: StreamMessage) -> EventRecord:
        message = delivered.message
        return read_event(
            message.subject, message.headers, message.data, delivered.sequence, self._source
        )


def _retriable(error: Unavailable | ApiError, stream: str) -> Unavailable:
    """What may be tried again, as such; raises what may not."""
    if not isinstance(error, ApiError):
        return error
    if error.status_code == 503:
        return _Later(error.description)
    if error.error_code == STREAM_NOT_FOUND:
        raise Unavailable(
            f"there is no stream {stream} that holds the events: start the service once",
            code="log_missing",
        ) from error
    raise error


class _Later(Unavailable):
    """The server could not now; the same again may work."""


@frozen
class _Outgoing:
    """A message on its way into the stream."""

    subject: str
    data: bytes
    block: bytes
    """Its headers."""

    def in_batch(self, batch: str, number: int, *, commit: bool) -> "_Outgoing":
        """The same as a part of an atomic batch."""
        lines = f"{BATCH_ID}: {batch}\r\n{BATCH_SEQUENCE}: {number}\r\n"
        if commit:
            lines += f"{BATCH_COMMIT}: 1\r\n"
        return _Outgoing(self.subject, self.data, extended(self.block, lines))


def _positions(commits: Sequence[Commit], last: int) -> tuple[Position, ...]:
    """Where each commit ends in a batch whose last message has the sequence `last`."""
    sequence = last - sum(len(commit.events) for commit in commits)
    positions = []
    for commit in commits:
        sequence += len(commit.events)
        positions.append(Position(commit.events[-1].metadata.aggregate_version, sequence))
    return tuple(positions)


def _complete(
    records: Sequence[EventRecord], after: int, version: int, name: str
) -> tuple[EventRecord, ...]:
    """The records, if they are the versions that follow `after`, up to `version` at least.

    Raises `_Later` where some are missing, as on a replica that is behind, and `Failed` where there
    are enough but their versions do not follow one another: then the log itself is damaged.
    """
    found = [record for record in records if record.metadata.aggregate_version <= version]
    versions = [record.metadata.aggregate_version for record in found]
    if versions == list(range(after + 1, version + 1)):
        return tuple(found)
    if len(found) < version - after:
        raise _Later("a replica is behind", code="behind")
    raise Failed(
        f"the history of {name} is damaged: its events have the versions {versions[:20]}"
        f" where {after + 1} to {version} are due",
        code="corrupt_history",
    )

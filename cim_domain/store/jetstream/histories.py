"""Reading histories: an aggregate's events, whole or not at all, and ranges of the log.

The leader says which exact subjects there are and how many messages each; these are read from any
replica and checked to be complete.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from cim_domain.errors import Failed
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import StoredMessage, get_range, take_by_subject
from cim_domain.nats.jetstream.leader_reads import newest_on, next_on
from cim_domain.nats.jetstream.patience import Later
from cim_domain.store.jetstream.holes import Holes
from cim_domain.store.jetstream.publications import BATCH_COMMIT, BATCH_ID
from cim_domain.store.port import CORRUPT_HISTORY, Position
from cim_domain.wire.codec import read_event

RANGE = 1000
"""So many messages are read at once."""

COUNTED = 10_000
"""So many subjects are asked for at once; of a log that has more, those of one partition."""

_PAUSE = 0.05
"""Seconds between such questions: while the server looks, it stores nothing."""


@frozen
class Histories:
    """What one try at reading gets. `answer` is how many seconds each answer may take.

    Raises `Later`, `NoAnswer` and `ApiError` where another try may get more.
    """

    _link: Link
    _subjects: Subjects
    _answer: float
    _holes: Holes

    async def of(
        self, aggregate: str, aggregate_id: str, after: Position
    ) -> tuple[int, tuple[EventRecord, ...]]:
        """How many events an aggregate has, and those that follow a position."""
        counts = await self._counts(self._subjects.journal_of(aggregate, aggregate_id))
        version = sum(counts.values())
        wanted = version - after.version
        if wanted <= 0:
            return version, ()
        found: dict[int, tuple[EventRecord, StoredMessage]] = {}

        def take(message: StoredMessage) -> None:
            found[message.sequence] = (self.record(message), message)

        await asyncio.gather(
            *(
                take_by_subject(
                    self._link.requests,
                    self._subjects.event_stream,
                    subject,
                    take,
                    start=after.sequence + 1,
                    limit=min(number, wanted),
                    timeout=self._answer,
                )
                for subject, number in counts.items()
            )
        )
        records = [found[sequence][0] for sequence in sorted(found)]
        name = f"{aggregate} {aggregate_id}"
        try:
            records = _complete(records, after.version, version, name)
        except Later:
            await self._require_not_lost(records, after, tuple(counts), name)
            raise
        newest = found[records[-1].metadata.sequence][1]
        await self._require_whole_commit(newest, aggregate, aggregate_id)
        return version, tuple(records)

    async def last(self, aggregate: str, aggregate_id: str) -> int:
        """The sequence of an aggregate's last event, as the leader knows it; 0 for none."""
        found = await newest_on(
            self._link.requests,
            self._subjects.event_stream,
            self._subjects.journal_of(aggregate, aggregate_id),
        )
        return found.sequence if found else 0

    async def event_at(self, sequence: int) -> str | None:
        """The id of the event at a place of the log, if there is one."""
        if sequence < 1:
            return None
        stream = self._subjects.event_stream
        found = await get_range(
            self._link.requests, stream, start=sequence, limit=1, timeout=self._answer
        )
        stored = found[0] if found and found[0].sequence == sequence else None
        stored = stored or await self._holes.at(sequence)
        return self.record(stored).metadata.message_id if stored else None

    async def record_at(self, sequence: int) -> EventRecord | None:
        """The event at a place of the log, as the leader has it; None: it does not go that far."""
        found = await self._holes.at(sequence)
        return self.record(found) if found else None

    async def _require_whole_commit(
        self, newest: StoredMessage, aggregate: str, aggregate_id: str
    ) -> None:
        """Raise `Later` while the commit that an aggregate's newest event is of is being stored.

        The server counts the messages of a batch one by one while it stores them. A batch that does
        not end with this message goes on with the next: with another aggregate, if all is there.
        """
        batch = newest.headers.get(BATCH_ID)
        if batch is None or BATCH_COMMIT in newest.headers:
            return
        following = await self.range(newest.sequence + 1, newest.sequence + 1)
        same = following[0].headers.get(BATCH_ID) == batch
        own = self._subjects.journal_of(aggregate, aggregate_id).removesuffix("*")
        if same and following[0].subject.startswith(own):
            raise Later("a commit to the aggregate is under way", code="busy")

    async def _require_not_lost(
        self, records: Sequence[EventRecord], after: Position, subjects: Sequence[str], name: str
    ) -> None:
        """Raise `Failed` unless the leader has the first event that is missing among these."""
        due, sequence, following = after.version + 1, after.sequence, None
        for record in records:
            if record.metadata.aggregate_version != due:
                following = record.metadata.sequence
                break
            due, sequence = due + 1, record.metadata.sequence
        stream = self._subjects.event_stream
        candidates = await asyncio.gather(
            *(next_on(self._link.requests, stream, one, sequence + 1) for one in subjects)
        )
        there = [self.record(one).metadata.aggregate_version for one in candidates if one]
        if due in there:
            return
        await self._holes.require_none(sequence, following)
        raise Failed(
            f"the history of {name} is damaged: its version {due}, behind event {sequence} of the"
            f" log {stream}, is missing or cannot be read",
            code=CORRUPT_HISTORY,
        )

    async def _counts(self, pattern: str) -> dict[str, int]:
        state = await self.state(pattern)
        return {subject: int(number) for subject, number in (state.get("subjects") or {}).items()}

    async def types(self) -> Counter[str]:
        """How many events there are of each type."""
        found: Counter[str] = Counter()
        patterns = [self._subjects.journals]
        if int((await self.state()).get("num_subjects", 0)) > COUNTED:
            patterns = [
                self._subjects.journals_in(number) for number in range(self._subjects.partitions)
            ]
        for number, pattern in enumerate(patterns):
            if number:
                await asyncio.sleep(_PAUSE)
            await self._count_types(pattern, found)
        return found

    async def _count_types(self, pattern: str, found: Counter[str]) -> None:
        """Take in the events of the subjects of a pattern, of which the server gives a page."""
        offset, total = 0, 1
        while offset < total:
            info = await self._info(pattern, offset)
            page = info["state"].get("subjects") or {}
            for subject, number in page.items():
                _, aggregate, _, action = subject.rsplit(".", 3)
                found[f"{aggregate}.{action}"] += number
            offset += len(page)
            total = int(info.get("total", 0)) if page else 0

    async def state(self, pattern: str | None = None) -> dict[str, Any]:
        """The stream's state as its leader knows it, with the subjects of a pattern."""
        state: dict[str, Any] = (await self._info(pattern))["state"]
        return state

    async def _info(self, pattern: str | None = None, offset: int = 0) -> dict[str, Any]:
        return await call(
            self._link.requests,
            f"STREAM.INFO.{self._subjects.event_stream}",
            {"subjects_filter": pattern, "offset": offset} if pattern else None,
            timeout=self._answer,
        )

    async def range(self, start: int, head: int) -> list[StoredMessage]:
        """Messages from a sequence on, up to the head or as many as `RANGE`."""
        messages = await get_range(
            self._link.requests,
            self._subjects.event_stream,
            start=start,
            limit=min(RANGE, head - start + 1),
            timeout=self._answer,
        )
        if messages and messages[-1].sequence == start + len(messages) - 1:
            return messages
        whole = [one for place, one in enumerate(messages, start) if one.sequence == place]
        if not whole:
            # Of a replica that is behind, or that has lost what its leader has.
            whole = [one for one in [await self._holes.at(start)] if one is not None]
        if not whole:
            raise Later("a replica is behind", code="behind")
        return whole

    def record(self, message: StoredMessage) -> EventRecord:
        """A stored message as an event."""
        return read_event(
            message.subject, message.headers, message.data, message.sequence, self._subjects.service
        )


def _complete(
    records: Sequence[EventRecord], after: int, version: int, name: str
) -> list[EventRecord]:
    """The records, if they are the versions that follow `after`, up to `version` at least.

    Raises `Later` where some are missing, as on a replica that is behind, and `Failed` where there
    are enough but their versions do not follow one another: then the log itself is damaged.
    """
    found = [record for record in records if record.metadata.aggregate_version <= version]
    versions = [record.metadata.aggregate_version for record in found]
    if versions == list(range(after + 1, version + 1)):
        return found
    if len(found) < version - after:
        raise Later("a replica is behind", code="behind")
    raise Failed(
        f"the history of {name} is damaged: its events have the versions {versions[:20]}"
        f" where {after + 1} to {version} are due",
        code=CORRUPT_HISTORY,
    )

"""Stores that break a promise, each as stores and those who use them do break it."""

from collections.abc import Sequence
from itertools import count
from uuid import uuid4

from attrs import evolve, field, frozen

from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import answer_of
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import Commit, Position, StoreConflict
from cim_domain.wire.codec import event_headers

_EVERY = 7
"""So often what happens only now and then does."""


@frozen(eq=False)
class UncheckedEvents(EventsAround):
    """Publishes each event without saying what it expects: nothing is refused."""

    link: Link
    subjects: Subjects

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        return tuple([await self._publish(commit) for commit in commits])

    async def _publish(self, commit: Commit) -> Position:
        version = sequence = 0
        for event in commit.events:
            subject = self.subjects.journal(event.metadata.message_type, commit.aggregate_id)
            headers = event_headers(event.metadata)
            reply = await self.link.requests.one(subject, event.data, headers=headers, timeout=5)
            version = event.metadata.aggregate_version
            sequence = int(answer_of(subject, reply)["seq"])
        return Position(version, sequence)


@frozen(eq=False)
class StubbornEvents(EventsAround):
    """Where others were quicker it stores the same events behind theirs, and decides nothing anew.

    The log that comes of it has no gap, and every event once.
    """

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        while True:
            try:
                return await self.inner.append(commits)
            except StoreConflict:
                moved = [await self._behind_others(commit) for commit in commits]
                if moved == [*commits]:
                    raise
                commits = moved

    async def _behind_others(self, commit: Commit) -> Commit:
        others = await self.inner.load(commit.aggregate, commit.aggregate_id, commit.expected)
        stored = {one.metadata.message_id for one in others}
        if not others or any(one.metadata.message_id in stored for one in commit.events):
            return commit
        last = others[-1].metadata
        return _moved(commit, Position(last.aggregate_version, last.sequence))


@frozen(eq=False)
class ForgetfulEvents(EventsAround):
    """Says of every seventh write that it is stored, and has not stored it."""

    appends: "count[int]" = field(factory=lambda: count(1))

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        if next(self.appends) % _EVERY:
            return await self.inner.append(commits)
        head = await self.inner.head()
        return tuple(
            Position(commit.events[-1].metadata.aggregate_version, head + number)
            for number, commit in enumerate(commits, 1)
        )


@frozen(eq=False)
class RepeatingEvents(EventsAround):
    """Stores every seventh write again under new ids, as one does who takes it for lost."""

    appends: "count[int]" = field(factory=lambda: count(1))

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        positions = await self.inner.append(commits)
        if next(self.appends) % _EVERY == 0:
            again = [
                _renamed(_moved(commit, position))
                for commit, position in zip(commits, positions, strict=True)
            ]
            await self.inner.append(again)
        return positions


def _moved(commit: Commit, expected: Position) -> Commit:
    """The same events, behind another position."""
    events = tuple(
        evolve(one, metadata=evolve(one.metadata, aggregate_version=version))
        for version, one in enumerate(commit.events, expected.version + 1)
    )
    return evolve(commit, expected=expected, events=events)


def _renamed(commit: Commit) -> Commit:
    """The same events under other ids."""
    events = tuple(
        evolve(one, metadata=evolve(one.metadata, message_id=str(uuid4()))) for one in commit.events
    )
    return evolve(commit, events=events)

"""What every adapter checks before it appends, and how it finds its own events again."""

from collections.abc import Sequence
from datetime import datetime

from cim_domain.errors import Failed
from cim_domain.model.records import EventRecord
from cim_domain.store.port import Commit, Limits, Position


def check_commits(commits: Sequence[Commit], limits: Limits) -> None:
    """Raise `Failed` for what exceeds the limits, and `ValueError` for what is no commit at all."""
    names = {(commit.aggregate, commit.aggregate_id) for commit in commits}
    if not names or len(names) != len(commits):
        raise ValueError("expected commits of different aggregates")
    ids: set[str] = set()
    events = 0
    for commit in commits:
        if not commit.events:
            raise ValueError("expected commits with events")
        version = commit.expected.version
        events += len(commit.events)
        for event in commit.events:
            metadata = event.metadata
            version += 1
            ids.add(metadata.message_id)
            if metadata.aggregate_version != version:
                raise ValueError("the versions of a commit's events follow the expected one")
            if (
                metadata.aggregate_id != commit.aggregate_id
                or metadata.message_type.partition(".")[0] != commit.aggregate
            ):
                raise ValueError("the events of a commit are its aggregate's")
            if len(event.data) > limits.event_bytes:
                raise Failed(
                    f"an event of {len(event.data)} bytes cannot be stored; the limit is"
                    f" {limits.event_bytes}",
                    code="too_large",
                    details={"bytes": len(event.data), "limit": limits.event_bytes},
                )
    if len(ids) != events:
        raise ValueError("every event has an id of its own")
    if events > limits.events:
        raise Failed(
            f"{events} events cannot be stored at once; the limit is {limits.events}",
            code="too_many_events",
            details={"events": events, "limit": limits.events},
        )


def tail_of(commit: Commit, tail: Sequence[EventRecord]) -> Position | None:
    """Where the commit's events end, if `tail` begins with them.

    `tail` is what follows the expected position. Events with the same ids but other data, of
    another time or elsewhere in the tail are another writer's: the same command, decided there.
    """
    stored = tail[: len(commit.events)]
    if list(map(_identity, stored)) != list(map(_identity, commit.events)):
        return None
    last = stored[-1].metadata
    return Position(last.aggregate_version, last.sequence)


def _identity(record: EventRecord) -> tuple[str, datetime, bytes]:
    return (record.metadata.message_id, record.metadata.timestamp, record.data)


def another_log(aggregate: str, aggregate_id: str, version: int, known: Position) -> Failed:
    """The error for an aggregate that has fewer events than are known of it."""
    return Failed(
        f"the log has {version} events of {aggregate} {aggregate_id}, fewer than the"
        f" {known.version} that are known: it is another log",
        code="another_log",
    )

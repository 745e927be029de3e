"""Events as stores keep them, made up for tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cim_domain.model.metadata import Metadata
from cim_domain.model.records import EventRecord
from cim_domain.store.port import START, Commit, EventStore, Position, Slice

SOURCE = "cim-domain-nix"
"""Whose events they are: the service of the domain `nix`."""

TIME = datetime(2026, 11, 21, 8, 30, 0, 250_001, UTC)


def new_id() -> str:
    """An id that nothing else has."""
    return str(uuid4())


def event(
    aggregate_id: str,
    version: int,
    message_type: str = "flake.created",
    data: bytes = b"{}",
    **metadata: Any,
) -> EventRecord:
    """An event that is not stored yet; `metadata` are any fields of `Metadata`."""
    message_id = new_id()
    fields: dict[str, Any] = {
        "message_id": message_id,
        "correlation_id": message_id,
        "causation_id": message_id,
        "timestamp": TIME,
        "source": SOURCE,
        **metadata,
    }
    return EventRecord(
        Metadata(
            message_type=message_type,
            aggregate_id=aggregate_id,
            aggregate_version=version,
            **fields,
        ),
        data,
    )


def commit(
    aggregate_id: str, expected: Position = START, *, events: int = 1, aggregate: str = "flake"
) -> Commit:
    """So many events of different types, for an aggregate that is at `expected`."""
    actions = ("created", "renamed", "locked", "archived", "unknown_to_all")
    return Commit(
        aggregate,
        aggregate_id,
        expected,
        tuple(
            event(
                aggregate_id,
                version,
                f"{aggregate}.{actions[version % len(actions)]}",
                b'{"n":%d}' % version,
            )
            for version in range(expected.version + 1, expected.version + 1 + events)
        ),
    )


def stored(commits: Sequence[Commit], last: int) -> tuple[EventRecord, ...]:
    """The events of commits as they are read, the very last having the sequence `last`."""
    events = [one for each in commits for one in each.events]
    first = last - len(events) + 1
    return tuple(one.stored_at(sequence) for sequence, one in enumerate(events, first))


def following(
    store: EventStore, after: int = 0
) -> AbstractAsyncContextManager[AsyncGenerator[Slice, None]]:
    """`store.follow(after)`, closed at the end of the block."""
    return aclosing(store.follow(after))


async def take(slices: AsyncIterator[Slice], count: int) -> tuple[EventRecord, ...]:
    """The records of the slices, until there are `count` of them or more."""
    records: list[EventRecord] = []
    while len(records) < count:
        records.extend((await anext(slices)).records)
    return tuple(records)


async def all_of(slices: AsyncIterator[Slice]) -> tuple[EventRecord, ...]:
    """All records of slices that end."""
    return tuple([record async for part in slices for record in part.records])

"""Snapshots that do not fit are ignored, never trusted."""

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self
from uuid import uuid4

import orjson
import pytest
from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Domain, Event, Rejected, decides, evolves
from cim_domain.commands.snapshots import EventAt, MemorySnapshots
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import EventStore
from cim_domain.testing.records import all_of
from tests.cim_domain.commands.snapshots.instances import ID, Instance, content
from tests.cim_domain.tallies import Add


def changed(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda found: orjson.dumps(found | changes)


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda found: orjson.dumps({one: it for one, it in found.items() if one != name})


def with_other_commands(found: dict[str, Any]) -> bytes:
    commands = base64.b64decode(found["commands"])
    return orjson.dumps(found | {"commands": base64.b64encode(commands[16:]).decode()})


BROKEN: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda found: orjson.dumps(found)[:-1],
    "no object": lambda _: b"[]",
    "null": lambda _: b"null",
    "NUL bytes": lambda _: bytes(100),
    "another fingerprint": changed(fingerprint="0" * 32),
    "no fingerprint": without("fingerprint"),
    "no state": without("state"),
    "no commands": without("commands"),
    "no memory of older ones": without("older"),
    "commands that are none": changed(commands=[1, 2]),
    "an empty list of commands": changed(commands=[]),
    "a command too few": with_other_commands,
    "another version": changed(version=3),
    "a version as text": changed(version="20"),
    "another sequence": changed(sequence=7),
    "another kind of state": changed(state={"total": "many"}),
    "no state at all": changed(state=None),
    "commands that are no chunk": changed(commands=base64.b64encode(b"12345").decode()),
    "commands that are no base64": changed(commands="%%"),
    "another log": changed(log="another"),
    "another last event": changed(event="another"),
    "a chunk that is not there": changed(older=["0" * 16]),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_one_that_is_broken_is_ignored(
    events: MemoryEvents, snapshots: MemorySnapshots, how: str
) -> None:
    await Instance(events, snapshots).add(25)
    await snapshots.put("tally", ID, BROKEN[how](await content(snapshots)))
    another = Instance(events, snapshots)
    assert (await another.add()).version == 26
    assert another.store.loaded[0] == 0
    assert await another.total() == 26
    # The next one takes its place.
    assert (await content(snapshots))["version"] == 26


class AddTwice(Command, type="tally.add"):
    name: str
    amount: int


class AddedTwice(Event, type="tally.added"):
    amount: int


@frozen
class TallyTwice(Aggregate, key="name", name="tally"):
    """The next version of the code: the same fields, and each amount counts twice."""

    total: int = 0
    title: str = ""
    notes: tuple[str, ...] = ()
    changed: datetime | None = None

    @decides
    def add(self, command: AddTwice) -> AddedTwice:
        raise Rejected("tally.full", "it is full", total=self.total)

    @evolves
    def was_added_to(self, event: AddedTwice) -> Self:
        return evolve(self, total=self.total + 2 * event.amount)


async def test_one_made_by_other_code_is_ignored(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    await Instance(events, snapshots).add(25)
    newer = Domain("sums", aggregates=[TallyTwice])
    instance = Instance(events, snapshots, domain=newer)
    outcome = await instance.send(AddTwice(name="t", amount=1))
    assert outcome.error
    assert outcome.error.details == {"total": 50}
    assert instance.store.loaded[0] == 0


@pytest.fixture
async def two_logs(link: Link) -> tuple[EventStore, EventStore, EventAt]:
    """Two streams, as if one was removed and made anew, and how to look into the second."""
    old, new = (Subjects("sums", prefix=f"t{uuid4().hex[:12]}") for _ in range(2))
    for subjects in (old, new):
        await ensure_log(link.requests, subjects)
    store = JetStreamEvents(link, new)
    return JetStreamEvents(link, old), store, store.event_at


@pytest.mark.parametrize(
    ("before", "events", "others"),
    [(0, 5, 0), (0, 20, 0), (0, 25, 0), (0, 20, 5), (30, 25, 0), (0, 0, 0), (0, 25, 40)],
)
async def test_one_of_another_log_is_ignored(
    two_logs: tuple[EventStore, EventStore, EventAt],
    snapshots: MemorySnapshots,
    before: int,
    events: int,
    others: int,
) -> None:
    old, new, look = two_logs
    previous = Instance(old, MemorySnapshots())
    if before:
        await previous.add(before, name="another")
    await Instance(old, snapshots).send(Add(name="t", amounts=(10,) * 20))
    # The same aggregate in the new log, shorter, as long, longer, and in another place.
    if others:
        await Instance(new, MemorySnapshots()).send(Add(name="another", amounts=(1,) * others))
    if events:
        await Instance(new, MemorySnapshots()).send(Add(name="t", amounts=(1,) * events))
    instance = Instance(new, snapshots, event_at=look)
    async with asyncio.timeout(5):
        assert (await instance.add()).version == events + 1
        assert await instance.total() == events + 1


async def test_one_of_this_log_is_believed(
    two_logs: tuple[EventStore, EventStore, EventAt], snapshots: MemorySnapshots
) -> None:
    _, store, look = two_logs
    await Instance(store, snapshots).add(21)
    instance = Instance(store, snapshots, event_at=look)
    assert (await instance.add()).version == 22
    assert instance.store.loaded == [20]


async def test_the_event_at_a_sequence_is_found_in_a_stream(
    two_logs: tuple[EventStore, EventStore, EventAt],
) -> None:
    _, store, look = two_logs
    await Instance(store, MemorySnapshots()).add(3)
    ids = [one.metadata.message_id for one in await all_of(store.read())]
    assert [await look(sequence) for sequence in (1, 2, 3)] == ids
    assert await look(4) is await look(0) is None

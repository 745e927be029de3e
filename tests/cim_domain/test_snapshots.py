"""Snapshots: used where they fit, ignored where they do not, and never missed."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Self
from uuid import uuid4

import nats
import orjson
import pytest
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates.nix.config import ActivateConfig, CheckedConfiguration, CreateConfig, UpdateConfig
from aggregates.nix.flake import AddFlakeInput, CreateFlake
from aggregates.nix.module import CheckedModuleContent, CreateModule, DeleteModule, UpdateModule
from aggregates.nix.overlay import CheckedOverlayContent, CreateOverlay
from aggregates.nix.package import BuildPackage
from aggregates.nix.values import ActivationType
from cim_domain import Aggregate, Command, Domain, Event, Rejected, decides, evolves
from cim_domain.deciding import CommandRequest
from cim_domain.errors import Unavailable
from cim_domain.execution import Executor
from cim_domain.fingerprint import fingerprint
from cim_domain.history import CachingRepository, ReplayingRepository
from cim_domain.nats.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream import call
from cim_domain.nats.link import Link
from cim_domain.nats.requests import NoAnswer
from cim_domain.nats.streams import ensure_stream
from cim_domain.outcome import Outcome
from cim_domain.remembering import RECENT
from cim_domain.snapshots import (
    BucketSnapshots,
    EventAt,
    MemorySnapshots,
    Snapshots,
    SnapshottingRepository,
    event_at,
    read_snapshot,
    write_snapshot,
)
from cim_domain.store.jetstream import JetStreamEvents, event_stream
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import (
    START,
    Commit,
    EventRecord,
    EventStore,
    Limits,
    Position,
    Slice,
)
from cim_domain.subjects import Subjects
from cim_domain.testing.records import all_of
from tests.cim_domain.stacks import Stack
from tests.cim_domain.tallies import Add, Rename, numbered, request, tally_domain

DOMAIN = tally_domain()
MODEL = DOMAIN.aggregates["tally"]
ID = DOMAIN.id_for(Add(name="t"))


class CountingEvents:
    """A store on another one that notes from which version on it is asked to load."""

    def __init__(self, inner: EventStore) -> None:
        self.inner = inner
        self.loaded: list[int] = []

    @property
    def limits(self) -> Limits:
        return self.inner.limits

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        return await self.inner.append(commits)

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        self.loaded.append(after.version)
        return await self.inner.load(aggregate, aggregate_id, after)

    def read(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        return self.inner.read(after)

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        return self.inner.follow(after)

    async def head(self) -> int:
        return await self.inner.head()


class SlowSnapshots(MemorySnapshots):
    """Writes only while `open`, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.away = False

    async def get(self, aggregate: str, aggregate_id: str) -> bytes | None:
        if self.away:
            raise Unavailable("the bucket is away")
        return await super().get(aggregate, aggregate_id)

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        await self.open.wait()
        if self.away:
            raise Unavailable("the bucket is away")
        await super().put(aggregate, aggregate_id, data)


class Instance:
    """An executor without a cache that makes and uses snapshots."""

    def __init__(
        self,
        store: EventStore,
        snapshots: Snapshots,
        *,
        every: int = 10,
        domain: Domain = DOMAIN,
        event_at: EventAt | None = None,
    ) -> None:
        self.store = CountingEvents(store)
        self.domain = domain
        self.repository = SnapshottingRepository(
            ReplayingRepository(domain, self.store), snapshots, every, event_at
        )
        self.executor = Executor(
            domain, self.store, self.repository, source=f"cim-domain-{domain.name}"
        )

    async def add(self, times: int = 1, note: str = "", name: str = "t") -> Outcome:
        """So many commands of one event each, one after another; the last one's outcome."""
        outcome = await self.send(Add(name=name, note=note))
        for _ in range(times - 1):
            outcome = await self.send(Add(name=name, note=note))
        return outcome

    async def send(self, command: Command, command_id: str | None = None) -> Outcome:
        outcome = await self.executor.execute(request(self.domain, command, command_id))
        await self.repository.settle()
        return outcome

    async def total(self) -> int:
        """The total of the tally as the instance knows it."""
        refused = await self.executor.execute(request(DOMAIN, Add(name="t", amounts=(1_000_001,))))
        assert refused.error
        assert refused.error.code == "tally.full"
        return int(refused.error.details["total"])


async def content(snapshots: Snapshots) -> dict[str, Any]:
    data = await snapshots.get("tally", ID)
    assert data
    found: dict[str, Any] = orjson.loads(data)
    return found


@pytest.fixture
def events() -> MemoryEvents:
    return MemoryEvents()


@pytest.fixture
def snapshots() -> MemorySnapshots:
    return MemorySnapshots()


# When they are made, and what they are good for


async def test_a_snapshot_is_made_every_so_many_events(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    instance = Instance(events, snapshots, every=10)
    await instance.add(9)
    assert await snapshots.get("tally", ID) is None
    versions = []
    for _ in range(25):
        await instance.add()
        versions.append((await content(snapshots))["version"])
    assert versions == [10] * 10 + [20] * 10 + [30] * 5


async def test_with_a_snapshot_only_what_follows_it_is_loaded(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    await Instance(events, snapshots).add(25)
    another = Instance(events, snapshots)
    assert (await another.add()).version == 26
    assert another.store.loaded == [20]
    assert await another.total() == 26


async def test_a_repeated_command_is_found_in_the_snapshot(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    first = await Instance(events, snapshots).send(Add(name="t", amounts=(1,) * 12), numbered(1))
    another = Instance(events, snapshots)
    assert await another.send(Add(name="t", amounts=(1,) * 12), numbered(1)) == first
    assert 0 not in another.store.loaded


async def test_a_command_is_answered_before_its_snapshot_is_written(events: MemoryEvents) -> None:
    snapshots = SlowSnapshots()
    instance = Instance(events, snapshots)
    outcome = await instance.executor.execute(request(DOMAIN, Add(name="t", amounts=(1,) * 10)))
    assert outcome.status == "accepted"
    settling = asyncio.create_task(instance.repository.settle())
    await instance.executor.execute(request(DOMAIN, Add(name="t", amounts=(1,) * 10)))
    assert await snapshots.get("tally", ID) is None
    assert not settling.done()
    snapshots.open.set()
    await settling
    assert (await content(snapshots))["version"] == 10


async def test_a_snapshot_with_every_command_in_full_is_never_made(
    events: MemoryEvents, snapshots: MemorySnapshots
) -> None:
    repository = CachingRepository(
        SnapshottingRepository(ReplayingRepository(DOMAIN, events), snapshots, 1)
    )
    executor = Executor(DOMAIN, events, repository, source="cim-domain-sums")
    old, *_ = await asyncio.gather(
        *(
            executor.execute(request(DOMAIN, Add(name="t"), numbered(number)))
            for number in range(3 * RECENT)
        )
    )
    # Known only by the whole history.
    assert await executor.execute(request(DOMAIN, Add(name="t"), numbered(0))) == old
    await executor.execute(request(DOMAIN, Add(name="t")))
    found = await content(snapshots)
    assert len(found["commands"]) <= 2 * RECENT
    assert found["older"]


# When they do not fit


def changed(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda found: orjson.dumps(found | changes)


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda found: orjson.dumps({one: it for one, it in found.items() if one != name})


def with_other_commands(found: dict[str, Any]) -> bytes:
    return orjson.dumps(found | {"commands": found["commands"][:-1]})


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
    "marks that are no marks": changed(older=base64.b64encode(b"12345").decode()),
    "marks that are no base64": changed(older="%%"),
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
        await ensure_stream(link.requests, event_stream(subjects))
    look = event_at(link, new.event_stream)
    return JetStreamEvents(link, old), JetStreamEvents(link, new), look


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
    assert await look(4) is None


# When they cannot be had


async def test_without_them_everything_goes_on(events: MemoryEvents) -> None:
    snapshots = SlowSnapshots()
    snapshots.open.set()
    await Instance(events, snapshots).add(15)
    snapshots.away = True
    away = Instance(events, snapshots)
    assert (await away.add(20)).version == 35
    assert away.store.loaded[0] == 0
    snapshots.away = False
    back = Instance(events, snapshots)
    assert (await back.add()).version == 36
    assert back.store.loaded == [10]


@pytest.fixture
async def bucket(link: Link) -> Bucket:
    name = f"b{uuid4().hex[:12]}"
    await ensure_stream(link.requests, bucket_stream(name))
    return Bucket(link, name)


async def remove(link: Link, bucket: Bucket) -> None:
    await call(link.requests, f"STREAM.DELETE.KV_{bucket._bucket}")


async def test_the_bucket_can_be_removed_at_any_time(
    link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    snapshots = BucketSnapshots(bucket)
    await Instance(events, snapshots).add(25)
    another = Instance(events, snapshots)
    await another.add()
    assert another.store.loaded == [20]
    await remove(link, bucket)
    async with asyncio.timeout(2):
        assert (await another.add(20)).version == 46
        assert await Instance(events, snapshots).total() == 46
    await ensure_stream(link.requests, bucket_stream(bucket._bucket))
    await another.add(10)
    last = Instance(events, snapshots)
    assert (await last.add()).version == 57
    assert last.store.loaded[0] > 0


async def test_a_bucket_that_was_never_there_is_missed_by_nobody(
    link: Link, events: MemoryEvents
) -> None:
    instance = Instance(events, BucketSnapshots(Bucket(link, "never_there")))
    async with asyncio.timeout(2):
        assert (await instance.add(20)).version == 20


async def test_one_that_is_too_large_for_a_message_is_left_out(
    link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    snapshots = BucketSnapshots(bucket)
    instance = Instance(events, snapshots)
    await instance.add(10)
    assert (await instance.add(10, note="x" * 120_000)).version == 20
    assert (await content(snapshots))["version"] == 10
    assert link.client.is_connected
    assert link.reconnects == 0
    another = Instance(events, snapshots)
    assert (await another.add()).version == 21
    assert another.store.loaded == [10]


class Put(Command, type="box.put"):
    name: str
    value: Literal["tuple", "large", "set", "key", "plain"]


class WasPut(Event, type="box.was_put"):
    value: str


HELD: dict[str, Any] = {
    "tuple": (1, 2),
    "large": 2**70,
    "set": {1, 2},
    "key": {1: "a"},
    "plain": [1, {"a": None}],
}


@frozen
class Box(Aggregate, key="name"):
    """A state of which nobody knows whether JSON can hold it."""

    value: Any = None

    @decides
    def put(self, command: Put) -> WasPut:
        return WasPut(value=command.value)

    @evolves
    def was_put(self, event: WasPut) -> Self:
        return evolve(self, value=HELD[event.value])


@pytest.mark.parametrize("value", ["tuple", "large", "set", "key"])
async def test_a_state_that_json_would_change_has_no_snapshot_and_loses_nothing(
    events: MemoryEvents, snapshots: MemorySnapshots, value: Any
) -> None:
    domain = Domain("boxes", aggregates=[Box])
    box = Put(name="b", value=value)
    instance = Instance(events, snapshots, every=1, domain=domain)
    assert (await instance.send(Put(name="b", value="plain"))).status == "accepted"
    before = await snapshots.get("box", domain.id_for(box))
    assert before
    assert (await instance.send(box)).status == "accepted"
    assert await snapshots.get("box", domain.id_for(box)) == before
    known = await Instance(events, snapshots, domain=domain).repository.recall(
        domain.aggregates["box"], domain.id_for(box)
    )
    assert known.state == Box(HELD[value])


# What is in them

NIX = Domain.find("nix")
CONFIGURATION = CheckedConfiguration(system="x86_64-linux", path="/srv/web", hostname="web-1")
HISTORIES: dict[str, list[Command]] = {
    "flake": [
        CreateFlake(path="/srv/web"),
        AddFlakeInput(path="/srv/web", name="nixpkgs", url="github:NixOS/nixpkgs"),
        AddFlakeInput(
            path="/srv/web", name="utils", url="github:a/b", follows={"nixpkgs": "nixpkgs"}
        ),
    ],
    "module": [
        CreateModule(name="web", module=CheckedModuleContent(options={"a": 1})),
        UpdateModule(name="web", module=CheckedModuleContent(options={"a": [1.5, None, "ü"]})),
        DeleteModule(name="web"),
    ],
    "overlay": [CreateOverlay(name="web", overlay=CheckedOverlayContent(additions={"a": 1}))],
    "config": [
        CreateConfig(name="web", configuration=CONFIGURATION),
        ActivateConfig(name="web", activation_type=ActivationType.SWITCH),
        ActivateConfig(name="web", activation_type=ActivationType.SWITCH),
        ActivateConfig(name="web", activation_type=ActivationType.TEST),
        UpdateConfig(
            name="web", configuration=CONFIGURATION.model_copy(update={"hostname": "web-2"})
        ),
    ],
    "package": [BuildPackage(flake_ref="github:a/a", attribute="hello")],
}


def test_there_is_a_history_of_every_aggregate() -> None:
    assert set(HISTORIES) == set(NIX.aggregates)


@pytest.mark.parametrize("name", HISTORIES)
async def test_what_is_known_of_an_aggregate_is_the_same_again(
    events: MemoryEvents, name: str
) -> None:
    model = NIX.aggregates[name]
    instance = Instance(events, MemorySnapshots(), domain=NIX)
    for command in HISTORIES[name]:
        assert (await instance.send(command)).status == "accepted"
        aggregate_id = NIX.id_for(command)
        known = await ReplayingRepository(NIX, events).recall(model, aggregate_id)
        data = write_snapshot(model, "f", known)
        assert data
        again = read_snapshot(model, "f", data)
        assert again
        assert again.snapshot == known.position.version
        assert evolve(again, snapshot=known.snapshot) == known
        assert repr(again.state) == repr(known.state)


async def test_a_snapshot_is_an_entry_that_every_client_can_read(
    nats_url: str, link: Link, bucket: Bucket, events: MemoryEvents
) -> None:
    await Instance(events, BucketSnapshots(bucket)).add(12)
    client = await nats.connect(nats_url)
    try:
        kv = await client.jetstream().key_value(bucket._bucket)
        entry = await kv.get(f"tally.{ID}")
        assert entry.value
        found = orjson.loads(entry.value)
        assert (found["version"], found["state"]["total"]) == (10, 10)
        assert found["fingerprint"] == fingerprint(MODEL)
        assert await kv.keys() == [f"tally.{ID}"]

        await kv.put("tally.other", b"value")
        assert await bucket.get("tally.other") == b"value"
        await kv.delete("tally.other")
        assert await bucket.get("tally.other") is None
        await kv.purge(f"tally.{ID}")
        assert await BucketSnapshots(bucket).get("tally", ID) is None
    finally:
        await client.close()


@pytest.mark.parametrize("config", [{}, {"history": 5}, {"direct": True}])
async def test_a_bucket_that_another_client_made_is_taken(
    nats_url: str, link: Link, config: dict[str, Any]
) -> None:
    name = f"b{uuid4().hex[:12]}"
    client = await nats.connect(nats_url)
    try:
        kv = await client.jetstream().create_key_value(bucket=name, **config)
        await kv.put("tally.one", b"before")
        await ensure_stream(link.requests, bucket_stream(name))
        mine = Bucket(link, name)
        assert await mine.get("tally.one") == b"before"
        await mine.put("tally.one", b"after")
        assert (await kv.get("tally.one")).value == b"after"
    finally:
        await client.close()


async def test_what_is_not_in_a_bucket_is_none_and_a_missing_bucket_no_answer(
    link: Link, bucket: Bucket
) -> None:
    assert await bucket.get("tally.nothing") is None
    await remove(link, bucket)
    for attempt in (bucket.get("tally.one"), bucket.put("tally.one", b"")):
        with pytest.raises(NoAnswer):
            await attempt


# Every combination

COMBINATIONS = [
    Stack(cache=cache, snapshot_every=every, grouping=grouping, guessing=guessing)
    for cache in (0, 2)
    for every in (0, 3)
    for grouping in (False, True)
    for guessing in (False, True)
]

commands = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.builds(
                Add,
                name=st.sampled_from("abc"),
                amounts=st.lists(st.sampled_from([1, 2, 400_000, -1, 0]), max_size=4).map(tuple),
                note=st.sampled_from(["", "ü"]),
            ),
            st.builds(Rename, name=st.sampled_from("abc"), title=st.sampled_from("xy")),
        ),
        st.integers(1, 12),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    max_size=25,
)


def told(outcome: Outcome) -> tuple[Outcome, dict[str, Any] | None]:
    """The outcome, comparable: errors are not."""
    return evolve(outcome, error=None), outcome.error.as_dict() if outcome.error else None


@pytest.mark.parametrize("stack", COMBINATIONS, ids=str)
@given(commands)
@settings(max_examples=12, deadline=None)
async def test_with_and_without_each_of_them_the_outcomes_are_the_same(
    stack: Stack, sent: list[tuple[int, Command, int, int | None]]
) -> None:
    log, expected_log, kept = MemoryEvents(), MemoryEvents(), MemorySnapshots()
    expected = Stack().executor(DOMAIN, expected_log)
    instances = [stack.executor(DOMAIN, log, kept) for _ in range(2)]
    for which, command, number, version in sent:
        one = request(DOMAIN, command, numbered(number), expected_version=version)
        outcome = await instances[which].execute(one)
        assert told(outcome) == told(await expected.execute(one))
    assert [record.data for record in await all_of(log.read())] == [
        record.data for record in await all_of(expected_log.read())
    ]


@pytest.mark.parametrize("stack", COMBINATIONS, ids=str)
async def test_with_and_without_each_of_them_nothing_is_lost_or_doubled_on_a_server(
    link: Link, bucket: Bucket, stack: Stack
) -> None:
    subjects = Subjects("sums", prefix=f"t{uuid4().hex[:12]}")
    await ensure_stream(link.requests, event_stream(subjects))
    store = JetStreamEvents(link, subjects)
    instances = [stack.executor(DOMAIN, store, BucketSnapshots(bucket)) for _ in range(2)]
    requests: list[CommandRequest] = [
        request(DOMAIN, Add(name=f"t{number % 40}"), numbered(number)) for number in range(120)
    ]
    # Each is sent to both, as by a client that did not hear in time.
    outcomes = await asyncio.gather(
        *(instance.execute(one) for one in requests for instance in instances)
    )
    assert {one.status for one in outcomes} == {"accepted"}
    assert outcomes[::2] == outcomes[1::2]
    log = await all_of(store.read())
    assert sorted(one.metadata.causation_id for one in log) == [
        numbered(number) for number in range(120)
    ]

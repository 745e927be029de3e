"""What the event stream looks like from outside, and what JetStream alone can do to a store."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from attrs import evolve
from nats.aio.msg import Msg

from cim_domain.backoff import Backoff
from cim_domain.errors import Busy, Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import get_range
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.partition import partition_of
from cim_domain.store.jetstream import JetStreamEvents, Patience, ensure_log
from cim_domain.store.port import START, Commit, Position, StoreConflict
from cim_domain.testing.records import all_of, commit, event, following, new_id, stored, take
from cim_domain.testing.server import crash, frozen, throwaway_server
from tests.cim_domain.slow_wire import slow_wire

FLAKE = "00000000-0000-4000-8000-000000000001"
SHORT = Patience(answer=0.2, budget=0.5)


@pytest.fixture
def store(jetstream_events: JetStreamEvents) -> JetStreamEvents:
    return jetstream_events


@pytest.fixture
async def live(link: Link, subjects: Subjects) -> list[Msg]:
    """Everything below the test's own prefix that core NATS delivers."""
    seen: list[Msg] = []

    async def see(message: Msg) -> None:
        seen.append(message)

    await link.client.subscribe(f"{subjects.root}.event.>", cb=see)
    await round_trip(link.client)
    return seen


async def put(
    link: Link, subject: str, data: bytes = b"{}", headers: dict[str, str] | None = None
) -> int:
    """Store a message past the kit, as anyone with the permission could; its sequence."""
    reply = await link.client.request(subject, data, timeout=5, headers=headers)
    return int(json.loads(reply.data)["seq"])


# The wire


async def test_an_event_is_stored_as_the_wire_contract_says(
    link: Link, subjects: Subjects, store: JetStreamEvents
) -> None:
    event_id, correlation, causation = new_id(), new_id(), new_id()
    created = event(
        FLAKE,
        1,
        "flake.created",
        b'{"path":"/srv/web"}',
        message_id=event_id,
        correlation_id=correlation,
        causation_id=causation,
        timestamp=datetime(2026, 11, 21, 8, 30, tzinfo=UTC),
        organization_id="acme",
        schema_version=2,
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    await store.append([Commit("flake", FLAKE, START, (created,))])
    (message,) = await get_range(link.requests, subjects.event_stream, start=1, limit=10, timeout=5)
    assert (
        message.subject
        == f"{subjects.root}.journal.{partition_of('flake', FLAKE, 16)}.flake.{FLAKE}.created"
    )
    assert message.data == b'{"path":"/srv/web"}'
    added = {"Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"}
    headers = {name: value for name, value in message.headers.items() if name not in added}
    assert headers == {
        "Nats-Msg-Id": event_id,
        "Nats-Expected-Stream": subjects.event_stream,
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": subjects.journal_of("flake", FLAKE),
        "X-Event-ID": event_id,
        "X-Event-Type": "flake.created",
        "X-Correlation-ID": correlation,
        "X-Causation-ID": causation,
        "X-Aggregate-ID": FLAKE,
        "X-Aggregate-Version": "1",
        "X-Timestamp": "2026-11-21T08:30:00.000000Z",
        "X-Schema-Version": "2",
        "X-Organization-ID": "acme",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Nats-Stream": subjects.event_stream,
        "Nats-Subject": message.subject,
        "Nats-Sequence": "1",
    }


async def test_every_aggregate_of_a_batch_is_checked_once_by_the_same_pattern(
    link: Link, subjects: Subjects, store: JetStreamEvents
) -> None:
    (seen,) = await store.append([commit(FLAKE)])
    other = new_id()
    await store.append([commit(FLAKE, seen, events=2), commit(other, events=2)])
    messages = await get_range(link.requests, subjects.event_stream, start=2, limit=10, timeout=5)
    name = "Nats-Expected-Last-Subject-Sequence"
    assert [(one.headers.get(name), one.headers.get(f"{name}-Subject")) for one in messages] == [
        ("1", subjects.journal_of("flake", FLAKE)),
        (None, None),
        ("0", subjects.journal_of("flake", other)),
        (None, None),
    ]
    batches = {one.headers["Nats-Batch-Id"] for one in messages}
    assert len(batches) == 1
    assert [one.headers["Nats-Batch-Sequence"] for one in messages] == ["1", "2", "3", "4"]


async def test_a_lone_event_is_no_batch(
    link: Link, subjects: Subjects, store: JetStreamEvents
) -> None:
    await store.append([commit(FLAKE)])
    (message,) = await get_range(link.requests, subjects.event_stream, start=1, limit=2, timeout=5)
    assert not [name for name in message.headers if name.startswith("Nats-Batch")]


async def test_what_is_stored_is_republished_once_and_what_is_refused_never(
    link: Link, subjects: Subjects, store: JetStreamEvents, live: list[Msg]
) -> None:
    created = commit(FLAKE, events=2)
    (position,) = await store.append([created])
    await store.append([created])
    for events in (1, 3):
        with pytest.raises(StoreConflict):
            await store.append([commit(FLAKE, events=events)])
    await store.append([commit(FLAKE, position)])
    await round_trip(link.client)
    history = await store.load("flake", FLAKE)
    assert len(history) == 3
    assert [(one.subject, one.headers["X-Event-ID"], one.data) for one in live] == [
        (subjects.event(one.metadata.message_type), one.metadata.message_id, one.data)
        for one in history
    ]


async def test_nothing_can_be_deleted_from_the_log(
    link: Link, subjects: Subjects, store: JetStreamEvents
) -> None:
    await store.append([commit(FLAKE)])
    for operation, body in (("MSG.DELETE", {"seq": 1}), ("PURGE", {})):
        with pytest.raises(Exception, match="not permitted"):
            await call(link.requests, f"STREAM.{operation}.{subjects.event_stream}", body)
    assert await store.head() == 1


# What others put into the log

BROKEN = (
    {},
    {"X-Event-ID": "1"},
    {"Status": "204", "Description": "EOB"},
    {"Status": "503"},
    {"Nats-Num-Pending": "0", "Status": "404"},
    {"X-Aggregate-Version": "-1"},
    {"X-Aggregate-Version": "1" * 400},
    {"X-Timestamp": "yesterday"},
    {"X-Timestamp": "2026-11-21T08:30:00"},
    {"X-Timestamp": "0001-01-01T00:00:00+14:00"},
    {"X-Timestamp": "2026-02-30T00:00:00.000000Z"},
    {"X-Event-Type": "flake"},
    {"X-Event-Type": "package.created"},
    {"X-Aggregate-ID": "someone-else"},
    {"X-Schema-Version": "0"},
)


def _good_headers() -> dict[str, str]:
    one = new_id()
    return {
        "X-Event-ID": one,
        "X-Event-Type": "flake.created",
        "X-Correlation-ID": one,
        "X-Causation-ID": one,
        "X-Aggregate-ID": "foreign",
        "X-Aggregate-Version": "1",
        "X-Timestamp": "2026-11-21T08:30:00Z",
    }


@pytest.mark.parametrize("empty", [False, True])
async def test_foreign_messages_stop_nobody_and_have_version_0(
    link: Link, subjects: Subjects, store: JetStreamEvents, *, empty: bool
) -> None:
    subject = subjects.journal("flake.created", "foreign")
    data = b"" if empty else b"\xff\x00"
    for number, headers in enumerate(BROKEN):
        given = {**_good_headers(), **headers} if number else headers
        assert await put(link, subject, data, given) == number + 1
    count = len(BROKEN)
    assert (await store.append([commit(FLAKE)])) == (Position(1, count + 1),)
    log = await all_of(store.read())
    async with following(store) as slices:
        assert await take(slices, count + 1) == log
    assert [one.metadata.sequence for one in log] == list(range(1, count + 2))
    readable = [n for n, one in enumerate(log[:-1]) if one.metadata.aggregate_version]
    # A header too many does not make an event foreign.
    assert readable == [2, 3, 4]
    for record in log[:2]:
        assert record.metadata.message_type == "flake.created"
        assert record.metadata.aggregate_id == "foreign"
    assert {one.data for one in log[:-1]} == {data}


@pytest.mark.parametrize(
    "headers",
    [None, {**_good_headers(), "X-Aggregate-ID": FLAKE}],
    ids=["foreign", "version twice"],
)
async def test_a_damaged_history_is_no_history(
    link: Link, subjects: Subjects, store: JetStreamEvents, headers: dict[str, str] | None
) -> None:
    await store.append([commit(FLAKE)])
    await put(link, subjects.journal("flake.created", FLAKE), headers=headers)
    with pytest.raises(Failed) as caught:
        await store.load("flake", FLAKE)
    assert caught.value.code == "corrupt_history"
    with pytest.raises(Failed):
        await store.append([commit(FLAKE, Position(1, 1))])
    other = commit(new_id())
    assert await store.append([other]) == (Position(1, 3),)
    assert await store.load("flake", other.aggregate_id) == stored([other], 3)


# Limits


async def test_more_concurrent_batches_than_the_server_holds_are_all_stored(
    store: JetStreamEvents,
) -> None:
    commits = [commit(new_id(), events=12) for _ in range(120)]
    positions = await asyncio.gather(*(store.append([one]) for one in commits))
    assert {position.version for (position,) in positions} == {12}
    assert await store.head() == 120 * 12


async def test_while_the_server_has_too_many_batches_open_one_waits_and_singles_go_on(
    store: JetStreamEvents, link: Link, subjects: Subjects
) -> None:
    async def part(batch: str, number: int, **more: str) -> Msg:
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number), **more}
        subject = subjects.journal("flake.created", batch)
        return await link.requests.one(subject, b"{}", headers=headers, timeout=5)

    held = [new_id() for _ in range(50)]
    for batch in held:
        assert (await part(batch, 1)).data == b""
    with pytest.raises(Unavailable) as caught:
        await JetStreamEvents(link, subjects, SHORT).append([commit(new_id(), events=2)])
    assert caught.value.details["reason"] == "busy"
    flake = commit(new_id(), events=2)
    waiting = asyncio.create_task(store.append([flake]))
    assert await store.append([commit(new_id())]) == (Position(1, 1),)
    assert not waiting.done()
    await part(held[0], 2, **{"Nats-Batch-Commit": "1"})
    assert await waiting == (Position(2, 5),)
    assert await store.load("flake", flake.aggregate_id) == stored([flake], 5)


async def test_headers_too_large_for_the_margin_are_refused_and_the_connection_lives(
    store: JetStreamEvents, link: Link
) -> None:
    data = b" " * store.limits.event_bytes
    long = [event(FLAKE, n, data=data, trace_parent="0" * 9000) for n in (1, 2)]
    for events in (long[:1], long):
        with pytest.raises(Failed) as caught:
            await store.append([Commit("flake", FLAKE, START, tuple(events))])
        assert caught.value.code == "too_large"
    with pytest.raises(Failed):
        await store.append([commit("i" * 5000)])
    await store.append([commit(FLAKE)])
    assert link.reconnects == 0


async def test_an_event_just_within_the_servers_limit_is_stored_in_a_batch_too(
    store: JetStreamEvents, link: Link
) -> None:
    # Found by halving: what passes the check must not cost the connection.
    fits, too_long = 0, 70_000
    data = b" " * store.limits.event_bytes
    position = START
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        events = tuple(
            event(FLAKE, position.version + n, data=data, trace_parent="0" * length) for n in (1, 2)
        )
        try:
            (position,) = await store.append([Commit("flake", FLAKE, position, events)])
        except Failed:
            too_long = length
        else:
            fits = length
    assert fits > 7000
    assert link.reconnects == 0


# A slow wire


async def test_over_a_slow_wire_time_runs_out_for_want_of_progress_alone() -> None:
    patience = Patience(answer=0.5, budget=5)
    data = b'"' + b"x" * 200_000 + b'"'
    async with own_server(patience) as (store, server, _), slow_wire(port_of(server), 4e6) as url:
        link = await Link.open(load_settings(), name="test", url=url)
        slow = JetStreamEvents(link, Subjects("nix"), patience)
        flake = with_data(commit(FLAKE, events=40), data)
        assert await slow.append([flake]) == (Position(40, 40),)
        assert await store.head() == 40
        assert len(await slow.load("flake", FLAKE)) == 40
        assert len(await all_of(slow.read())) == 40
        await link.close()


def with_data(one: Commit, data: bytes) -> Commit:
    return evolve(one, events=tuple(evolve(each, data=data) for each in one.events))


def port_of(server: EmbeddedServer) -> int:
    port = urlsplit(server.url).port
    assert port
    return port


# The server has too much to do


async def test_too_many_requests_are_tried_again_and_then_busy(
    link: Link, subjects: Subjects
) -> None:
    store = await replaced(link, subjects, SHORT)
    too_many = {"error": {"code": 429, "err_code": 10167, "description": "too many requests"}}
    answers: list[object] = [too_many, too_many, {"stream": subjects.event_stream, "seq": 7}]
    attempts: list[Msg] = []

    async def refuse(message: Msg) -> None:
        attempts.append(message)
        await message.respond(json.dumps(answers.pop(0) if answers else too_many).encode())

    await link.client.subscribe(subjects.journals, cb=refuse)
    await round_trip(link.client)
    assert await store.append([commit(FLAKE)]) == (Position(1, 7),)
    assert len(attempts) == 3
    with pytest.raises(Busy, match="nothing was stored"):
        await store.append([commit(FLAKE)])
    assert len(attempts) > 5


async def replaced(
    link: Link, subjects: Subjects, patience: Patience | None = None
) -> JetStreamEvents:
    """A store whose stream is gone since it was opened."""
    await ensure_log(link.requests, subjects)
    store = JetStreamEvents(link, subjects, patience)
    assert await store.head() == 0
    await call(link.requests, f"STREAM.DELETE.{subjects.event_stream}")
    return store


async def test_an_event_that_another_stream_takes_is_not_accepted(
    link: Link, subjects: Subjects
) -> None:
    store = await replaced(link, subjects)
    config = {"name": f"OTHER_{subjects.event_stream}", "subjects": [subjects.journals]}
    await call(link.requests, f"STREAM.CREATE.{config['name']}", config | {"allow_atomic": True})
    for events in (1, 2):
        with pytest.raises(Unavailable, match="another stream") as caught:
            await store.append([commit(new_id(), events=events)])
        assert caught.value.code == "log_missing"


async def test_an_acknowledgement_of_another_stream_is_none(link: Link, subjects: Subjects) -> None:
    store = await replaced(link, subjects)

    async def accept(message: Msg) -> None:
        if message.reply:
            await message.respond(b'{"stream":"OTHER","seq":7}')

    await link.client.subscribe(subjects.journals, cb=accept)
    await round_trip(link.client)
    for events in (1, 2):
        with pytest.raises(Unavailable, match="another stream"):
            await store.append([commit(new_id(), events=events)])


# The server goes away


@asynccontextmanager
async def own_server(
    patience: Patience | None = None,
) -> AsyncIterator[tuple[JetStreamEvents, EmbeddedServer, Callable[[], Awaitable[Link]]]]:
    """A store on a server of its own, and how to open a link to that."""
    subjects = Subjects("nix")
    links: list[Link] = []
    async with throwaway_server() as server:

        async def open_link() -> Link:
            settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
            links.append(await Link.open(settings, name="test", url=server.url))
            return links[-1]

        link = await open_link()
        await ensure_log(link.requests, subjects)
        yield JetStreamEvents(link, subjects, patience), server, open_link
        for each in links:
            await each.close()


async def test_writers_lose_and_double_nothing_while_the_server_is_killed() -> None:
    patience = Patience(answer=1, budget=20, between=Backoff(first_delay=0.02, ceiling=0.1))
    async with own_server(patience) as (store, server, open_link):
        flakes = [new_id(), new_id()]
        done: dict[str, Position] = {}
        enough = asyncio.Event()

        async def write(writer: int) -> None:
            mine = JetStreamEvents(await open_link(), Subjects("nix"), patience)
            flake = flakes[writer % 2]
            position = START
            while not enough.is_set():
                attempt = commit(flake, position, events=1 + 2 * (writer // 2 % 2))
                try:
                    (position,) = await mine.append([attempt])
                except StoreConflict:
                    for each in await mine.load("flake", flake, position):
                        found = each.metadata
                        position = Position(found.aggregate_version, found.sequence)
                    continue
                for number, each in enumerate(reversed(attempt.events)):
                    done[each.metadata.message_id] = Position(
                        position.version - number, position.sequence - number
                    )

        reconnected = asyncio.Event()
        (await open_link()).listen(
            lambda change: reconnected.set() if change is ConnectionChange.RECONNECTED else None
        )
        writers = [asyncio.create_task(write(number)) for number in range(8)]
        for _ in range(4):
            before = len(done)
            reconnected.clear()
            async with asyncio.timeout(20):
                while len(done) < before + 100:
                    await asyncio.wait(writers, timeout=0.01)
                crash(server)
                await reconnected.wait()
        enough.set()
        await asyncio.gather(*writers)

        log = await all_of(store.read())
        found = {
            one.metadata.message_id: Position(one.metadata.aggregate_version, one.metadata.sequence)
            for one in log
        }
        assert len(found) == len(log)
        assert found == done
        for flake in flakes:
            versions = [one.metadata.aggregate_version for one in await store.load("flake", flake)]
            assert versions == list(range(1, len(versions) + 1))


async def test_an_append_goes_through_once_the_server_is_back() -> None:
    async with own_server() as (store, server, _):
        flakes = [commit(new_id(), events=1 + n % 2) for n in range(20)]
        appending = [asyncio.create_task(store.append([one])) for one in flakes]
        await asyncio.sleep(0)
        crash(server)
        await asyncio.gather(*appending)
        assert await store.head() == 30


async def test_without_a_server_everything_is_unavailable_within_the_budget() -> None:
    settings: NatsSettings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    subjects = Subjects("nix")
    async with throwaway_server() as server:
        link = await Link.open(settings, name="test", url=server.url)
        lost = asyncio.Event()
        link.listen(lambda change: lost.set() if change is ConnectionChange.DISCONNECTED else None)
        await ensure_log(link.requests, subjects)
        store = JetStreamEvents(link, subjects, SHORT)
        await store.append([commit(FLAKE)])
    await lost.wait()
    clock = asyncio.get_running_loop().time
    for attempt in (
        lambda: store.append([commit(new_id())]),
        lambda: store.append([commit(new_id(), events=3)]),
        lambda: store.load("flake", FLAKE),
        store.head,
        lambda: all_of(store.read()),
    ):
        start = clock()
        with pytest.raises(Unavailable):
            await attempt()
        assert clock() - start < SHORT.budget + SHORT.answer
    await link.close()


async def test_a_server_that_freezes_is_unavailable_within_the_budget() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        await ensure_log(link.requests, Subjects("nix"))
        store = JetStreamEvents(link, Subjects("nix"), SHORT)
        flakes = [commit(new_id(), events=1 + n % 2) for n in range(20)]
        clock = asyncio.get_running_loop().time
        start = clock()
        with frozen(server):
            outcomes = await asyncio.gather(
                *(store.append([one]) for one in flakes), return_exceptions=True
            )
            spent = clock() - start
        assert all(isinstance(one, Unavailable) for one in outcomes)
        assert spent < SHORT.budget + 2 * SHORT.answer
        # What was unknown becomes known when it is sent again.
        patient = JetStreamEvents(link, Subjects("nix"))
        await asyncio.gather(*(patient.append([one]) for one in flakes))
        assert await store.head() == 30
        await link.close()


async def test_without_the_stream_everything_is_unavailable(link: Link, subjects: Subjects) -> None:
    store = JetStreamEvents(link, subjects, SHORT)
    for attempt in (
        lambda: store.append([commit(FLAKE)]),
        lambda: store.append([commit(FLAKE, events=2)]),
        lambda: store.load("flake", FLAKE),
        store.head,
        lambda: all_of(store.read()),
        lambda: take(store.follow(), 1),
    ):
        with pytest.raises(Unavailable):
            await attempt()

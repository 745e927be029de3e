"""Whatever clients send: one well-formed reply to each request, nothing stored, and it serves on.

Much of this no client library would send, so a raw connection does.
"""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cim_domain import Domain
from cim_domain.errors import Invalid
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import check_size, round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.raw_client import RawClient, Reply, block, raw_client

NIX = Domain.find("nix")
COMMAND_REPLY = {
    "status",
    "command_id",
    "correlation_id",
    "aggregate_id",
    "version",
    "sequence",
    "events",
    "error",
}
STATUSES = {"rejected", "invalid", "conflict", "failed"}


@pytest.fixture
async def service(subjects: Subjects, nats_url: str) -> AsyncIterator[Service]:
    nats = load_settings(url=nats_url, subject_prefix=subjects.prefix)
    async with Service(NIX, nats, load_service_settings(views="memory")) as running:
        yield running


@pytest.fixture
async def raw(service: Service, nats_url: str, link: Link) -> AsyncIterator[RawClient]:
    """A client, after whose test nothing is stored and the service works as before."""
    async with raw_client(nats_url, service.subjects.root) as client:
        yield client
        await client.settled()
        assert await stored(link, service.subjects.event_stream) == 0
        made = await client.ask(b"cmd.flake.create", b'{"path":"/srv/afterwards"}')
        assert orjson.loads(made.data)["status"] == "accepted"


async def stored(link: Link, stream: str) -> int:
    return int((await call(link.requests, f"STREAM.INFO.{stream}"))["state"]["messages"])


def refused(reply: Reply, http: int | None = None) -> dict[str, Any]:
    """The body of an error reply to a command, checked to be of the contract's shape."""
    body: dict[str, Any] = orjson.loads(reply.data)
    assert set(body) == COMMAND_REPLY
    assert body["status"] in STATUSES
    assert body["events"] == []
    assert set(body["error"]) == {"code", "message", "details"}
    found = re.search(rb"\r\nNats-Service-Error-Code: (\d{3})\r\n", reply.headers)
    assert found is not None
    assert http is None or int(found[1]) == http
    return body


# Payloads

PAYLOADS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"create a flake, please",
    "no text": b"\xff\xfe\x00\x80",
    "half of it": b'{"path":"/srv',
    "two documents": b'{"path":"/a"}{"path":"/b"}',
    "an array": b'[{"path":"/a"}]',
    "a number": b"7",
    "null": b"null",
    "a text": b'"/srv/web"',
    "nested deeply": b'{"path":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested deeply and left open": b"[" * 500_000,
    "NaN": b'{"path":NaN}',
    "infinity": b'{"path":-Infinity}',
    "a huge number": b'{"path":' + b"9" * 100_000 + b"}",
    "an unknown field": b'{"path":"/a","colour":"red"}',
    "many unknown fields": b'{"path":"/a"'
    + b"".join(b',"x%d":1' % n for n in range(50_000))
    + b"}",
    "an unknown field with a name of half a megabyte": b'{"path":"/a","' + b"x" * 500_000 + b'":1}',
    "an escaped NUL as a field": b'{"path":"/a","\\u0000":1}',
    "a field missing": b'{"description":"x"}',
    "null for a text": b'{"path":null}',
    "a number for a text": b'{"path":7}',
    "bytes that are no UTF-8 in a text": b'{"path":"/\xc3\x28"}',
    "half a surrogate pair": b'{"path":"/\\ud800"}',
    "a NUL in a path": b'{"path":"/a\\u0000b"}',
    "a line break in a path": b'{"path":"/a\\nb"}',
    "10,000 characters": b'{"path":"/' + b"x" * 10_000 + b'"}',
    "a megabyte": b'{"path":"/' + b"x" * 1_000_000 + b'"}',
    "a byte order mark": b'\xef\xbb\xbf{"path":"/a"}',
    "a Python literal": b"{'path':'/a'}",
    "a comment": b'{"path":"/a"/*x*/}',
}


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_a_payload_that_is_no_such_command_is_invalid(raw: RawClient, payload: str) -> None:
    body = refused(await raw.ask(b"cmd.flake.create", PAYLOADS[payload]), 400)
    assert body["error"]["code"] == "invalid"
    assert body["error"]["details"]["fields"]
    assert body["command_id"]
    assert len(orjson.dumps(body)) < 50_000


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if each != "nothing"])
async def test_nor_is_it_a_query(raw: RawClient, payload: str) -> None:
    reply = await raw.ask(b"query.flake.get", PAYLOADS[payload])
    body = orjson.loads(reply.data)
    assert set(body) == {"error"}
    assert body["error"]["code"] == "invalid"
    assert b"Nats-Service-Error-Code: 400" in reply.headers


async def test_of_a_key_that_comes_twice_one_counts(raw: RawClient) -> None:
    refused(await raw.ask(b"cmd.flake.update", b'{"path":"/a","path":"/b"}'), 422)


async def test_no_client_of_the_kit_sends_what_would_end_its_connection(link: Link) -> None:
    with pytest.raises(Invalid) as caught:
        check_size(link.client, "nix.cmd.flake.create", b"x" * 2_000_000)
    assert caught.value.code == "too_large"


async def test_a_server_ends_a_connection_over_two_megabytes_and_the_service_serves_on(
    raw: RawClient, nats_url: str
) -> None:
    async with raw_client(nats_url, raw.root) as other:
        with pytest.raises((AssertionError, ValueError, ConnectionError)):
            await other.ask(b"cmd.flake.create", b"x" * 2_000_000)


# Keys and ids

KEYS = ["a.b", "a b", "*", ">", "a.*.>", "\u202e", "🦊", "ä", "a/../b", "a" * 5_000, "$JS.API.INFO"]


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_never_becomes_part_of_a_subject(raw: RawClient, key: str) -> None:
    """An update of a flake that is not there: valid or not, it leads to nothing."""
    refused(await raw.ask(b"cmd.flake.update", orjson.dumps({"path": f"/srv/{key}"})))


@pytest.mark.parametrize("key", KEYS)
async def test_a_query_may_ask_for_any_id_and_finds_nothing(raw: RawClient, key: str) -> None:
    for body in ({"flake_id": key}, {"path": f"/srv/{key}"}):
        reply = await raw.ask(b"query.flake.get", orjson.dumps(body))
        assert orjson.loads(reply.data)["error"]["code"] in {"invalid", "not_found"}


# Subjects

SUBJECTS = [
    b"cmd.flake",
    b"cmd.flake.create.more",
    b"cmd.flake.create.a.b.c.d.e.f",
    b"cmd.a.b",
    b"cmd.FLAKE.CREATE",
    b"cmd.flake.created",
    b"cmd.flake.create ".strip() + b"\x00",
    b"cmd.flake.\xff\xfe",
    b"cmd.flake.\xe2\x80\xa8",
    b"cmd.flake.create\x0b",
    b"cmd.flake.create\x0c1",
    b"cmd.flake.\xf0\x9f\xa6\x8a",
    b"cmd." + b"x" * 3000,
    b"cmd.__class__.__init__",
]


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_subject_that_no_command_has_is_not_found(raw: RawClient, subject: bytes) -> None:
    body = refused(await raw.ask(subject, b'{"path":"/a"}'), 404)
    assert body["error"]["code"] == "unknown_command"
    assert len(body["error"]["message"]) < 500


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_nor_has_a_query_one_that_is_none(raw: RawClient, subject: bytes) -> None:
    reply = await raw.ask(subject.replace(b"cmd", b"query", 1), b"{}")
    assert orjson.loads(reply.data)["error"]["code"] == "unknown_query"


async def test_a_subject_cannot_be_read_as_a_delivery_to_another_subscription(
    raw: RawClient, service: Service, link: Link
) -> None:
    """A vertical tab is white space to some parsers, and part of a subject to servers.

    As ``MSG nix.cmd.7 1 …`` the message would be the answer that the service's own request no. 7
    waits for, on the subscription no. 1.
    """
    for number in range(40):
        raw.publish(f"{raw.root}.cmd.{number}\x0b1".encode(), b'{"stream":"x","seq":999}')
    made = orjson.loads((await raw.ask(b"cmd.flake.update", b'{"path":"/a"}')).data)
    assert made["error"]["code"] == "flake.unknown"
    health = await service.health()
    assert health["checks"]["connection"]["reconnects"] == 0


# Headers


BAD_HEADERS: dict[str, bytes] = {
    "a block cut short": b"NA",
    "no version": b"hello\r\n\r\n",
    "a status that is no text": b"NATS/1.0 \xff\xff\r\n\r\n",
    "an id that is none": block(b"X-Command-ID: seven"),
    "an id with a NUL": block(b"X-Command-ID: \x00"),
    "an id that is no ASCII": block("X-Command-ID: ä🦊".encode()),
    "an id that is no UTF-8": block(b"X-Command-ID: \xff\xfe"),
    "an empty id": block(b"X-Command-ID:"),
    "an id of 10,000 characters": block(b"X-Command-ID: " + b"a" * 10_000),
    "a correlation that is none": block(b"X-Correlation-ID: 1"),
    "a causation that is none": block(b"X-Causation-ID: 1"),
    "an organization with a dot in front": block(b"X-Organization-ID: .acme"),
    "an organization with wildcards": block(b"X-Organization-ID: *.>"),
    "an organization that is no ASCII": block("X-Organization-ID: ä".encode()),
    "an empty organization": block(b"X-Organization-ID:"),
    "an organization of 10,000 characters": block(b"X-Organization-ID: " + b"a" * 10_000),
    "a negative version": block(b"X-Expected-Version: -1"),
    "a version that is no number": block(b"X-Expected-Version: one"),
    "a version with Arabic digits": block("X-Expected-Version: \u0661".encode()),
    "a version without end": block(b"X-Expected-Version: " + b"9" * 10_000),
    "the second of two that differ is bad": block(
        b"X-Expected-Version: 1", b"X-Expected-Version: x"
    ),
}


@pytest.mark.parametrize("headers", BAD_HEADERS)
async def test_headers_that_cannot_be_read_are_invalid(raw: RawClient, headers: str) -> None:
    reply = await raw.ask(b"cmd.flake.create", b'{"path":"/a"}', BAD_HEADERS[headers])
    assert refused(reply, 400)["error"]["code"] == "bad_header"


@pytest.mark.parametrize("size", [1_000, 60_000, 500_000])
async def test_headers_nobody_asked_for_do_no_harm(raw: RawClient, size: int) -> None:
    headers = block(b"X-Padding: " + b"x" * size, b": no name", b"no colon", b"X Y: blank")
    refused(await raw.ask(b"cmd.flake.update", b'{"path":"/a"}', headers), 422)


async def test_headers_too_large_for_a_dead_letter_are_left_out_of_it(
    raw: RawClient, service: Service, link: Link
) -> None:
    headers = block(b"X-Padding: " + b"x" * 65_400)
    raw.publish(f"{raw.root}.cmd.flake.create".encode(), b"no JSON", headers=headers)
    await raw.ask(b"cmd.flake.settle", b"{}")
    await handled(service, "commands", 2, raw)
    letters = service.subjects.dead_letter_stream
    kept = (await call(link.requests, f"STREAM.MSG.GET.{letters}", {"seq": 1}))["message"]
    assert b64decode(kept["data"]) == b"no JSON"
    assert b"X-Dead-Code: invalid" in b64decode(kept["hdrs"])
    assert b"X-Padding" not in b64decode(kept["hdrs"])


# Deliveries steered onto commands, and replies steered elsewhere


@pytest.mark.parametrize(
    "header",
    [
        "Nats-Stream",
        "Nats-Sequence",
        "Nats-Subject",
        "Nats-Expected-Last-Sequence",
        "Nats-Batch-Id",
    ],
)
async def test_a_streams_headers_are_refused(raw: RawClient, header: str) -> None:
    headers = block(f"{header}: NIX_EVENTS".encode())
    for kind in (b"cmd", b"query"):
        reply = await raw.ask(kind + b".flake.create", b'{"path":"/a"}', headers)
        assert orjson.loads(reply.data)["error"]["code"] == "not_a_request"


@pytest.fixture
async def foreign_stream(link: Link, subjects: Subjects) -> AsyncIterator[tuple[str, str]]:
    """A stream with one message that would be a fine command, and a consumer of it."""
    stream = f"{subjects.event_stream}_FOREIGN"
    await call(
        link.requests,
        f"STREAM.CREATE.{stream}",
        {
            "name": stream,
            "subjects": [f"{subjects.prefix}.foreign"],
            "storage": "memory",
            "allow_direct": True,
        },
    )
    await link.requests.one(f"{subjects.prefix}.foreign", b'{"path":"/srv/steered"}', timeout=5)
    await call(
        link.requests,
        f"CONSUMER.CREATE.{stream}.c",
        {
            "stream_name": stream,
            "config": {"name": "c", "durable_name": "c", "ack_policy": "explicit"},
        },
    )
    yield stream, "c"
    await call(link.requests, f"STREAM.DELETE.{stream}")


async def test_a_message_that_direct_get_sends_to_a_command_has_no_effect(
    raw: RawClient, foreign_stream: tuple[str, str], link: Link, service: Service
) -> None:
    stream, _ = foreign_stream
    target = f"{raw.root}.cmd.flake.create".encode()
    raw.publish(f"$JS.API.DIRECT.GET.{stream}".encode(), b'{"seq":1}', reply=target)
    await handled(service, "commands", 1, raw)
    assert await stored(link, service.subjects.dead_letter_stream) == 0


async def test_a_message_that_a_consumer_sends_to_a_command_has_no_effect_and_is_not_acknowledged(
    raw: RawClient, foreign_stream: tuple[str, str], link: Link, service: Service
) -> None:
    stream, consumer = foreign_stream
    target = f"{raw.root}.cmd.flake.create".encode()
    raw.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}".encode(), b"", reply=target)
    await handled(service, "commands", 1, raw)
    info = await call(link.requests, f"CONSUMER.INFO.{stream}.{consumer}")
    assert info["delivered"]["consumer_seq"] == 1
    assert (info["num_ack_pending"], info["ack_floor"]["consumer_seq"]) == (1, 0)
    assert await stored(link, service.subjects.dead_letter_stream) == 0


async def handled(service: Service, endpoint: str, count: int, raw: RawClient) -> None:
    """Return once an endpoint has worked off so many requests, as its statistics tell."""
    while True:
        raw._asked += 1
        inbox = f"{raw._inbox}.{raw._asked}".encode()
        name = f"$SRV.STATS.{service.subjects.service}.{service.instance}".encode()
        raw.publish(name, b"", reply=inbox)
        found = orjson.loads((await raw._message()).data)
        (statistics,) = [one for one in found["endpoints"] if one["name"] == endpoint]
        if statistics["num_requests"] >= count:
            return


STEERED = [
    "{root}.journal.1.flake.d3d3d7a9-f70d-5a16-a76d-4dd53ba3ea59.created",
    "{root}.event.flake.created",
    "{root}.cmd.flake.create",
    "{root}.query.flake.list",
    "{root}.dlq.commands",
    "$JS.API.STREAM.DELETE.{stream}",
    "$KV.bucket.key",
    "$SRV.PING",
]


@pytest.mark.parametrize("reply", STEERED)
@pytest.mark.parametrize("subject", ["{root}.cmd.flake.create", "{root}.query.flake.list"])
async def test_a_reply_is_never_sent_where_only_the_service_may_publish(
    raw: RawClient, service: Service, link: Link, subject: str, reply: str
) -> None:
    names = {"root": raw.root, "stream": service.subjects.event_stream}
    target = reply.format(**names)
    seen: list[bytes] = []

    async def see(message: Any) -> None:
        seen.append(message.data)

    if not target.startswith("$SRV"):
        await link.client.subscribe(target, cb=see)
        await round_trip(link.client)
    raw.publish(subject.format(**names).encode(), b'{"path":"/a"}', reply=target.encode())
    await raw.ask(b"cmd.flake.settle", b"{}")
    await raw.ask(b"query.flake.settle", b"{}")
    assert await stored(link, service.subjects.event_stream) == 0
    assert await stored(link, service.subjects.dead_letter_stream) == 0
    await round_trip(link.client)
    own = [b'{"path":"/a"}'] if target == subject.format(**names) else []
    assert seen == own


async def test_service_discovery_replies_there_as_little(
    raw: RawClient, service: Service, link: Link
) -> None:
    target = f"{raw.root}.journal.3.flake.x.created".encode()
    for verb in (b"PING", b"INFO", b"STATS"):
        raw.publish(b"$SRV." + verb, b"", reply=target)
    await round_trip(link.client)
    await raw.ask(b"cmd.flake.settle", b"{}")
    assert await stored(link, service.subjects.event_stream) == 0


@pytest.mark.parametrize("reply", [b"in.\xff\xfe", b"in." + b"x" * 3_900, b"in.*", b"in.\x0b"])
async def test_a_reply_subject_that_cannot_be_used_disturbs_nobody(
    raw: RawClient, reply: bytes
) -> None:
    raw.publish(f"{raw.root}.cmd.flake.update".encode(), b'{"path":"/a"}', reply=reply)
    await raw.ask(b"cmd.flake.settle", b"{}")


# Anything at all


TOKEN = st.binary(max_size=8).map(lambda raw: bytes(b for b in raw if b > 32 and b not in b".*>"))
WORDS = st.one_of(TOKEN, st.sampled_from([b"flake", b"create", b"update", b"list", b"\x0b1", b""]))
NAMES = st.sampled_from(
    [
        b"X-Command-ID",
        b"X-Organization-ID",
        b"X-Expected-Version",
        b"traceparent",
        b"Status",
        b"X-Min-Sequence",
    ]
)
LINE = st.binary(max_size=20)
HEADERS = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.lists(st.one_of(LINE, st.tuples(NAMES, LINE).map(b": ".join)), max_size=4).map(
        lambda lines: block(*lines)
    ),
)
BODIES = st.one_of(
    st.binary(max_size=50),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["path", "name", "text", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(orjson.dumps),
)


@pytest.fixture(scope="module")
def fuzzed(nats_url: str) -> Iterator[tuple[asyncio.Runner, RawClient]]:
    """A service and a client that live through all examples."""
    ended = asyncio.Event()

    async def serve(ready: "asyncio.Future[RawClient]") -> None:
        prefix = f"t{uuid4().hex[:12]}"
        nats = load_settings(url=nats_url, subject_prefix=prefix)
        async with (
            Service(NIX, nats, load_service_settings(views="memory")),
            raw_client(nats_url, f"{prefix}.nix") as client,
        ):
            ready.set_result(client)
            await ended.wait()

    async def begin() -> tuple["asyncio.Task[None]", RawClient]:
        ready: asyncio.Future[RawClient] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(ready))
        async with asyncio.timeout(10):
            return task, await ready

    async def end(task: "asyncio.Task[None]") -> None:
        ended.set()
        await task

    with asyncio.Runner() as runner:
        task, client = runner.run(begin())
        yield runner, client
        runner.run(end(task))


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from([b"cmd", b"query"]),
    words=st.lists(WORDS, min_size=1, max_size=4),
    headers=HEADERS,
    body=BODIES,
)
def test_any_bytes_on_any_subject_get_one_well_formed_reply(
    fuzzed: tuple[asyncio.Runner, RawClient],
    kind: bytes,
    words: list[bytes],
    headers: bytes | None,
    body: bytes,
) -> None:
    runner, client = fuzzed
    words = [word or b"_" for word in words]
    reply = runner.run(client.ask(b".".join([kind, *words]), body, headers))
    assert client.extra == []
    found = orjson.loads(reply.data)
    if kind == b"cmd":
        assert set(found) | {"error"} == COMMAND_REPLY
        assert (found["status"] == "accepted") is ("error" not in found)
        if found["status"] != "accepted":
            refused(reply)
    elif "error" in found:
        assert set(found["error"]) == {"code", "message", "details"}
    assert b"Nats-Service-Error-Code: 500" not in reply.headers

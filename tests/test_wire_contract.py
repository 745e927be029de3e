"""The wire contract, as any client in any language meets it: raw subjects, headers and JSON."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from attrs import frozen
from nats.aio.msg import Msg

from aggregates.nix.flake import CreateFlake
from cim_domain import Domain
from cim_domain.identity import NAMESPACE, aggregate_id, caused_id
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.partition import partition_of
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.wire.command_digest import command_digest

UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NIX = Domain.find("nix")


@frozen
class Wire:
    """A client that knows nothing of the kit but the contract."""

    link: Link
    root: str

    async def ask(
        self, subject: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Msg:
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        return await self.link.requests.one(
            f"{self.root}.{subject}", data, headers=headers, timeout=10
        )

    async def command(
        self, type_: str, body: Any, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        reply: dict[str, Any] = orjson.loads((await self.ask(f"cmd.{type_}", body, headers)).data)
        return reply


@pytest.fixture
async def service(subjects: Subjects, nats_url: str) -> AsyncIterator[Service]:
    async with Service(
        NIX, settings(subjects, nats_url), load_service_settings(views="memory")
    ) as one:
        yield one


@pytest.fixture
def wire(link: Link, service: Service) -> Wire:
    return Wire(link, service.subjects.root)


def settings(subjects: Subjects, url: str) -> NatsSettings:
    return load_settings(url=url, subject_prefix=subjects.prefix)


@frozen
class Stored:
    """A message as the stream keeps it, byte by byte."""

    subject: str
    headers: dict[str, str]
    data: bytes


async def stored(wire: Wire, subjects: Subjects) -> list[Stored]:
    requests, stream = wire.link.requests, subjects.event_stream
    last = (await call(requests, f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    found = []
    for sequence in range(1, last + 1):
        answer = await call(requests, f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        message = answer["message"]
        first, *lines = b64decode(message["hdrs"]).decode("ascii").strip().split("\r\n")
        assert first == "NATS/1.0"
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        assert len(dict(headers)) == len(headers)
        found.append(Stored(message["subject"], dict(headers), b64decode(message["data"])))
    return found


# Commands


async def test_an_accepted_commands_reply(wire: Wire) -> None:
    reply = await wire.ask("cmd.flake.create", {"path": "/srv/web"})
    assert reply.headers is None
    body = orjson.loads(reply.data)
    command_id = body["command_id"]
    assert UUID_TEXT.fullmatch(command_id)
    assert body == {
        "status": "accepted",
        "command_id": command_id,
        "correlation_id": command_id,
        "aggregate_id": aggregate_id("nix", None, "flake", ["/srv/web"]),
        "version": 1,
        "sequence": 1,
        "events": [{"id": caused_id(command_id, 0), "type": "flake.created"}],
    }


def test_ids_can_be_computed_in_any_language() -> None:
    namespace = UUID("d0a5d4a8-6f6c-5c9f-8a0e-2c7c1f5d3b61")
    assert namespace == NAMESPACE
    assert (
        aggregate_id("nix", None, "flake", ["/srv/web"]) == "d3d3d7a9-f70d-5a16-a76d-4dd53ba3ea59"
    )


async def test_the_headers_of_a_command_name_its_id_and_its_cause(wire: Wire) -> None:
    command, correlation, causation = (str(uuid4()) for _ in range(3))
    body = await wire.command(
        "flake.create",
        {"path": "/srv/web"},
        {
            "X-Command-ID": command,
            "X-Correlation-ID": correlation,
            "X-Causation-ID": causation,
        },
    )
    assert (body["command_id"], body["correlation_id"]) == (command, correlation)


async def test_the_first_event_is_stored_with_exactly_these_headers(
    wire: Wire, subjects: Subjects
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    command, correlation = str(uuid4()), str(uuid4())
    before = datetime.now(UTC)
    body = await wire.command(
        "flake.create",
        {"path": "/srv/web"},
        {
            "X-Command-ID": command,
            "X-Correlation-ID": correlation,
            "X-Organization-ID": "acme",
            "traceparent": trace,
        },
    )
    (message,) = await stored(wire, subjects)
    flake = aggregate_id("nix", "acme", "flake", ["/srv/web"])
    journal = f"{wire.root}.journal.{partition_of('flake', flake, 16)}.flake.{flake}"
    event = caused_id(command, 0)
    assert body["aggregate_id"] == flake
    assert message.subject == f"{journal}.created"
    assert orjson.loads(message.data) == {
        "path": "/srv/web",
        "description": "",
        "template": None,
    }
    headers = dict(message.headers)
    time = headers.pop("X-Timestamp")
    assert RFC_3339.fullmatch(time)
    assert before <= datetime.fromisoformat(time) <= datetime.now(UTC)
    assert headers == {
        "Nats-Msg-Id": event,
        "Nats-Expected-Stream": subjects.event_stream,
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": f"{journal}.*",
        "X-Event-ID": event,
        "X-Event-Type": "flake.created",
        "X-Correlation-ID": correlation,
        "X-Causation-ID": command,
        "X-Aggregate-ID": flake,
        "X-Aggregate-Version": "1",
        "X-Command-Digest": command_digest(CreateFlake(path="/srv/web")),
        "X-Organization-ID": "acme",
        "traceparent": trace,
    }


async def test_a_root_commands_events_have_its_id_as_correlation_and_causation(
    wire: Wire, subjects: Subjects
) -> None:
    body = await wire.command("flake.create", {"path": "/srv/web"})
    (message,) = await stored(wire, subjects)
    assert message.headers["X-Correlation-ID"] == body["command_id"]
    assert message.headers["X-Causation-ID"] == body["command_id"]
    assert "X-Schema-Version" not in message.headers
    assert "X-Organization-ID" not in message.headers
    assert "traceparent" not in message.headers


async def test_a_stored_event_is_republished_and_a_rejected_command_is_not(wire: Wire) -> None:
    seen: asyncio.Queue[Msg] = asyncio.Queue()
    await wire.link.client.subscribe(f"{wire.root}.event.>", cb=seen.put)
    await round_trip(wire.link.client)
    await wire.command("flake.create", {"path": "/srv/web"})
    await wire.command("flake.create", {"path": "/srv/web"})
    await wire.command("flake.update", {"path": "/srv/web"})
    first, second = [await asyncio.wait_for(seen.get(), 5) for _ in range(2)]
    assert first.subject == f"{wire.root}.event.flake.created"
    assert second.subject == f"{wire.root}.event.flake.updated"
    assert orjson.loads(first.data)["path"] == "/srv/web"
    assert first.headers is not None
    assert first.headers["X-Event-Type"] == "flake.created"
    assert first.headers["Nats-Sequence"] == "1"
    await round_trip(wire.link.client)
    assert seen.empty()


ERRORS: list[tuple[str, str, Any, dict[str, str], str, str, str]] = [
    ("rejected by a rule", "flake.update", {"path": "/x"}, {}, "rejected", "flake.unknown", "422"),
    ("a field missing", "flake.create", {}, {}, "invalid", "invalid", "400"),
    ("no JSON", "flake.create", b"\xff", {}, "invalid", "invalid", "400"),
    ("no such command", "flake.fly", {}, {}, "invalid", "unknown_command", "404"),
    (
        "not the version expected",
        "flake.create",
        {"path": "/x"},
        {"X-Expected-Version": "3"},
        "conflict",
        "conflict",
        "409",
    ),
    (
        "an unreadable id",
        "flake.create",
        {"path": "/x"},
        {"X-Command-ID": "7"},
        "invalid",
        "bad_header",
        "400",
    ),
]


@pytest.mark.parametrize(
    ("type_", "body", "headers", "status", "code", "http"),
    [each[1:] for each in ERRORS],
    ids=[each[0] for each in ERRORS],
)
async def test_the_reply_to_a_command_that_is_not_accepted(
    wire: Wire,
    type_: str,
    body: Any,
    headers: dict[str, str],
    status: str,
    code: str,
    http: str,
) -> None:
    reply = await wire.ask(f"cmd.{type_}", body, headers)
    found = orjson.loads(reply.data)
    assert set(found) == {
        "status",
        "command_id",
        "correlation_id",
        "aggregate_id",
        "version",
        "sequence",
        "events",
        "error",
    }
    assert (found["status"], found["events"]) == (status, [])
    assert set(found["error"]) == {"code", "message", "details"}
    assert found["error"]["code"] == code
    assert reply.headers == {
        "Nats-Service-Error": found["error"]["message"],
        "Nats-Service-Error-Code": http,
    }


async def test_an_invalid_command_names_each_field_and_none_of_the_values(wire: Wire) -> None:
    body = await wire.command("flake.create", {"path": "secret-one", "no": "secret-two"})
    paths = {field["path"] for field in body["error"]["details"]["fields"]}
    assert paths == {"path", "no"}
    assert "secret-two" not in str(body)


async def test_the_same_command_id_has_one_effect_and_one_reply(
    wire: Wire, subjects: Subjects
) -> None:
    headers = {"X-Command-ID": str(uuid4())}
    first = await wire.command("flake.create", {"path": "/srv/web"}, headers)
    assert await wire.command("flake.create", {"path": "/srv/web"}, headers) == first
    assert len(await stored(wire, subjects)) == 1


async def test_a_command_published_without_a_reply_subject_is_carried_out(wire: Wire) -> None:
    seen: asyncio.Queue[Msg] = asyncio.Queue()
    await wire.link.client.subscribe(f"{wire.root}.event.flake.created", cb=seen.put)
    await wire.link.client.publish(f"{wire.root}.cmd.flake.create", b'{"path":"/srv/web"}')
    assert orjson.loads((await asyncio.wait_for(seen.get(), 5)).data)["path"] == "/srv/web"


async def test_organizations_never_meet(wire: Wire) -> None:
    acme, other = {"X-Organization-ID": "acme"}, {"X-Organization-ID": "other"}
    made = [
        await wire.command("flake.create", {"path": "/srv/web"}, headers)
        for headers in (acme, other, None)
    ]
    assert {one["status"] for one in made} == {"accepted"}
    assert len({one["aggregate_id"] for one in made}) == 3
    await wire.command("flake.create", {"path": "/srv/acme"}, acme)
    minimum = {"X-Min-Sequence": "4"}
    for headers, expected in ((acme, 2), (other, 1), ({}, 1)):
        found = await wire.ask("query.flake.list", {}, {**headers, **minimum})
        assert len(orjson.loads(found.data)["items"]) == expected
    foreign = {"flake_id": made[0]["aggregate_id"]}
    refused = await wire.ask("query.flake.get", foreign, {**other, **minimum})
    assert orjson.loads(refused.data)["error"]["code"] == "not_found"


# Queries


async def test_a_querys_reply_is_its_result_and_how_far_the_views_were(wire: Wire) -> None:
    made = await wire.command("flake.create", {"path": "/srv/web"})
    reply = await wire.ask(
        "query.flake.get", {"path": "/srv/web"}, {"X-Min-Sequence": str(made["sequence"])}
    )
    assert reply.headers == {"X-Sequence": "1"}
    assert orjson.loads(reply.data)["path"] == "/srv/web"
    assert orjson.loads(reply.data)["flake_id"] == made["aggregate_id"]


async def test_a_query_with_a_minimum_sequence_always_reads_what_was_written(wire: Wire) -> None:
    for number in range(20):
        made = await wire.command("flake.create", {"path": f"/srv/{number}"})
        reply = await wire.ask(
            "query.flake.list",
            {"limit": 50},
            {"X-Min-Sequence": str(made["sequence"])},
        )
        assert len(orjson.loads(reply.data)["items"]) == number + 1


QUERY_ERRORS: dict[str, tuple[str, Any, dict[str, str], str, str]] = {
    "nothing there": ("flake.get", {"path": "/x"}, {}, "not_found", "404"),
    "no such query": ("flake.fly", {}, {}, "unknown_query", "404"),
    "an unknown field": ("flake.list", {"no": 1}, {}, "invalid", "400"),
    "a header out of range": ("flake.list", {}, {"X-Min-Sequence": "-1"}, "bad_header", "400"),
}


@pytest.mark.parametrize("case", QUERY_ERRORS)
async def test_the_reply_to_a_query_that_cannot_be_answered(wire: Wire, case: str) -> None:
    type_, body, headers, code, http = QUERY_ERRORS[case]
    reply = await wire.ask(f"query.{type_}", body, headers)
    found = orjson.loads(reply.data)
    assert set(found) == {"error"}
    assert set(found["error"]) == {"code", "message", "details"}
    assert found["error"]["code"] == code
    assert reply.headers == {
        "Nats-Service-Error": found["error"]["message"],
        "Nats-Service-Error-Code": http,
    }


@pytest.mark.parametrize("type_", sorted(NIX.queries))
async def test_every_query_and_every_alias_is_answered(wire: Wire, type_: str) -> None:
    reply = await wire.ask(f"query.{type_}", {})
    found = orjson.loads(reply.data)
    if reply.headers and "X-Sequence" in reply.headers:
        return
    assert found["error"]["code"] in {"invalid", "not_found"}
    assert not found["error"]["code"].startswith("unknown")


async def test_a_query_without_a_payload_is_one_with_no_fields(wire: Wire) -> None:
    assert orjson.loads((await wire.ask("query.flake.list")).data)["items"] == []


# Discovery


async def control(link: Link, subject: str, service: Service) -> dict[str, Any]:
    """The answer of this test's service: others may run on the same server."""
    seen: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = link.client.new_inbox()
    subscription = await link.client.subscribe(inbox, cb=seen.put)
    await link.client.publish(subject, b"", reply=inbox)
    try:
        async with asyncio.timeout(5):
            while True:
                found: dict[str, Any] = orjson.loads((await seen.get()).data)
                if found["id"] == service.instance:
                    return found
    finally:
        await subscription.unsubscribe()


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
@pytest.mark.parametrize("address", ["", ".{name}", ".{name}.{id}"])
async def test_the_service_can_be_discovered(
    link: Link, service: Service, verb: str, address: str
) -> None:
    name = service.subjects.service
    found = await control(
        link, f"$SRV.{verb}" + address.format(name=name, id=service.instance), service
    )
    assert found["name"] == "cim-domain-nix"
    assert found["id"] == service.instance
    assert found["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])


async def test_info_names_the_endpoints(link: Link, service: Service) -> None:
    found = await control(link, "$SRV.INFO", service)
    root = service.subjects.root
    assert {(one["name"], one["subject"], one["queue_group"]) for one in found["endpoints"]} == {
        ("commands", f"{root}.cmd.>", "q"),
        ("queries", f"{root}.query.>", "q"),
        ("health", service.subjects.health, "q"),
        ("replays", f"{root}.replay.>", "q"),
    }


async def test_statistics_count_requests_and_errors(
    link: Link, service: Service, wire: Wire
) -> None:
    await wire.command("flake.create", {"path": "/srv/web"})
    refused = await wire.command("flake.create", {"path": "/srv/web"})
    found = await control(link, "$SRV.STATS", service)
    (commands,) = [one for one in found["endpoints"] if one["name"] == "commands"]
    assert (commands["num_requests"], commands["num_errors"]) == (2, 1)
    assert commands["last_error"] == refused["error"]["message"]
    assert commands["processing_time"] >= 2 * commands["average_processing_time"] > 0


async def test_two_instances_share_the_requests_and_see_the_same_log(
    wire: Wire, link: Link, service: Service, subjects: Subjects, nats_url: str
) -> None:
    async with Service(
        NIX, settings(subjects, nats_url), load_service_settings(views="memory")
    ) as second:
        made = await asyncio.gather(
            *(wire.command("flake.create", {"path": f"/srv/{number % 20}"}) for number in range(60))
        )
        counts = {}
        for one in (service, second):
            found = await control(link, "$SRV.STATS", one)
            (counts[one.instance],) = [
                part["num_requests"] for part in found["endpoints"] if part["name"] == "commands"
            ]
    assert sum(counts.values()) == 60
    assert min(counts.values()) > 0
    statuses = [one["status"] for one in made]
    assert (statuses.count("accepted"), statuses.count("rejected")) == (20, 40)


# Health


async def health(wire: Wire, subjects: Subjects) -> dict[str, Any]:
    reply = await wire.link.requests.one(subjects.health, b"", timeout=5)
    found: dict[str, Any] = orjson.loads(reply.data)
    return found


async def test_health_is_measured(wire: Wire, subjects: Subjects) -> None:
    before = await health(wire, subjects)
    assert set(before) == {"status", "service", "version", "timestamp", "checks"}
    assert (before["status"], before["service"]) == ("healthy", "cim-domain-nix")
    assert RFC_3339.fullmatch(before["timestamp"])
    assert {"connection", "stream", "projection.flakes", "dead_letters"} <= set(before["checks"])
    made = await wire.command("flake.create", {"path": "/srv/web"})
    await wire.ask("query.flake.list", {}, {"X-Min-Sequence": str(made["sequence"])})
    after = await health(wire, subjects)
    assert after["timestamp"] > before["timestamp"]
    assert before["checks"]["stream"]["last_sequence"] == 0
    assert after["checks"]["stream"]["last_sequence"] == 1
    assert after["checks"]["projection.flakes"]["position"] == 1
    assert after["checks"]["projection.flakes"]["lag"] == 0


async def test_a_stopped_projection_degrades_the_health_and_is_named(
    wire: Wire, subjects: Subjects
) -> None:
    await call_journal(wire, subjects, b"{")
    await dead_letters(wire, subjects, at_least=1)
    found = await health(wire, subjects)
    while found["checks"]["projection.flakes"]["state"] != "stopped":
        found = await health(wire, subjects)
    assert found["status"] == "degraded"
    check = found["checks"]["projection.flakes"]
    assert (check["status"], check["lag"]) == ("degraded", 1)
    assert "flake.created" in check["error"]
    assert found["checks"]["dead_letters"]["status"] == "degraded"
    assert found["checks"]["dead_letters"]["count"] >= 1
    assert found["checks"]["projection.modules"]["status"] == "healthy"


async def call_journal(wire: Wire, subjects: Subjects, data: bytes) -> None:
    """Store an event past the service, as only its own permissions would allow."""
    flake = str(uuid4())
    headers = {
        "X-Event-ID": str(uuid4()),
        "X-Event-Type": "flake.created",
        "X-Correlation-ID": flake,
        "X-Causation-ID": flake,
        "X-Aggregate-ID": flake,
        "X-Aggregate-Version": "1",
        "X-Timestamp": "2026-01-01T00:00:00.000000Z",
    }
    subject = subjects.journal("flake.created", flake)
    await wire.ask(subject.removeprefix(f"{wire.root}."), data, headers)


async def dead_letters(wire: Wire, subjects: Subjects, *, at_least: int) -> list[Any]:
    """The dead letters, once there are so many: by a consumer that waits for them."""
    requests, stream = wire.link.requests, subjects.dead_letter_stream
    config = {"deliver_policy": "all", "ack_policy": "none", "filter_subject": f"{wire.root}.dlq.>"}
    made = await call(
        requests, f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
    )
    seen: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = wire.link.client.new_inbox()
    subscription = await wire.link.client.subscribe(inbox, cb=seen.put)
    body = orjson.dumps({"batch": at_least, "expires": 5_000_000_000})
    next_ = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made['name']}"
    await wire.link.client.publish(next_, body, reply=inbox)
    letters = [await asyncio.wait_for(seen.get(), 6) for _ in range(at_least)]
    await subscription.unsubscribe()
    return letters


async def test_what_nobody_waits_for_and_cannot_be_read_is_a_dead_letter(
    wire: Wire, subjects: Subjects
) -> None:
    await wire.link.client.publish(
        f"{wire.root}.cmd.flake.create", b"no JSON", headers={"X-Correlation-ID": "7"}
    )
    (letter,) = await dead_letters(wire, subjects, at_least=1)
    assert letter.subject == f"{wire.root}.dlq.commands"
    assert letter.data == b"no JSON"
    assert letter.headers is not None
    assert letter.headers["X-Dead-Subject"] == f"{wire.root}.cmd.flake.create"
    assert letter.headers["X-Dead-Code"] == "bad_header"
    assert letter.headers["X-Correlation-ID"] == "7"
    assert (await health(wire, subjects))["status"] == "degraded"


async def test_a_rejected_command_that_nobody_waits_for_is_no_dead_letter(
    wire: Wire, subjects: Subjects
) -> None:
    await wire.link.client.publish(f"{wire.root}.cmd.flake.update", b'{"path":"/srv/web"}')
    await wire.command("flake.create", {"path": "/srv/web"})
    assert (await health(wire, subjects))["checks"]["dead_letters"]["count"] == 0

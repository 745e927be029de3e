"""Commands that leave no trace in the log, sent again to services: the first answer, for good."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson
import pytest
from attrs import frozen
from nats.aio.msg import Msg

from cim_domain.client import DomainClient
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.service.service import Service
from cim_domain.testing.server import crash, throwaway_server
from tests.cim_domain.commands.idempotency.doors import service_on


@frozen
class Kind:
    """A command that leaves no trace while the door has never been opened, and one once it has."""

    type: str
    status: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.type}-{self.status}"


REJECTED = Kind("door.enter", "rejected")
KINDS = [REJECTED, Kind("door.enter", "conflict", "1"), Kind("door.close", "accepted")]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@frozen
class Caller:
    """Somebody who sends commands; one with one id each, unless it says otherwise."""

    link: Link
    subjects: Subjects

    async def send(
        self, type_: str, command_id: str | None = None, body: Any = None, **headers: str
    ) -> Msg:
        named = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if command_id:
            named["X-Command-ID"] = command_id
        data = body if isinstance(body, bytes) else orjson.dumps(body or {})
        return await self.link.requests.one(
            self.subjects.command(type_), data, headers=named, timeout=20
        )

    async def repeat(self, kind: Kind, command_id: str, **headers: str) -> tuple[Any, Any]:
        """What comes of a command of a kind: headers and payload of the reply."""
        reply = await self.send(kind.type, command_id, X_Expected_Version=kind.expected, **headers)
        return reply.headers, reply.data

    async def open(self, **headers: str) -> None:
        reply = await self.send("door.open", str(uuid4()), **headers)
        assert orjson.loads(reply.data)["events"]

    async def stored(self) -> int:
        info = await call(self.link.requests, f"STREAM.INFO.{self.subjects.event_stream}")
        return int(info["state"]["messages"])

    async def kept(self) -> int:
        info = await call(self.link.requests, f"STREAM.INFO.KV_{self.subjects.outcome_bucket}")
        return int(info["state"]["messages"])


@pytest.fixture
def caller(link: Link, subjects: Subjects) -> Caller:
    return Caller(link, subjects)


@every_kind
async def test_sent_again_it_gets_the_first_answer_also_when_it_would_be_another_by_now(
    service: Service, caller: Caller, kind: Kind
) -> None:
    command_id = str(uuid4())
    first = await caller.repeat(kind, command_id)
    assert orjson.loads(first[1])["status"] == kind.status
    assert await caller.repeat(kind, command_id) == first
    await caller.open()
    assert await caller.repeat(kind, command_id) == first
    assert await caller.stored() == 1
    # Under another id the same command has an effect now.
    other = orjson.loads((await caller.repeat(kind, str(uuid4())))[1])
    assert (other["status"], len(other["events"])) == ("accepted", 1)


@every_kind
async def test_copies_in_parallel_at_two_instances_get_one_answer_which_is_kept_once(
    settings: NatsSettings, caller: Caller, kind: Kind
) -> None:
    command_id = str(uuid4())
    async with service_on(settings), service_on(settings):
        replies = await asyncio.gather(*(caller.repeat(kind, command_id) for _ in range(20)))
        assert [reply == replies[0] for reply in replies] == [True] * 20
        assert (await caller.kept(), await caller.stored()) == (1, 0)


@every_kind
async def test_a_service_that_starts_knows_what_was_answered_before(
    settings: NatsSettings, caller: Caller, kind: Kind
) -> None:
    command_id = str(uuid4())
    async with service_on(settings):
        first = await caller.repeat(kind, command_id)
        await caller.open()
    async with service_on(settings):
        assert await caller.repeat(kind, command_id) == first
        assert await caller.stored() == 1


async def test_what_was_answered_outlives_a_kill_of_the_server() -> None:
    async with throwaway_server() as server:
        settings = load_settings(url=server.url)
        async with service_on(settings), DomainClient.open("doors", settings) as client:
            command_id = str(uuid4())
            first = await client.send("door.enter", {}, command_id=command_id)
            crash(server)
            opened = await client.send("door.open", {})
            again = await client.send("door.enter", {}, command_id=command_id)
    assert (first.status, opened.status) == ("rejected", "accepted")
    assert again.as_dict() == first.as_dict()


async def test_organizations_share_no_answers(service: Service, caller: Caller) -> None:
    command_id = str(uuid4())
    acme, other = {"X_Organization_ID": "acme"}, {"X_Organization_ID": "other.one"}
    await caller.open(**other)
    refused = await caller.repeat(REJECTED, command_id, **acme)
    entered = await caller.repeat(REJECTED, command_id, **other)
    assert orjson.loads(refused[1])["status"] == "rejected"
    assert orjson.loads(entered[1])["status"] == "accepted"
    await caller.open(**acme)
    assert await caller.repeat(REJECTED, command_id, **acme) == refused


async def test_a_reason_too_large_to_keep_is_shortened_from_the_first_answer_on(
    service: Service, caller: Caller
) -> None:
    command_id = str(uuid4())
    body = {"note": "x" * 100_000}
    first = await caller.send("door.enter", command_id, body)
    again = await caller.send("door.enter", command_id, body)
    assert first.data == again.data
    error = orjson.loads(first.data)["error"]
    assert (error["code"], error["message"]) == ("door.closed", "front is closed")
    assert 100_000 < error["details"]["cut_from"] < 101_000


async def test_an_id_that_was_answered_for_another_aggregate_is_taken(
    service: Service, caller: Caller
) -> None:
    command_id = str(uuid4())
    await caller.send("door.enter", command_id, {"name": "front"})
    reply = orjson.loads((await caller.send("door.open", command_id, {"name": "back"})).data)
    assert (reply["status"], reply["error"]["code"]) == ("conflict", "command_id_taken")
    assert await caller.stored() == 0


async def test_nothing_is_kept_of_commands_without_an_id_nor_of_those_that_failed(
    service: Service, caller: Caller
) -> None:
    replies = [
        await caller.send("door.enter"),
        await caller.send("door.enter", str(uuid4()), b"no JSON"),
        await caller.send("door.enter", str(uuid4()), {"times": 0}),
        await caller.send("door.knock", str(uuid4())),
    ]
    found = [orjson.loads(reply.data)["status"] for reply in replies]
    assert found == ["rejected", "invalid", "failed", "invalid"]
    assert await caller.kept() == 0


async def test_what_cannot_be_kept_is_answered_as_unavailable(
    settings: NatsSettings, caller: Caller
) -> None:
    command_id = str(uuid4())
    async with service_on(settings, store_patience=0.3):
        bucket = f"KV_{caller.subjects.outcome_bucket}"
        await call(caller.link.requests, f"STREAM.DELETE.{bucket}")
        reply = orjson.loads((await caller.repeat(REJECTED, command_id))[1])
        assert (reply["status"], reply["error"]["code"]) == ("failed", "unavailable")
        await caller.open()
    # Nobody was told that it was rejected.
    async with service_on(settings):
        assert orjson.loads((await caller.repeat(REJECTED, command_id))[1])["status"] == "accepted"


async def test_after_its_time_it_is_decided_anew(settings: NatsSettings, caller: Caller) -> None:
    command_id = str(uuid4())
    async with service_on(settings, outcomes_kept=0.5):
        await caller.repeat(REJECTED, command_id)
        await caller.open()
        while await caller.kept():
            pass
        assert orjson.loads((await caller.repeat(REJECTED, command_id))[1])["status"] == "accepted"

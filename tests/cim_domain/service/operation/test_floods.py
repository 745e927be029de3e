"""One client that asks for far too much: the others are still served, and all are answered."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from cim_domain.command_queue.status_requests import GetCommandStatus, Tracker
from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import command_stream
from cim_domain.endpoints.queries import OWN_AT_ONCE, OWN_LIMIT, Answerer, OwnQuery
from cim_domain.errors import NotFound
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.nats.server.embedded import find_url
from cim_domain.testing.process import service_process
from tests.cim_domain.service.servers import SUMS

MANY = 200
STATUS = GetCommandStatus.message_type


async def test_of_many_large_commands_at_once_each_is_answered(tmp_path: Path) -> None:
    """More than a server keeps for who does not read, unless he is let."""
    subject, note = Subjects("sums").command("tally.add"), "x" * 900_000
    place = "tests.cim_domain.service.servers:SUMS"
    with service_process(place, data_directory=tmp_path, arguments=("--port", "0")):
        link = await Link.open(load_settings(), name="test", url=find_url(tmp_path))

        async def add(number: int) -> str:
            body = orjson.dumps({"name": f"n{number}", "note": note})
            reply = orjson.loads((await link.requests.one(subject, body, timeout=60)).data)
            return str(reply.get("error", {}).get("code", reply["status"]))

        answers = Counter(await asyncio.gather(*map(add, range(MANY))))
        health = await link.requests.one(Subjects("sums").health, timeout=10)
        assert orjson.loads(health.data)["checks"]["connection"]["reconnects"] == 0
        await link.close()
    assert answers.total() == MANY
    assert {*answers} <= {"accepted", "busy"}
    assert answers["accepted"]


async def test_questions_to_the_service_itself_leave_room_for_the_domain_s() -> None:
    may, asked = asyncio.Event(), 0

    async def slow(_: Any, organization_id: str | None) -> str:
        nonlocal asked
        asked += 1
        await may.wait()
        return "answered"

    answerer = Answerer(SUMS, {}, own={STATUS: OwnQuery(GetCommandStatus, slow)})
    body = orjson.dumps({"command_id": str(uuid4())})
    waiting = [asyncio.create_task(answerer.answer(STATUS, {}, body)) for _ in range(OWN_LIMIT)]
    await asyncio.sleep(0)
    assert (await answerer.answer(STATUS, {}, body)).code == "busy"
    assert (await answerer.answer("tally.unknown", {}, b"")).code == "unknown_query"
    may.set()
    assert {(await one).data for one in waiting} == {b'"answered"'}
    assert OWN_AT_ONCE < asked == OWN_LIMIT


async def test_those_who_ask_the_same_of_a_stored_command_share_one_look(
    link: Link, subjects: Subjects
) -> None:
    await ensure_stream(link.requests, bucket_stream(subjects.outcome_bucket))
    await ensure_stream(
        link.requests,
        command_stream(
            subjects.command_stream, subjects.submissions, subjects.schedules, replicas=1
        ),
    )
    tracker = Tracker(link, subjects, StatusStore(Bucket(link, subjects.outcome_bucket)))
    query = GetCommandStatus(command_id=uuid4())

    async def ask() -> None:
        with pytest.raises(NotFound):
            await tracker.status(query, None)

    before = link.client.stats["out_msgs"]
    await ask()
    alone = link.client.stats["out_msgs"] - before
    await asyncio.gather(*(ask() for _ in range(100)))
    assert link.client.stats["out_msgs"] - before == 2 * alone

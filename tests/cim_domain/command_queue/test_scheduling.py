"""Commands for a time to come: done once when it has come, whatever dies, unless cancelled."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from cim_domain.client import DomainClient
from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import schedule_headers
from cim_domain.errors import Conflict, Invalid, NotFound, RequestError
from cim_domain.model.metadata import utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.service.service import Service
from cim_domain.testing.process import service_process
from cim_domain.testing.server import crash, in_thread, throwaway_server
from cim_domain.wire.command_status import CommandStatus
from tests.cim_domain.command_queue.queueing import ADD, SOON, queued, service_on, totals

LATER = 3600


async def drained(client: DomainClient, after: float) -> None:
    """Return when all that is due before, and `after` seconds from now, is done."""
    last = await client.schedule(ADD, {"name": "last"}, after=after)
    await client.wait_for(last.command_id, timeout=SOON)


async def test_a_scheduled_command_is_done_once_when_its_time_has_come(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    at = utc_now() + timedelta(seconds=0.6)
    scheduled = await client.schedule(ADD, {"name": "a"}, at=at)
    assert scheduled.at == at
    known = await client.status(scheduled.command_id)
    assert (known.state, known.at, known.final) == ("scheduled", at, False)
    standing = await client.wait_for(scheduled.command_id, timeout=SOON)
    assert (standing.state, standing.attempts) == ("accepted", 1)
    (event,) = [record async for record in client.events()]
    assert event.metadata.causation_id == scheduled.command_id
    assert at <= event.metadata.timestamp
    await drained(client, 0.3)
    assert await totals(client) == ["a", "last"]
    assert await queued(link, subjects) == 0


async def test_a_length_of_time_is_seconds_or_a_timedelta(
    queue: None, client: DomainClient
) -> None:
    before = utc_now()
    for after in (LATER, timedelta(hours=1)):
        scheduled = await client.schedule(ADD, {"name": "a"}, after=after)
        assert timedelta() <= scheduled.at - before - timedelta(hours=1) < timedelta(seconds=SOON)


@pytest.mark.parametrize(
    "at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)], ids=str
)
async def test_a_time_in_the_past_is_now(
    service: Service, client: DomainClient, at: datetime
) -> None:
    before = utc_now()
    scheduled = await client.schedule(ADD, {"name": "a"}, at=at)
    assert scheduled.at >= before
    assert (await client.wait_for(scheduled.command_id, timeout=SOON)).state == "accepted"


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        ({"at": datetime(2100, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"at": datetime(9999, 1, 1, tzinfo=UTC)}, "2262"),
        ({"at": datetime(1969, 12, 31, 23, tzinfo=UTC)}, "1970"),
        ({"at": datetime(1, 1, 1, tzinfo=UTC)}, "1970"),
        ({"after": -2e9}, "1970"),
        ({"after": 1e12}, "no length of time"),
        ({"after": timedelta.max}, "no length of time"),
        ({"after": float("nan")}, "no length of time"),
        ({"after": 8e9}, "2262"),
        ({}, "at which time"),
        ({"at": datetime(2100, 1, 1, tzinfo=UTC), "after": 1}, "at which time"),
    ],
)
async def test_times_that_servers_cannot_keep_are_refused(
    queue: None,
    client: DomainClient,
    link: Link,
    subjects: Subjects,
    time: dict[str, object],
    problem: str,
) -> None:
    with pytest.raises(Invalid, match=problem) as refused:
        await client.schedule(ADD, {"name": "a"}, **time)  # type: ignore[arg-type]
    assert refused.value.code == "bad_time"
    assert await queued(link, subjects) == 0


async def test_an_id_that_is_no_uuid_never_becomes_a_subject(
    queue: None, client: DomainClient
) -> None:
    for made in (
        client.schedule(ADD, {"name": "a"}, after=1, command_id="*"),
        client.submit(ADD, {"name": "a"}, command_id="a.>"),
        client.status("*"),
        client.cancel("*"),
        client.wait_for(">"),
    ):
        with pytest.raises(Invalid, match="expected a UUID"):
            await made


async def test_cancelled_before_its_time_it_is_never_done(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=0.6)
    assert await client.cancel(scheduled.command_id)
    assert await client.cancel(scheduled.command_id)
    assert await queued(link, subjects) == 0
    standing = await client.wait_for(scheduled.command_id, timeout=SOON)
    assert (standing.state, standing.final, standing.outcome) == ("cancelled", True, None)
    await drained(client, 0.8)
    assert await totals(client) == ["last"]


async def test_an_id_that_was_done_or_cancelled_is_not_scheduled_again(
    service: Service, client: DomainClient
) -> None:
    cancelled = await client.schedule(ADD, {"name": "a"}, after=60)
    assert await client.cancel(cancelled.command_id)
    done = await client.schedule(ADD, {"name": "a"}, after=0)
    await client.wait_for(done.command_id, timeout=SOON)
    for earlier, state in ((cancelled, "cancelled"), (done, "accepted")):
        with pytest.raises(Conflict, match=f"was {state} before") as refused:
            await client.schedule(ADD, {"name": "a"}, after=60, command_id=earlier.command_id)
        assert refused.value.code == "already_scheduled"


async def test_after_its_time_it_is_too_late_to_cancel(
    service: Service, client: DomainClient
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=0)
    standing = await client.wait_for(scheduled.command_id, timeout=SOON)
    assert not await client.cancel(scheduled.command_id)
    assert await client.status(scheduled.command_id) == standing
    assert not await client.cancel(str(uuid4()))


async def test_cancelled_as_it_becomes_due_it_is_not_done_either(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=0.4)
    # What cancelling does first; the service dies before it takes the message away, say.
    cancelled = CommandStatus(state="cancelled", command_id=scheduled.command_id)
    assert await StatusStore(Bucket(link, subjects.outcome_bucket)).begin(cancelled, None)
    await drained(client, 0.8)
    assert await totals(client) == ["last"]
    assert (await client.status(scheduled.command_id)).state == "cancelled"


async def test_begun_as_it_is_cancelled_it_is_done_and_not_cancelled(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=0.5)
    begun = CommandStatus(state="waiting", command_id=scheduled.command_id)
    assert await StatusStore(Bucket(link, subjects.outcome_bucket)).begin(begun, None)
    assert not await client.cancel(scheduled.command_id)
    assert (await client.wait_for(scheduled.command_id, timeout=SOON)).state == "accepted"


async def test_a_scheduled_command_is_not_replaced(service: Service, client: DomainClient) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=0.4)
    with pytest.raises(Conflict) as refused:
        await client.schedule(ADD, {"name": "b"}, after=0, command_id=scheduled.command_id)
    assert refused.value.code == "already_scheduled"
    await client.wait_for(scheduled.command_id, timeout=SOON)
    assert await totals(client) == ["a"]


async def test_of_many_at_one_instant_each_is_done_once(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    at = utc_now() + timedelta(seconds=1.5)
    names = [str(number) for number in range(200)]
    scheduled = await asyncio.gather(
        *(client.schedule(ADD, {"name": name}, at=at) for name in names)
    )
    assert await totals(client) == []
    for one in scheduled:
        assert (await client.wait_for(one.command_id, timeout=SOON)).state == "accepted"
    assert sorted(await totals(client)) == sorted(names)
    assert await queued(link, subjects) == 0


async def test_organizations_cannot_cancel_or_see_each_others_schedules(
    service: Service, client: DomainClient
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=LATER, organization_id="acme")
    for other in (None, "other"):
        with pytest.raises(NotFound):
            await client.status(scheduled.command_id, organization_id=other)
        assert not await client.cancel(scheduled.command_id, organization_id=other)
    known = await client.status(scheduled.command_id, organization_id="acme")
    assert known.state == "scheduled"
    assert await client.cancel(scheduled.command_id, organization_id="acme")


async def test_what_was_scheduled_under_another_id_than_its_own_is_a_dead_letter(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    put = await link.client.subscribe(subjects.dead_letters)
    headers = schedule_headers(utc_now(), subjects.submit(ADD))
    own = {"X-Command-ID": str(uuid4())}
    await link.client.publish(
        subjects.schedule(str(uuid4())), b'{"name": "a"}', headers={**headers, **own}
    )
    letter = await put.next_msg(SOON)
    assert letter.headers is not None
    assert letter.headers["X-Dead-Code"] == "bad_header"
    assert await totals(client) == []


async def test_the_subject_alone_gives_a_scheduled_command_its_id(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    command_id = str(uuid4())
    headers = schedule_headers(utc_now(), subjects.submit(ADD))
    await link.client.publish(subjects.schedule(command_id), b'{"name": "a"}', headers=headers)
    assert (await client.wait_for(command_id, timeout=SOON)).state == "accepted"


SPELLINGS = [str.upper, lambda one: one.replace("-", ""), lambda one: f"{{{one}}}"]


@pytest.mark.parametrize("spell", SPELLINGS)
async def test_an_id_in_another_spelling_is_no_subject_to_wait_on(
    service: Service,
    client: DomainClient,
    link: Link,
    subjects: Subjects,
    spell: Callable[[str], str],
) -> None:
    put = await link.client.subscribe(subjects.dead_letters)
    subject = subjects.schedule(spell(str(uuid4())))
    headers = schedule_headers(utc_now(), subjects.submit(ADD))
    await link.client.publish(subject, b'{"name": "a"}', headers=headers)
    letter = await put.next_msg(SOON)
    assert letter.headers is not None
    assert letter.headers["X-Dead-Code"] == "bad_header"
    assert "lower case" in letter.headers["X-Dead-Reason"]
    assert await totals(client) == []


NEVER = "@at 0001-01-01T00:00:00Z"
LATE = "@at 2200-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Nats-Schedule": NEVER}, "bad_time"),
        ({"Nats-Schedule": "@at 2700-01-01T00:00:00Z"}, "bad_time"),
        ({"Nats-Schedule": "@at 0000-01-01T00:00:00Z"}, "bad_time"),
        ({"Nats-Schedule": "@at 0001-01-01T00:00:00+14:00"}, "bad_time"),
        ({}, "bad_header"),
        (
            {"Nats-Schedule": LATE, "X-Command-ID": "8f6c6f78-4c29-4d4e-9b7a-000000000001"},
            "bad_header",
        ),
        ({"Nats-Schedule": LATE, "x-organization-id": "acme"}, "bad_header"),
        ({"Nats-Schedule": LATE, "X-Expected-Version": "1, 2"}, "bad_header"),
        ({"Nats-Schedule": LATE, "Nats-Schedule-Target": "schedule.other"}, "bad_header"),
    ],
    ids=str,
)
async def test_what_will_not_be_done_as_was_meant_says_so_and_can_be_cancelled(
    service: Service, client: DomainClient, link: Link, subjects: Subjects,
    headers: dict[str, str], code: str,
) -> None:  # fmt: skip
    command_id = str(uuid4())
    if "Nats-Schedule-Target" in headers:
        headers = {**headers, "Nats-Schedule-Target": subjects.schedule("other")}
    elif headers:
        headers = {**headers, "Nats-Schedule-Target": subjects.submit(ADD)}
    reply = await link.requests.one(
        subjects.schedule(command_id), b'{"name": "a"}', headers=headers, timeout=SOON
    )
    assert b'"seq"' in reply.data
    answer = (await client.ask("command.status", {"command_id": command_id})).json()
    assert (answer["status"], answer["error"]["code"]) == ("scheduled", code)
    assert None not in answer.values()
    known = await client.status(command_id)
    assert (known.state, known.final) == ("scheduled", False)
    assert known.error is not None
    assert await client.cancel(command_id)
    assert await queued(link, subjects) == 0
    assert (await client.status(command_id)).state == "cancelled"


@pytest.mark.parametrize("schedule", ["0 0 3 * * *", "@every 1h"])
async def test_a_schedule_that_repeats_is_cancelled_before_it_was_ever_due(
    service: Service, client: DomainClient, link: Link, subjects: Subjects, schedule: str
) -> None:
    command_id = await repeated(link, subjects, schedule)
    assert (await client.status(command_id)).state == "scheduled"
    assert await client.cancel(command_id)
    assert await queued(link, subjects) == 0
    assert (await client.status(command_id)).state == "cancelled"


async def test_a_schedule_that_repeats_has_one_effect_and_ends_when_it_is_cancelled(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    command_id = await repeated(link, subjects, "@every 1s")
    assert (await client.wait_for(command_id, timeout=SOON)).state == "accepted"
    for _ in range(2):
        assert await client.cancel(command_id, organization_id="acme") is False
    assert await client.cancel(command_id)
    await drained(client, 1.5)
    assert await queued(link, subjects) == 0
    assert await totals(client) == ["a", "last"]
    assert (await client.status(command_id)).state == "accepted"
    assert not await client.cancel(command_id)


async def repeated(link: Link, subjects: Subjects, schedule: str) -> str:
    command_id = str(uuid4())
    headers = {"Nats-Schedule": schedule, "Nats-Schedule-Target": subjects.submit(ADD)}
    reply = await link.requests.one(
        subjects.schedule(command_id), b'{"name": "a"}', headers=headers, timeout=SOON
    )
    assert b'"seq"' in reply.data
    return command_id


async def test_an_accepted_cancellation_tells_what_is_known_and_no_nulls(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    scheduled = await client.schedule(ADD, {"name": "a"}, after=LATER)
    body = orjson.dumps({"command_id": scheduled.command_id})
    reply = await link.requests.one(subjects.command("command.cancel"), body, timeout=SOON)
    answer = orjson.loads(reply.data)
    assert set(answer) == {"status", "command_id", "correlation_id", "events"}
    assert (answer["status"], answer["events"]) == ("accepted", [])
    assert answer["command_id"] == answer["correlation_id"]


async def test_schedules_outlive_a_kill_of_server_and_service(tmp_path: Path) -> None:
    # In a thread of its own the server is started anew while this one waits for the service.
    with in_thread(throwaway_server) as server:
        settings = load_settings(url=server.url)
        arguments = ("--url", server.url)
        async with DomainClient.open("nix", settings) as client:
            with service_process("nix", data_directory=tmp_path, arguments=arguments) as first:
                soon = await client.schedule("flake.create", {"path": "/srv/soon"}, after=0.5)
                late = await client.schedule("flake.create", {"path": "/srv/late"}, after=4)
                gone = await client.schedule("flake.create", {"path": "/srv/gone"}, after=4)
                assert await client.cancel(gone.command_id)
                os.kill(first.process.pid, signal.SIGKILL)
                first.wait()
            crash(server)
            with service_process("nix", data_directory=tmp_path, arguments=arguments):
                for one in (soon, late):
                    standing = await client.wait_for(one.command_id, timeout=30)
                    assert standing.state == "accepted"
                assert (await client.status(gone.command_id)).state == "cancelled"
                events = [record async for record in client.events()]
    assert [event.metadata.causation_id for event in events] == [soon.command_id, late.command_id]


async def test_without_a_stream_for_it_nothing_is_stored_and_that_is_said(
    client: DomainClient, settings: NatsSettings
) -> None:
    for made in (
        client.submit(ADD, {"name": "a"}),
        client.schedule(ADD, {"name": "a"}, after=1),
    ):
        with pytest.raises(NoAnswer, match="start the service once") as caught:
            await made
        assert caught.value.code == "no_responders"


async def test_cancelling_and_asking_are_refused_without_an_id(
    service: Service, client: DomainClient
) -> None:
    for made in (client.send("command.cancel", {}), client.send("command.cancel", b"{")):
        assert (await made).status == "invalid"
    with pytest.raises(RequestError) as refused:
        await client.ask("command.status", {"command_id": "7"})
    assert refused.value.code == "invalid"


async def test_the_queue_is_changed_on_a_running_server_when_settings_change(
    settings: NatsSettings, link: Link, subjects: Subjects
) -> None:
    for kept in (600.0, 900.0):
        async with service_on(settings, outcomes_kept=kept):
            info = await call(link.requests, f"STREAM.INFO.KV_{subjects.outcome_bucket}")
            assert info["config"]["max_age"] == kept * 1_000_000_000

"""Commands that are stored first: done at least once, with one effect, or kept with the reason."""

import asyncio
import sys
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import orjson
import pytest
from attrs import evolve

from cim_domain.client import DomainClient
from cim_domain.command_queue.worker import UNKNOWN_FOR
from cim_domain.commands.decisions import CommandRequest
from cim_domain.errors import (
    Busy,
    Conflict,
    Failed,
    Invalid,
    NotFound,
    Rejected,
    RequestError,
    Unavailable,
)
from cim_domain.model.metadata import utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import StoredMessage, get_range
from cim_domain.service.adapters import Adapters
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings
from cim_domain.testing.server import crash, throwaway_server
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import EventReference, Outcome
from tests.cim_domain.command_queue.queueing import (
    ADD,
    SOON,
    executor,
    queued,
    service_on,
    totals,
    worker,
)
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import tally_domain


async def letters(link: Link, subjects: Subjects) -> list[StoredMessage]:
    return await get_range(
        link.requests, subjects.dead_letter_stream, start=1, limit=100, timeout=5
    )


async def test_a_command_is_done_and_its_outcome_can_be_read_by_its_id(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    stored = await client.submit(ADD, {"name": "a", "amounts": [1, 2]})
    standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.final, standing.attempts) == ("accepted", True, 1)
    assert standing.outcome is not None
    sent = await client.send(ADD, {"name": "a", "amounts": [1, 2]}, command_id=stored.command_id)
    assert standing.outcome == sent
    assert await client.status(stored.command_id) == standing
    assert await totals(client) == ["a", "a"]


async def test_what_was_stored_while_no_service_ran_is_done_when_one_starts(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    stored = await client.submit(ADD, {"name": "a"})
    assert await queued(link, subjects) == 1
    waiting = asyncio.create_task(client.wait_for(stored.command_id, timeout=SOON))
    async with service_on(settings):
        assert (await waiting).state == "accepted"
        assert await client.status(stored.command_id) == await waiting
    assert await queued(link, subjects) == 0
    assert await totals(client) == ["a"]


async def dies(settings: NatsSettings, when: str) -> None:
    """A worker takes a command and is killed before or after that has had its effect."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.cim_domain.command_queue.queueing",
        settings.urls[0].address, settings.subject_prefix, when,
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), SOON) == -9


async def test_a_worker_killed_between_effect_and_acknowledgement_repeats_nothing(
    queue: None, settings: NatsSettings, client: DomainClient
) -> None:
    stored = await client.submit(ADD, {"name": "a", "amounts": [1, 2]})
    await dies(settings, "after")
    assert await totals(client) == ["a", "a"]
    async with service_on(settings, ack_wait=0.3):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.attempts) == ("accepted", 2)
    assert standing.outcome is not None
    assert standing.outcome.version == 2
    assert await totals(client) == ["a", "a"]


async def test_a_command_that_kills_its_workers_is_given_up(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    stored = await client.submit(ADD, {"name": "a"})
    # Two deliveries could have come back for any reason; that the third was begun is noted.
    for _ in range(3):
        await dies(settings, "before")
    async with service_on(settings, ack_wait=0.3, attempts=1):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.dead_letter) == ("failed", True)
    assert standing.error is not None
    assert standing.error.code == "gave_up"
    assert await totals(client) == []
    assert [letter.headers["X-Dead-Code"] for letter in await letters(link, subjects)] == [
        "gave_up"
    ]


async def test_what_is_accepted_is_accepted_however_large_its_outcome_is(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    events = tuple(EventReference(str(uuid4()), "tally." + "added" * 100) for _ in range(2500))

    async def execute(request: CommandRequest) -> Outcome:
        return evolve(Outcome.done(request.metadata), version=7, sequence=9, events=events)

    stored = await client.submit(ADD, {"name": "a"})
    async with worker(link, subjects, execute):
        await consumed(link, subjects)
    async with service_on(settings):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.dead_letter, standing.attempts) == ("accepted", False, 1)
    assert standing.outcome is not None
    assert (standing.outcome.version, standing.outcome.sequence) == (7, 9)
    assert standing.outcome.events == ()
    assert await letters(link, subjects) == []


@pytest.mark.parametrize("error", [Failed("no " * 700_000), Rejected("no", "no " * 700_000)])
async def test_a_reason_that_is_too_large_is_cut_and_told_all_the_same(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects,
    error: RequestError,
) -> None:  # fmt: skip
    async def execute(request: CommandRequest) -> Outcome:
        return Outcome.refused(error, request.metadata)

    stored = await client.submit(ADD, {"name": "a"})
    async with worker(link, subjects, execute, attempts=1):
        await consumed(link, subjects)
    async with service_on(settings):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.dead_letter) == (error.status, error.status == "failed")
    assert standing.error is not None
    assert standing.error.details["cut_from"] > 2_000_000


@pytest.mark.parametrize("error", [Busy("full"), Unavailable("the log is away")])
async def test_what_the_service_itself_could_not_do_uses_up_no_attempt(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects,
    error: RequestError,
) -> None:  # fmt: skip
    errors = [error] * 2

    async def execute(request: CommandRequest) -> Outcome:
        if errors:
            return Outcome.refused(errors.pop(), request.metadata)
        return await executor(link, subjects).execute(request)

    stored = await client.submit(ADD, {"name": "a"})
    async with worker(link, subjects, execute, attempts=1):
        await consumed(link, subjects)
    async with service_on(settings):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.attempts) == ("accepted", 1)
    assert await letters(link, subjects) == []


async def test_one_that_was_done_is_accepted_whatever_refuses_it_when_it_comes_again(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    carried_out = executor(link, subjects)
    done = False

    async def execute(request: CommandRequest) -> Outcome:
        # As with an interceptor that counts, and a worker that is lost before it tells the outcome.
        nonlocal done
        if done:
            return Outcome.refused(Rejected("tally.too_many", "no more"), request.metadata)
        assert (await carried_out.execute(request)).error is None
        done = True
        return Outcome.refused(Unavailable("the connection is lost"), request.metadata)

    stored = await client.submit(ADD, {"name": "a"})
    async with worker(link, subjects, execute, first_outcome=carried_out.first_outcome):
        await consumed(link, subjects)
    async with service_on(settings):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert standing.state == "accepted"
    assert await totals(client) == ["a"]


async def consumed(link: Link, subjects: Subjects) -> None:
    """Return once nothing is in the queue; asked at the server's own pace."""
    async with asyncio.timeout(SOON):
        while await queued(link, subjects):
            pass


async def test_news_that_got_lost_is_made_up_for_by_looking(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    command_id = str(uuid4())
    asked = asyncio.Event()
    status = client.status

    async def noted(*arguments: Any, **named: Any) -> CommandStatus:
        asked.set()
        return await status(*arguments, **named)

    client.status = noted  # type: ignore[method-assign]
    waiting = asyncio.create_task(client.wait_for(command_id, timeout=SOON))
    await asked.wait()
    # Nobody may hear of what is stored from here on.
    for subscription in list(client._link.client._subs.values()):
        if subscription.subject.startswith(subjects.outcome_root):
            await client._link.client._send_unsubscribe(subscription._id)
    await round_trip(client._link.client)
    await client.submit(ADD, {"name": "a"}, command_id=command_id)
    assert (await waiting).state == "accepted"


async def test_whoever_stops_waiting_while_disconnected_leaves_no_subscription() -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server() as server:
        link = await Link.open(settings, name="test", url=server.url)
        client = DomainClient(link, Subjects("sums"))
        before = len(link.client._subs)
        lost, back = asyncio.Event(), asyncio.Event()
        signals = {ConnectionChange.DISCONNECTED: lost, ConnectionChange.RECONNECTED: back}
        link.listen(lambda one: signals[one].set() if one in signals else None)
        waiting = asyncio.create_task(client.wait_for(str(uuid4())))
        await until(lambda: len(link.client._subs) > before)
        crash(server)
        await lost.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        await back.wait()
        assert len(link.client._subs) == before
        await link.close()


async def test_what_fails_is_tried_again_later_and_later_and_then_a_dead_letter(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    news = await link.client.subscribe(f"{subjects.outcome_root}.>")
    stored = await client.submit(ADD, {"name": "a", "amounts": [0]})
    seen: list[tuple[float, CommandStatus]] = []
    for _ in range(3):
        await news.next_msg(SOON)
        seen.append((monotonic(), await client.status(stored.command_id)))
    assert [(one.state, one.attempts, one.final, one.dead_letter) for _, one in seen] == [
        ("retrying", 1, False, False),
        ("retrying", 2, False, False),
        ("failed", 3, True, True),
    ]
    assert all("ZeroDivisionError" in one.error.message for _, one in seen if one.error)
    (first, _), (second, _), (third, _) = seen
    assert 0.3 < second - first < third - second
    (letter,) = await letters(link, subjects)
    assert letter.subject == f"{subjects.dead_letter_root}.submit"
    assert letter.headers["X-Dead-Deliveries"] == "3"
    assert letter.headers["X-Command-ID"] == stored.command_id
    assert (await service.health())["checks"]["submissions"] == {
        "status": "healthy",
        "pending": 0,
        "in_flight": 0,
        "retrying": 0,
    }


@pytest.mark.parametrize(
    ("message_type", "payload", "code"),
    [
        (ADD, b"{", "invalid"),
        (ADD, b'{"name": 7}', "invalid"),
        (ADD, b'{"name": "a", "of_newer_code": 1}', "invalid"),
        ("command.cancel", b"{}", "unknown_command"),
    ],
)
async def test_what_cannot_be_read_is_invalid_and_a_dead_letter(
    service: Service,
    client: DomainClient,
    link: Link,
    subjects: Subjects,
    message_type: str,
    payload: bytes,
    code: str,
) -> None:
    stored = await client.submit(message_type, payload)
    standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.dead_letter) == ("invalid", True)
    assert isinstance(standing.error, Invalid)
    assert standing.error.code == code
    (letter,) = await letters(link, subjects)
    assert (letter.data, letter.headers["X-Dead-Code"]) == (payload, code)


async def test_a_command_of_a_type_that_nobody_knows_waits_for_newer_code_and_says_so(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    news = await link.client.subscribe(f"{subjects.outcome_root}.>")
    stored = await client.submit("tally.unknown", b"{}")
    for attempt in (1, 2):
        await news.next_msg(SOON)
        standing = await client.status(stored.command_id)
        assert (standing.state, standing.attempts, standing.final) == ("waiting", attempt, False)
        assert standing.error is not None
        assert standing.error.code == "unknown_command"
        assert "tally.unknown" in standing.error.message
        assert "until an hour after it was stored" in standing.error.message
    with pytest.raises(NoAnswer, match=r"within 0\.2 s: there is no command 'tally\.unknown'"):
        await client.wait_for(stored.command_id, timeout=0.2)
    check = (await service.health())["checks"]["submissions"]
    assert (check["status"], check["state"]) == ("degraded", "waiting")
    assert check["error"] == standing.error.message
    assert await letters(link, subjects) == []


@pytest.mark.parametrize("subject", ["tally", "tally.add.more", "Tally.add", "tally.1"])
async def test_a_type_that_no_code_can_have_is_not_waited_for(
    service: Service, client: DomainClient, link: Link, subjects: Subjects, subject: str
) -> None:
    command_id = str(uuid4())
    await publish(link, subjects.submit(subject), b"{}", {"X-Command-ID": command_id})
    standing = await client.wait_for(command_id, timeout=SOON)
    assert (standing.state, standing.dead_letter, standing.attempts) == ("invalid", True, 1)
    assert standing.error is not None
    assert standing.error.code == "unknown_command"


async def test_after_an_hour_it_is_invalid_and_a_dead_letter(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    stored = await client.submit("tally.unknown", b"{}")
    later = Adapters(clock=lambda: utc_now() + timedelta(seconds=UNKNOWN_FOR))
    one = ServiceSettings(views="memory", attempts=1)
    async with Service(tally_domain(), settings, one, adapters=later):
        standing = await client.wait_for(stored.command_id, timeout=SOON)
    # However old it was when it was first met, newer code has had a chance to take it.
    assert (standing.state, standing.dead_letter, standing.attempts) == ("invalid", True, 3)
    assert standing.error is not None
    assert standing.error.code == "unknown_command"
    (letter,) = await letters(link, subjects)
    assert letter.headers["X-Dead-Code"] == "unknown_command"


@pytest.mark.parametrize(
    ("headers", "code"),
    [({"X-Command-ID": "7"}, "bad_header"), ({"X-Organization-ID": "no one"}, "bad_header")],
)
async def test_headers_that_cannot_be_read_make_a_dead_letter(
    service: Service,
    link: Link,
    subjects: Subjects,
    headers: dict[str, str],
    code: str,
) -> None:
    put = await link.client.subscribe(subjects.dead_letters)
    await link.client.publish(subjects.submit(ADD), b'{"name": "a"}', headers=headers)
    letter = await put.next_msg(SOON)
    assert letter.headers is not None
    assert letter.headers["X-Dead-Code"] == code


async def test_a_dead_letter_has_the_commands_id_wherever_that_came_from(
    service: Service, link: Link, subjects: Subjects
) -> None:
    put = await link.client.subscribe(subjects.dead_letters)
    message_id = str(uuid4())
    await publish(link, subjects.submit(ADD), b"{", {"Nats-Msg-Id": message_id})
    letter = await put.next_msg(SOON)
    assert letter.headers is not None
    assert letter.headers["X-Command-ID"] == message_id


async def test_the_domains_no_is_final_and_no_dead_letter(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    stored = await client.submit(ADD, {"name": "a", "amounts": [-1]})
    standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.attempts) == ("rejected", 1)
    assert isinstance(standing.error, Rejected)
    assert standing.error.code == "tally.negative"
    assert await letters(link, subjects) == []


async def test_an_expected_version_that_is_not_met_is_a_conflict_at_once(
    service: Service, client: DomainClient
) -> None:
    stored = await client.submit(ADD, {"name": "a"}, expected_version=7)
    standing = await client.wait_for(stored.command_id, timeout=SOON)
    assert (standing.state, standing.attempts) == ("conflict", 1)
    assert isinstance(standing.error, Conflict)


async def test_what_was_refused_on_either_way_is_answered_the_same_on_both(
    service: Service, client: DomainClient
) -> None:
    negative = {"name": "a", "amounts": [-1]}
    stored = await client.submit(ADD, negative)
    standing = await client.wait_for(stored.command_id, timeout=SOON)
    sent = await client.send(ADD, negative, command_id=stored.command_id)
    assert standing.outcome is not None
    assert standing.outcome.as_dict() == sent.as_dict()
    first = await client.send(ADD, negative)
    await client.submit(ADD, negative, command_id=first.command_id)
    standing = await client.wait_for(first.command_id, timeout=SOON)
    assert standing.outcome is not None
    assert standing.outcome.as_dict() == first.as_dict()


@pytest.mark.parametrize("amount", [1, -1], ids=["accepted", "rejected"])
async def test_another_command_with_its_id_changes_nothing_of_what_is_told_of_the_first(
    service: Service, client: DomainClient, link: Link, subjects: Subjects, amount: int
) -> None:
    body = {"name": "a", "amounts": [amount]}
    first = await client.submit(ADD, body)
    told = await client.wait_for(first.command_id, timeout=SOON)
    # With an id for the stream of its own, it is stored, too.
    headers = {"X-Command-ID": first.command_id}
    await publish(link, subjects.submit(ADD), b'{"name": "a", "amounts": [7]}', headers)
    last = await client.submit(ADD, {"name": "a", "amounts": [2]})
    await client.wait_for(last.command_id, timeout=SOON)
    async with asyncio.timeout(SOON):
        while await queued(link, subjects):
            pass
    assert (await client.status(first.command_id)).as_dict() == told.as_dict()
    again = await client.send(ADD, body, command_id=first.command_id)
    assert told.outcome is not None
    assert again.as_dict() == told.outcome.as_dict()
    assert await letters(link, subjects) == []


async def test_submitted_twice_it_is_stored_once(
    queue: None, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    command_id = str(uuid4())
    first = await client.submit(ADD, {"name": "a"}, command_id=command_id)
    again = await client.submit(ADD, {"name": "a"}, command_id=command_id.upper())
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.sequence == again.sequence
    assert await queued(link, subjects) == 1


async def publish(link: Link, subject: str, data: bytes, headers: dict[str, str] | None) -> int:
    reply = await link.requests.one(subject, data, headers=headers, timeout=5)
    return int(orjson.loads(reply.data)["seq"])


async def test_stored_twice_it_is_done_once(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    headers = {"X-Command-ID": str(uuid4())}
    for _ in range(2):
        await publish(link, subjects.submit(ADD), b'{"name": "a"}', headers)
    last = await client.submit(ADD, {"name": "a"})
    await client.wait_for(last.command_id, timeout=SOON)
    assert await totals(client) == ["a", "a"]


async def test_a_message_id_that_is_a_uuid_is_the_commands_id(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    message_id = str(uuid4())
    headers = {"Nats-Msg-Id": message_id, "Nats-Expected-Stream": subjects.command_stream}
    await publish(link, subjects.submit(ADD), b'{"name": "a"}', headers)
    assert (await client.wait_for(message_id, timeout=SOON)).state == "accepted"


async def test_without_an_id_it_has_one_all_the_same_however_often_it_is_delivered(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    for _ in range(2):
        await publish(link, subjects.submit(ADD), b'{"name": "a"}', None)
    await dies(settings, "after")
    news = await link.client.subscribe(f"{subjects.outcome_root}.>")
    async with service_on(settings, ack_wait=0.3):
        for _ in range(2):
            await news.next_msg(SOON)
    assert await totals(client) == ["a", "a"]


async def test_a_command_that_waits_is_found_by_its_sequence(
    queue: None, settings: NatsSettings, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    began, end = asyncio.Event(), asyncio.Event()

    async def execute(request: CommandRequest) -> Outcome:
        began.set()
        await end.wait()
        return await executor(link, subjects).execute(request)

    async with worker(link, subjects, execute):
        stored = await client.submit(ADD, {"name": "a"})
        await asyncio.wait_for(began.wait(), SOON)
        async with service_on(settings):
            with pytest.raises(NotFound, match="waits to be carried out"):
                await client.status(stored.command_id)
            found = await client.status(stored.command_id, sequence=stored.sequence)
            assert (found.state, found.final) == ("waiting", False)
            with pytest.raises(NotFound):
                await client.status(str(uuid4()), sequence=stored.sequence)
            end.set()
            assert (await client.wait_for(stored.command_id, timeout=SOON)).state == "accepted"
    assert await totals(client) == ["a"]


async def test_organizations_do_not_hear_of_each_others_commands(
    service: Service, client: DomainClient
) -> None:
    command_id = str(uuid4())
    for organization_id in ("acme", "a.c.m.e", None):
        await client.submit(
            ADD, {"name": str(organization_id)},
            command_id=command_id, organization_id=organization_id,
        )  # fmt: skip
        standing = await client.wait_for(command_id, organization_id=organization_id, timeout=SOON)
        assert standing.command_id == command_id
    with pytest.raises(NotFound):
        await client.status(command_id, organization_id="other")
    assert (await client.status(command_id, organization_id="acme")).state == "accepted"


async def test_workers_share_the_queue(
    queue: None, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    done: list[list[str]] = [[], []]
    both = asyncio.Event()

    def counting(instance: int) -> Any:
        async def execute(request: CommandRequest) -> Outcome:
            outcome = await executor(link, subjects).execute(request)
            done[instance].append(request.metadata.message_id)
            if sum(map(len, done)) == 200:
                both.set()
            return outcome

        return execute

    async with worker(link, subjects, counting(0)), worker(link, subjects, counting(1)):
        stored = await asyncio.gather(
            *(client.submit(ADD, {"name": str(number)}) for number in range(200))
        )
        await asyncio.wait_for(both.wait(), SOON)
    assert all(done)
    assert sorted(done[0] + done[1]) == sorted(one.command_id for one in stored)
    assert len(await totals(client)) == 200


async def test_what_a_stream_holds_cannot_be_steered_into_the_queue(
    service: Service, client: DomainClient, link: Link, subjects: Subjects
) -> None:
    await client.send(ADD, {"name": "a", "amounts": [5]})
    stream, target = subjects.event_stream, subjects.submit(ADD)
    consumer = {"name": "reader", "durable_name": "reader", "ack_policy": "explicit"}
    await call(
        link.requests,
        f"CONSUMER.CREATE.{stream}.reader",
        {"stream_name": stream, "config": consumer},
    )
    await link.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.reader", b"", target)
    await link.client.publish(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":1}', target)
    await link.client.publish(f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":1}', target)
    last = await client.submit(ADD, {"name": "last"})
    await client.wait_for(last.command_id, timeout=SOON)
    assert await totals(client) == ["a", "last"]


async def test_a_client_that_waits_in_vain_hears_when_the_time_is_up(
    service: Service, client: DomainClient
) -> None:
    with pytest.raises(Exception, match=r"not done within 0\.2 s") as caught:
        await client.wait_for(str(uuid4()), timeout=0.2)
    assert getattr(caught.value, "code", None) == "timeout"

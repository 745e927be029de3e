"""Working off a stream: at least once, with bounded retries, and nothing lost on any way."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from nats.aio.msg import Msg

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetter, MemoryDeadLetters
from cim_domain.errors import (
    ConfigurationError,
    Failed,
    Invalid,
    Rejected,
    RequestError,
    Unavailable,
)
from cim_domain.nats.client import round_trip
from cim_domain.nats.config import load_settings
from cim_domain.nats.connection_events import ConnectionChange
from cim_domain.nats.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream import ApiError, call
from cim_domain.nats.leader import message_at
from cim_domain.nats.link import Link
from cim_domain.nats.requests import NoAnswer
from cim_domain.nats.streams import ensure_stream
from cim_domain.nats.subscriber import Received, Retries
from cim_domain.subjects import Subjects
from cim_domain.testing.server import crash, throwaway_server
from tests.cim_domain.nats.working import Work, Workers, quickly

LONG = 60.0
"""Seconds to acknowledge that no test waits for: what comes again, comes for another reason."""

DYING_WORKER = Path(__file__).with_name("dying_worker.py")


@pytest.fixture
async def work(link: Link, subjects: Subjects) -> Work:
    return await Work(link, subjects.root).make()


@pytest.fixture
async def workers(work: Work) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        workers = Workers(work, stack)
        yield workers
        workers.open_gates()


@pytest.fixture
async def other_link(nats_url: str) -> AsyncIterator[Link]:
    link = await Link.open(load_settings(), name="other", url=nats_url)
    yield link
    await link.close()


async def fails(received: Received) -> None:
    raise Failed("not today")


# Handling


async def test_each_message_is_handled_with_all_that_is_known_of_it_and_acknowledged(
    work: Work, workers: Workers
) -> None:
    await workers.subscribe()
    sequence = await work.put("hello", "kind", {"X-Header": "1"})
    await workers.begun(1)
    await work.settled()
    assert workers.attempts == [
        Received(f"{work.root}.kind", {"X-Header": "1"}, b"hello", sequence, 1)
    ]
    assert (await work.consumer())["ack_floor"]["stream_seq"] == sequence
    assert workers.letters.letters == []


async def test_many_messages_are_each_handled_once(work: Work, workers: Workers) -> None:
    await work.put_many(300)
    await workers.subscribe(concurrency=8)
    await workers.begun(300)
    await work.settled()
    assert sorted(map(int, workers.seen)) == list(range(300))
    assert workers.most_running <= 8


async def test_with_history_it_begins_with_what_is_there(work: Work, workers: Workers) -> None:
    await work.put("before")
    await workers.subscribe(history=True)
    await work.put("after")
    await workers.begun(2)
    assert workers.seen == ["before", "after"]


async def test_without_history_it_begins_with_what_comes(work: Work, workers: Workers) -> None:
    await work.put("before")
    await workers.subscribe(history=False)
    await work.put("after")
    await workers.begun(1)
    await work.settled()
    assert workers.seen == ["after"]


async def test_without_history_it_goes_on_where_it_was_when_it_starts_again(
    work: Work, workers: Workers
) -> None:
    await (await workers.subscribe(history=False)).stop()
    await work.put("while away")
    await workers.subscribe(history=False)
    await workers.begun(1)
    assert workers.seen == ["while away"]


async def test_only_what_the_filter_lets_through_is_handled(work: Work, workers: Workers) -> None:
    await workers.subscribe(filter_subject=f"{work.root}.wanted.*")
    for kind in ("other", "wanted.1", "wanted", "wanted.2"):
        await work.put(kind, kind)
    await workers.begun(2)
    await work.settled()
    assert workers.seen == ["wanted.1", "wanted.2"]


# Failing


async def test_one_that_fails_comes_again_later_each_time_and_then_succeeds(
    work: Work, workers: Workers
) -> None:
    times: list[float] = []

    async def at_the_fourth(received: Received) -> None:
        times.append(monotonic())
        if received.deliveries < 4:
            raise ZeroDivisionError

    workers.reaction = at_the_fourth
    pauses = Backoff(first_delay=0.02, factor=4, ceiling=1, jitter=0)
    await workers.subscribe(retries=Retries(attempts=5, between=pauses, ack_wait=LONG))
    await work.put()
    await workers.begun(4)
    await work.settled()
    assert [one.deliveries for one in workers.attempts] == [1, 2, 3, 4]
    for expected, (before, after) in zip((0.02, 0.08, 0.32), pairwise(times), strict=True):
        assert after - before >= expected
    assert workers.letters.letters == []


async def test_one_that_fails_holds_up_no_other(work: Work, workers: Workers) -> None:
    async def fail_the_first(received: Received) -> None:
        if received.data == b"0" and received.deliveries == 1:
            raise Unavailable("later")

    workers.reaction = fail_the_first
    await work.put_many(3)
    await workers.subscribe(concurrency=1)
    await workers.begun(4)
    assert workers.seen == ["0", "1", "2", "0"]


async def test_after_the_last_attempt_it_is_a_dead_letter_with_all_that_came(
    link: Link, subjects: Subjects, work: Work, workers: Workers
) -> None:
    stream = subjects.dead_letter_stream
    definition = dead_letter_stream(stream, f"dead-{subjects.dead_letters}")
    await ensure_stream(link.requests, definition)
    letters = StreamDeadLetters(link, stream, f"dead-{subjects.dead_letter_root}")
    workers.reaction = fails
    await work.put("first")
    await workers.subscribe(letters=letters, retries=quickly(attempts=3))
    sequence = await work.put("data", "kind", {"Nats-Msg-Id": "mine", "X-Kept": "yes"})
    await workers.begun(6)
    await work.settled()
    assert len(workers.attempts) == 6
    assert await letters.count() == 2
    found = [await message_at(link.requests, stream, number) for number in (1, 2)]
    (letter,) = [one for one in found if one is not None and one.data == b"data"]
    assert letter.subject.endswith(".dlq.process.workers")
    headers = {name: value for name, value in letter.headers.items() if name[:5] != "Nats-"}
    assert headers == {
        "X-Kept": "yes",
        "X-Dead-Nats-Msg-Id": "mine",
        "X-Dead-Consumer": "process.workers",
        "X-Dead-Subject": f"{work.root}.kind",
        "X-Dead-Sequence": str(sequence),
        "X-Dead-Code": "failed",
        "X-Dead-Reason": "not today",
        "X-Dead-Deliveries": "3",
    }


async def test_what_is_invalid_is_a_dead_letter_at_once(work: Work, workers: Workers) -> None:
    async def refuse(received: Received) -> None:
        raise Invalid("no such field", code="bad_field")

    workers.reaction = refuse
    await workers.subscribe()
    sequence = await work.put("x")
    await workers.begun(1)
    await work.settled()
    assert workers.letters.letters == [
        DeadLetter(
            consumer="process.workers",
            subject=f"{work.root}.a",
            data=b"x",
            code="bad_field",
            reason="no such field",
            sequence=sequence,
            deliveries=1,
        )
    ]


async def test_the_reason_of_a_mistake_names_its_type_and_none_of_its_text(
    work: Work, workers: Workers
) -> None:
    async def leak(received: Received) -> None:
        raise KeyError("s3cret")

    workers.reaction = leak
    await workers.subscribe(retries=quickly(attempts=1))
    await work.put()
    await workers.begun(1)
    await work.settled()
    (letter,) = workers.letters.letters
    assert (letter.code, letter.reason) == ("handler_failed", "the handler failed: KeyError")


async def test_a_handler_that_cancels_itself_has_failed_like_any_other(
    work: Work, workers: Workers
) -> None:
    async def cancelled(received: Received) -> None:
        raise asyncio.CancelledError

    workers.reaction = cancelled
    await workers.subscribe(retries=quickly(attempts=2, ack_wait=LONG))
    await work.put()
    await workers.begun(2)
    await work.settled()
    assert [one.reason for one in workers.letters.letters] == ["the handler failed: CancelledError"]


class LettersAway(MemoryDeadLetters):
    """Dead letters that cannot be written so many times."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def put(self, letter: DeadLetter) -> None:
        if self.errors:
            raise self.errors.pop(0)
        await super().put(letter)


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError()])
async def test_what_cannot_be_written_to_the_dead_letters_stays_and_is_handled_no_more(
    work: Work, workers: Workers, error: Exception
) -> None:
    workers.reaction = fails
    letters = LettersAway(error, error, error)
    await workers.subscribe(letters=letters, retries=quickly(attempts=2))
    await work.put("x")
    await workers.begun(2)
    await work.settled()
    assert len(workers.attempts) == 2
    (letter,) = letters.letters
    assert (letter.reason, letter.deliveries) == ("not today", 5)


async def test_without_a_stream_for_dead_letters_the_message_stays_until_there_is_one(
    link: Link, subjects: Subjects, work: Work, workers: Workers
) -> None:
    workers.reaction = fails
    root = f"dead-{subjects.dead_letter_root}"
    letters = StreamDeadLetters(link, subjects.dead_letter_stream, root)
    await workers.subscribe(letters=letters, retries=quickly(attempts=1))
    await work.put("x")
    await workers.begun(1)
    while (await work.consumer())["num_redelivered"] == 0:
        await round_trip(link.client)
    await ensure_stream(link.requests, dead_letter_stream(subjects.dead_letter_stream, f"{root}.>"))
    await work.settled()
    assert await letters.count() == 1


async def test_whoever_wants_to_know_hears_of_each_failure_and_of_the_last(
    work: Work, workers: Workers
) -> None:
    heard: list[tuple[int, str, bool]] = []
    problems: list[Exception] = [Unavailable("no one listens"), Unavailable("no one listens")]

    async def hear(received: Received, error: RequestError, dead: bool) -> None:
        heard.append((received.deliveries, error.message, dead))
        if received.deliveries != 1 and problems:
            raise problems.pop()

    workers.reaction = fails
    await workers.subscribe(retries=quickly(attempts=3), on_failure=hear)
    await work.put("x")
    await workers.begun(3)
    await work.settled()
    assert heard == [
        (1, "not today", False),
        (2, "not today", False),
        (3, "not today", True),
        (4, "not today", True),
    ]
    assert len(workers.attempts) == 3
    assert {one.sequence for one in workers.letters.letters} == {1}


# Side by side, and one after another


async def test_never_more_at_a_time_than_was_said(work: Work, workers: Workers) -> None:
    workers.gated = True
    await work.put_many(10)
    await workers.subscribe(concurrency=3)
    await workers.begun(3)
    await round_trip(work.link.client)
    assert workers.running == 3
    workers.open_gates()
    await workers.begun(10)
    await work.settled()
    assert workers.most_running == 3


async def test_messages_with_one_key_are_handled_one_after_another_in_order(
    work: Work, workers: Workers
) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def slow(received: Received) -> None:
        running[received.subject] += 1
        most[received.subject] = max(most[received.subject], running[received.subject])
        await asyncio.sleep(0.002)
        running[received.subject] -= 1

    workers.reaction = slow
    for number in range(60):
        await work.put(str(number), f"k{number % 3}")
    await workers.subscribe(concurrency=16, key=lambda one: one.subject)
    await workers.begun(60)
    await work.settled()
    assert set(most.values()) == {1}
    assert workers.most_running == 3
    for key in range(3):
        of_key = [int(one) for one in workers.seen if int(one) % 3 == key]
        assert of_key == sorted(of_key)


async def test_two_share_the_work(work: Work, workers: Workers, other_link: Link) -> None:
    workers.gated = True
    for link in (work.link, other_link):
        await workers.subscribe(link, concurrency=2)
    await work.put_many(8)
    await workers.begun(4)
    assert workers.running == 4
    workers.open_gates()
    await workers.begun(8)
    await work.settled()
    assert sorted(workers.seen) == [str(number) for number in range(8)]
    assert workers.most_running == 4


async def test_a_handler_that_takes_longer_than_the_time_to_acknowledge_keeps_its_message(
    work: Work, workers: Workers, other_link: Link
) -> None:
    async def long(received: Received) -> None:
        # Time is the subject here: several times what a silent handler is given.
        await asyncio.sleep(1.2)

    workers.reaction = long
    for link in (work.link, other_link):
        await workers.subscribe(link, retries=quickly(ack_wait=0.3))
    await work.put()
    await workers.begun(1)
    await work.settled()
    assert len(workers.attempts) == 1
    assert (await work.consumer())["delivered"]["consumer_seq"] == 1


# Stopping and dying


async def test_stopping_finishes_what_was_begun(work: Work, workers: Workers) -> None:
    workers.gated = True
    subscriber = await workers.subscribe(concurrency=4)
    await work.put_many(6)
    await workers.begun(4)
    stopping = asyncio.create_task(subscriber.stop())
    await asyncio.wait([stopping], timeout=0.05)
    assert not stopping.done()
    workers.open_gates()
    await stopping
    info = await work.consumer()
    assert (info["num_ack_pending"], info["num_pending"]) == (0, 2)
    assert info["num_waiting"] == 0
    assert len(workers.attempts) == 4
    await subscriber.stop()


async def test_what_was_not_begun_goes_to_others_at_once(
    work: Work, workers: Workers, other_link: Link
) -> None:
    async with AsyncExitStack() as stack:
        others = Workers(work, stack)
        workers.gated = True
        retries = quickly(ack_wait=LONG)
        stopped = await workers.subscribe(key=lambda one: one.subject, retries=retries)
        await work.put_many(10)
        while (await work.consumer())["num_pending"]:
            await round_trip(work.link.client)
        await workers.begun(1)
        stopping = asyncio.create_task(stopped.stop())
        await others.subscribe(other_link, retries=retries)
        workers.open_gates()
        await stopping
        await others.begun(9)
        await work.settled()
        assert workers.seen == ["0"]
        assert sorted(map(int, others.seen)) == list(range(1, 10))


async def test_instances_that_come_and_go_lose_and_repeat_nothing(
    work: Work, workers: Workers, other_link: Link
) -> None:
    """With so long a time to acknowledge, a delivery that got lost would not come again here."""
    retries = quickly(ack_wait=LONG)
    await workers.subscribe(other_link, retries=retries, concurrency=2)
    for _ in range(25):
        passing = workers.subscriber(retries=retries, concurrency=32)
        await passing.start()
        await work.put_many(10)
        await passing.stop()
    await workers.begun(250)
    await work.settled()
    assert Counter(workers.seen) == dict.fromkeys("0123456789", 25)


async def test_stopping_ends_at_whatever_moment_it_comes(work: Work, workers: Workers) -> None:
    """Also while it leaves a consumer that is gone, and makes it again."""
    for moment in range(60):
        subscriber = workers.subscriber()
        await subscriber.start()
        await work.delete_consumer()
        for _ in range(moment):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await subscriber.stop()
        assert subscriber._running == []


@asynccontextmanager
async def dying(url: str, work: Work, retries: Retries) -> AsyncIterator[asyncio.StreamReader]:
    """A worker in a process of its own, and what it says; killed at the end, if not before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        DYING_WORKER,
        *(url, work.stream, str(retries.attempts), str(retries.ack_wait)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_what_a_killed_process_had_begun_goes_to_another(
    nats_url: str, work: Work, workers: Workers
) -> None:
    retries = quickly(ack_wait=0.5)
    await work.put("hang")
    async with dying(nats_url, work, retries) as says:
        assert await says.readline() == b"begun hang\n"
    await workers.subscribe(retries=retries)
    await workers.begun(1)
    await work.settled()
    assert [one.deliveries for one in workers.attempts] == [2]


async def test_one_that_kills_its_process_each_time_is_a_dead_letter_in_the_end(
    nats_url: str, work: Work, workers: Workers
) -> None:
    retries = quickly(attempts=1, ack_wait=0.3)
    await work.put("die")
    for _ in range(retries.most_deliveries):
        async with dying(nats_url, work, retries) as says:
            assert await says.read() == b"begun die\n"
    await workers.subscribe(retries=retries)
    await work.settled()
    assert workers.attempts == []
    (letter,) = workers.letters.letters
    assert (letter.code, letter.data, letter.deliveries) == ("gave_up", b"die", 4)
    await work.put("fine")
    await workers.begun(1)
    assert workers.seen == ["fine"]


async def test_a_server_that_restarts_costs_no_message() -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server() as server, AsyncExitStack() as stack:
        link = await Link.open(settings, name="test", url=server.url)
        stack.push_async_callback(link.close)
        back = asyncio.Event()
        link.listen(lambda one: back.set() if one is ConnectionChange.RECONNECTED else None)
        work = await Work(link, "w").make()
        workers = Workers(work, stack)
        workers.gated = True
        await workers.subscribe(concurrency=4, retries=quickly(ack_wait=0.5))
        await work.put_many(20)
        await workers.begun(4)
        for _ in range(2):
            back.clear()
            crash(server)
            await back.wait()
        workers.open_gates()
        await work.put("last")
        await work.settled()
        assert set(workers.seen) == {*map(str, range(20)), "last"}
        assert workers.most_running == 4
        assert workers.letters.letters == []


# The consumer, as it is and as it should be


async def test_a_deleted_consumer_is_made_again_where_it_was(work: Work, workers: Workers) -> None:
    await work.put("before")
    subscriber = await workers.subscribe(history=False)
    await work.put_many(3)
    await workers.begun(3)
    await work.settled()
    await subscriber.state()
    await work.delete_consumer()
    await work.put("after")
    await workers.begun(4)
    await work.settled()
    assert workers.seen == ["0", "1", "2", "after"]
    assert (await work.consumer())["config"]["opt_start_seq"] == 5


async def test_what_was_acknowledged_since_the_last_look_comes_again_rather_than_nothing(
    work: Work, workers: Workers
) -> None:
    await workers.subscribe(history=False)
    await work.put_many(5)
    await workers.begun(5)
    await work.settled()
    await work.delete_consumer()
    await work.put("after")
    await workers.begun(11)
    await work.settled()
    assert Counter(workers.seen) == {"after": 1, **dict.fromkeys("01234", 2)}


async def test_what_is_in_hand_when_its_consumer_goes_is_not_begun_twice(
    work: Work, workers: Workers
) -> None:
    workers.gated = True
    await workers.subscribe(retries=quickly(ack_wait=LONG))
    await work.put_many(2)
    await workers.begun(2)
    await work.delete_consumer()
    async with asyncio.timeout(10):
        while True:
            try:
                if (await work.consumer())["delivered"]["consumer_seq"] == 2:
                    break
            except ApiError:
                await round_trip(work.link.client)
    await round_trip(work.link.client)
    workers.open_gates()
    await work.settled()
    assert workers.seen == ["0", "1"]


async def test_of_several_instances_each_goes_on_when_the_consumer_goes(
    work: Work, workers: Workers, other_link: Link
) -> None:
    both = [await workers.subscribe(link, history=False) for link in (work.link, other_link)]
    for number in range(5):
        await work.put(str(number))
        await workers.begun(number + 1)
        await work.settled()
        for one in both:
            await one.state()
        await work.delete_consumer()
    await work.put("after")
    await workers.begun(6)
    await work.settled()
    assert workers.seen == ["0", "1", "2", "3", "4", "after"]
    assert [one.trouble for one in both] == [None, None]


async def test_one_that_was_made_again_is_taken_up_at_the_next_start(
    work: Work, workers: Workers
) -> None:
    subscriber = await workers.subscribe(history=False)
    await work.put("0")
    await workers.begun(1)
    await work.settled()
    await subscriber.state()
    await work.delete_consumer()
    await work.put("1")
    await workers.begun(2)
    await work.settled()
    await subscriber.stop()
    await work.put("2")
    await workers.subscribe(history=False)
    await workers.begun(3)
    assert workers.seen == ["0", "1", "2"]


async def test_the_consumer_of_a_work_queue_is_made_again_too(
    link: Link, subjects: Subjects
) -> None:
    async with AsyncExitStack() as stack:
        work = await Work(link, subjects.root).make(retention="workqueue")
        workers = Workers(work, stack)
        await workers.subscribe()
        await work.put("0")
        await workers.begun(1)
        await work.settled()
        await work.delete_consumer()
        await work.put("1")
        await workers.begun(2)
        await work.settled()
        assert workers.seen == ["0", "1"]


async def test_another_stream_in_the_place_of_the_one_it_was_on_is_told_and_not_worked_off(
    link: Link, work: Work, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber = await workers.subscribe()
    await work.put_many(3)
    await workers.begun(3)
    await work.settled()
    await subscriber.state()
    await call(link.requests, f"STREAM.DELETE.{work.stream}")
    await work.make()
    await work.put("other")
    async with asyncio.timeout(10):
        while "start the service anew" not in (subscriber.trouble or ""):
            await round_trip(link.client)
    with pytest.raises(ApiError):
        await subscriber.state()
    assert workers.seen == ["0", "1", "2"]
    assert "start the service anew" in caplog.text


async def test_history_is_a_matter_of_the_first_start(work: Work, workers: Workers) -> None:
    await work.put("0")
    await (await workers.subscribe(history=False)).stop()
    await work.put("1")
    await workers.subscribe(history=True)
    await workers.begun(1)
    await work.settled()
    assert workers.seen == ["1"]


async def test_a_consumer_with_other_settings_is_changed_and_keeps_its_place_and_what_is_not_ours(
    work: Work, workers: Workers
) -> None:
    config = {
        "durable_name": "workers",
        "ack_policy": "explicit",
        "ack_wait": 1_000_000_000,
        "filter_subject": f"{work.root}.old",
        "description": "the operator's",
    }
    await call(
        work.link.requests,
        f"CONSUMER.CREATE.{work.stream}.workers.{work.root}.old",
        {"stream_name": work.stream, "config": config},
    )
    await workers.subscribe(filter_subject=f"{work.root}.new", retries=quickly(ack_wait=7))
    await work.put("x", "new")
    await workers.begun(1)
    found = (await work.consumer())["config"]
    assert found["filter_subject"] == f"{work.root}.new"
    assert found["ack_wait"] == 7_000_000_000
    assert found["max_deliver"] == -1
    assert found["deliver_policy"] == "all"
    assert found["description"] == "the operator's"


async def test_a_filter_that_is_no_longer_wanted_goes(work: Work, workers: Workers) -> None:
    await (await workers.subscribe(filter_subject=f"{work.root}.old")).stop()
    await workers.subscribe()
    await work.put("x", "new")
    await workers.begun(1)
    assert "filter_subject" not in (await work.consumer())["config"]


async def test_a_consumer_that_fits_is_left_alone(work: Work, workers: Workers) -> None:
    created: list[str] = []

    async def see(message: Msg) -> None:
        created.append(message.subject)

    await (await workers.subscribe(filter_subject=f"{work.root}.a")).stop()
    await work.link.client.subscribe(f"$JS.API.CONSUMER.CREATE.{work.stream}.>", cb=see)
    await workers.subscribe(filter_subject=f"{work.root}.a")
    await work.put("x")
    await workers.begun(1)
    assert created == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"ack_policy": "none"}, "ack_policy is 'none', needed is 'explicit'"),
        (
            {"ack_policy": "explicit", "deliver_subject": "somewhere"},
            "deliver_subject is 'somewhere', needed is None",
        ),
    ],
)
async def test_a_consumer_that_cannot_be_changed_is_refused_with_the_differences(
    work: Work, workers: Workers, config: dict[str, str], told: str
) -> None:
    await call(
        work.link.requests,
        f"CONSUMER.CREATE.{work.stream}.workers",
        {"stream_name": work.stream, "config": {"durable_name": "workers", **config}},
    )
    with pytest.raises(ConfigurationError, match=told):
        await workers.subscriber().start()


async def test_without_its_stream_it_does_not_start(work: Work, workers: Workers) -> None:
    await call(work.link.requests, f"STREAM.DELETE.{work.stream}")
    with pytest.raises(ConfigurationError, match=f"{work.stream}: stream not found"):
        await workers.subscriber().start()


async def test_without_a_connection_it_does_not_start(work: Work, workers: Workers) -> None:
    await work.link.close()
    with pytest.raises(NoAnswer):
        await workers.subscriber().start()


# What it says of itself


async def test_it_tells_how_many_wait_are_in_flight_and_are_tried_again(
    work: Work, workers: Workers
) -> None:
    async def fail_once(received: Received) -> None:
        if received.deliveries == 1:
            raise Rejected("no", "not yet")
        await workers.gates["again"].wait()

    workers.reaction = fail_once
    await work.put_many(6)
    subscriber = await workers.subscribe(concurrency=2)
    await workers.begun(8)
    state = await subscriber.state()
    assert state.pending + state.in_flight == 6
    assert state.retrying == 2
    assert await subscriber.pending() == (state.pending, state.in_flight)
    workers.gates["again"].set()
    await work.settled()
    state = await subscriber.state()
    assert (state.pending, state.in_flight, state.retrying) == (0, 0, 0)


async def test_it_leaves_no_task_behind(work: Work, workers: Workers) -> None:
    before = asyncio.all_tasks()
    subscriber = await workers.subscribe(key=lambda one: one.subject)
    await work.put_many(5)
    await workers.begun(5)
    await work.settled()
    await subscriber.stop()
    assert asyncio.all_tasks() == before
    assert (subscriber._in_hand, subscriber._last_of) == ({}, {})


async def test_one_that_is_stopped_can_be_started_again(work: Work, workers: Workers) -> None:
    subscriber = await workers.subscribe()
    await subscriber.stop()
    await work.put("x")
    await subscriber.start()
    await workers.begun(1)

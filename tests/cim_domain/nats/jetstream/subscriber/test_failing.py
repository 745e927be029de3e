"""Working off a stream: bounded retries, and dead letters for what cannot be handled."""

import asyncio
from itertools import pairwise
from time import monotonic

import pytest

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetter, MemoryDeadLetters
from cim_domain.errors import Failed, Invalid, RequestError, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.nats.jetstream.subscriber import Postponed, Received, Retries
from tests.cim_domain.faulty import until
from tests.cim_domain.nats.jetstream.working import Work, Workers, quickly

LONG = 60.0
"""Seconds to acknowledge that no test waits for: what comes again, comes for another reason."""


async def fails(received: Received) -> None:
    raise Failed("not today")


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


async def test_the_reason_of_a_mistake_has_its_type_its_words_and_its_line(
    work: Work, workers: Workers
) -> None:
    async def mistaken(received: Received) -> None:
        raise RuntimeError("no such\nwarehouse")

    workers.reaction = mistaken
    await workers.subscribe(retries=quickly(attempts=1))
    await work.put()
    await workers.begun(1)
    await work.settled()
    (letter,) = workers.letters.letters
    assert letter.code == "handler_failed"
    said = "the handler failed: RuntimeError: no such warehouse (test_failing.py:"
    assert letter.reason.startswith(said)


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
    (letter,) = workers.letters.letters
    assert letter.reason.startswith("the handler failed: CancelledError (test_failing.py:")


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


# What was not tried


async def test_what_the_service_cannot_try_now_uses_up_no_attempt_and_holds_up_no_other(
    work: Work, workers: Workers
) -> None:
    times = 0

    async def away(received: Received) -> None:
        nonlocal times
        if received.data == b"0" and times < 8:
            times += 1
            raise Postponed("busy", code="busy")

    workers.reaction = away
    await work.put_many(3)
    subscriber = await workers.subscribe(concurrency=1, retries=quickly(attempts=1))
    await workers.begun(11)
    await work.settled()
    assert workers.seen[:3] == ["0", "1", "2"]
    assert workers.letters.letters == []
    assert {one.deliveries for one in workers.attempts} == {1}
    assert subscriber.trouble is None


async def test_while_a_message_cannot_be_tried_it_says_why(work: Work, workers: Workers) -> None:
    async def away(received: Received) -> None:
        raise Postponed("the log is away")

    workers.reaction = away
    await work.put("x")
    subscriber = await workers.subscribe()
    await workers.begun(2)
    await until(lambda: subscriber.trouble is not None)
    assert subscriber.trouble == "the log is away"
    async with asyncio.timeout(5):
        await subscriber.stop()
    assert {one.deliveries for one in workers.attempts} == {1}
    workers.reaction = None
    await workers.subscribe()
    await work.settled()


async def test_what_was_handed_back_unbegun_has_all_its_attempts_yet(
    work: Work, workers: Workers
) -> None:
    retries = quickly(attempts=2, ack_wait=LONG)
    workers.gated = True
    await work.put_many(4)
    for number in range(3):
        subscriber = await workers.subscribe(retries=retries, key=lambda one: "one")
        await workers.begun(number + 1)
        while (await work.consumer())["num_pending"]:
            await round_trip(work.link.client)
        stopping = asyncio.create_task(subscriber.stop())
        await asyncio.sleep(0)
        # What was handed back comes again in any order.
        workers.gates[workers.seen[-1]].set()
        await stopping
    (left,) = {"0", "1", "2", "3"} - set(workers.seen)
    workers.gates[left].set()
    workers.reaction = fails
    await workers.subscribe(retries=retries)
    await workers.begun(5)
    await work.settled()
    assert workers.seen[3:] == [left, left]

"""Working off a stream: what only newer code can handle is left to it, and uses up no attempt."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

from cim_domain.backoff import Backoff
from cim_domain.errors import Failed, Outdated
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.subscriber import Received, Retries
from cim_domain.nats.jetstream.unended_attempts import UnendedAttempts
from cim_domain.observability.health import HealthStatus, look_at_subscriber
from tests.cim_domain.nats.jetstream.working import Work, Workers, quickly

SHORT = Backoff(first_delay=0.01, ceiling=0.02)
LONG = 60.0


async def is_newer(received: Received) -> None:
    raise Outdated("run a newer one", code="newer_event")


async def test_it_is_handed_back_as_often_as_it_takes_and_then_handled_by_newer_code(
    work: Work, workers: Workers, other_link: Link
) -> None:
    retries = Retries(attempts=1, between=SHORT, ack_wait=LONG)
    workers.reaction = is_newer
    await work.put("x")
    older = await workers.subscribe(retries=retries)
    # More often than a message is delivered that ends its process each time.
    await workers.begun(8)
    assert older.waiting_for(1) == "run a newer one"
    async with AsyncExitStack() as stack:
        newer = Workers(work, stack)
        await newer.subscribe(other_link, retries=retries)
        await newer.begun(1)
        await work.settled()
        assert newer.letters.letters == workers.letters.letters == []
    assert older.waiting_for(0) is None


async def test_no_more_is_noted_of_it_than_of_any_attempt_that_ended(
    work: Work, workers: Workers
) -> None:
    retries = Retries(attempts=1, between=SHORT, ack_wait=LONG)
    workers.reaction = is_newer
    sequence = await work.put("x")
    subscriber = await workers.subscribe(retries=retries)
    await workers.begun(6)
    await subscriber.stop()
    unended = UnendedAttempts(Bucket(work.link, work.stream), "workers")
    assert (await unended.count(sequence))[0] == 0


async def test_each_time_it_comes_later_up_to_the_ceiling(work: Work, workers: Workers) -> None:
    retries = Retries(
        attempts=1, between=Backoff(first_delay=0.05, ceiling=0.2, jitter=0), ack_wait=LONG
    )
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def noted(received: Received) -> None:
        times.append(loop.time())
        await is_newer(received)

    workers.reaction = noted
    await work.put("x")
    await workers.subscribe(retries=retries)
    await workers.begun(6)
    between = [after - before for before, after in pairwise(times)]
    assert between[0] >= 0.05
    assert between[1] >= 0.1
    assert min(between[2:]) >= 0.2


async def test_it_holds_up_no_other_and_takes_no_place(work: Work, workers: Workers) -> None:
    async def the_first_is_newer(received: Received) -> None:
        if received.data == b"0":
            await is_newer(received)

    workers.reaction = the_first_is_newer
    await work.put_many(3)
    await workers.subscribe(concurrency=1, retries=quickly(ack_wait=LONG))
    await workers.begun(4)
    assert workers.seen == ["0", "1", "2", "0"]


async def test_failures_before_it_are_still_counted(work: Work, workers: Workers) -> None:
    async def fails_and_waits(received: Received) -> None:
        if received.deliveries % 2:
            raise Failed("not today")
        await is_newer(received)

    workers.reaction = fails_and_waits
    await work.put("x")
    await workers.subscribe(retries=quickly(attempts=3))
    await workers.begun(5)
    await work.settled()
    (letter,) = workers.letters.letters
    assert (letter.code, letter.deliveries) == ("failed", 5)


async def test_health_says_that_newer_code_is_needed_and_then_no_more(
    work: Work, workers: Workers
) -> None:
    workers.reaction = is_newer
    await work.put("x")
    subscriber = await workers.subscribe(retries=quickly(ack_wait=LONG))
    await workers.begun(1)
    look = look_at_subscriber(subscriber, lag_allowed=100)
    async with asyncio.timeout(5):
        while "state" not in (check := await look()).facts:
            pass
    assert check.status is HealthStatus.DEGRADED
    assert (check.facts["state"], check.facts["error"]) == ("waiting", "run a newer one")
    workers.reaction = None
    await work.settled()
    check = await look()
    assert check.status is HealthStatus.HEALTHY
    assert set(check.facts) == {"pending", "in_flight", "retrying"}


async def test_while_attempts_cannot_be_noted_none_is_begun_that_would_have_to_be(
    work: Work, workers: Workers
) -> None:
    retries = Retries(attempts=1, between=SHORT, ack_wait=LONG)
    workers.reaction = is_newer
    await work.put("x")
    await workers.subscribe(retries=retries, bucket=Bucket(work.link, "missing"))
    await workers.begun(2)
    await asyncio.sleep(0.1)
    assert [one.deliveries for one in workers.attempts] == [1, 2]
    assert workers.letters.letters == []


# What is handled here and elsewhere


async def test_a_consumer_knows_what_every_version_of_the_code_handles(
    work: Work, workers: Workers, other_link: Link
) -> None:
    narrow, wide = f"{work.root}.a", f"{work.root}.*"
    older = await workers.subscribe(handles=frozenset({"a"}), filter_subject=narrow)
    assert await older.handled() == {"a"}
    await workers.subscribe(
        other_link, handles=frozenset({"a", "b"}), filter_subject=f"{work.root}.b"
    )
    assert await older.handled() == {"a", "b"}
    # The older one starts anew, or has lost its pull: what it asks for is there already.
    await older.ensure()
    assert await older.handled() == {"a", "b"}
    assert (await work.consumer())["config"]["filter_subject"] == wide
    await work.put("1", "b")
    await workers.begun(1)
    await work.settled()

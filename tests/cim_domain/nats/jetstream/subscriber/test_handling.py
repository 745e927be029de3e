"""Working off a stream: every message once, side by side as wanted, one key in order."""

import asyncio
from collections import Counter

import pytest
from nats.aio.msg import Msg

from cim_domain.errors import Rejected
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.subscriber import Received
from tests.cim_domain.faulty import until
from tests.cim_domain.nats.jetstream.working import Work, Workers, quickly


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
    together = asyncio.Barrier(3)

    async def with_one_of_each_key(received: Received) -> None:
        running[received.subject] += 1
        most[received.subject] = max(most[received.subject], running[received.subject])
        async with asyncio.timeout(10):
            await together.wait()
        running[received.subject] -= 1

    workers.reaction = with_one_of_each_key
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
    signs_of_life = asyncio.Semaphore(0)

    async def count(message: Msg) -> None:
        if message.data == b"+WPI" and f".{work.stream}." in message.subject:
            signs_of_life.release()

    async def long(received: Received) -> None:
        # There are three in the time to acknowledge: four times what a silent handler is given.
        async with asyncio.timeout(10):
            for _ in range(12):
                await signs_of_life.acquire()

    await work.link.client.subscribe("$JS.ACK.>", cb=count)
    workers.reaction = long
    for link in (work.link, other_link):
        await workers.subscribe(link, retries=quickly(ack_wait=0.3))
    await work.put()
    await workers.begun(1)
    await work.settled()
    assert len(workers.attempts) == 1
    assert (await work.consumer())["delivered"]["consumer_seq"] == 1


async def test_those_that_wait_for_their_key_hold_up_no_other(work: Work, workers: Workers) -> None:
    workers.gated = True
    await workers.subscribe(concurrency=2, key=lambda one: one.subject)
    await work.put_many(50, "hot")
    await workers.begun(1)
    workers.gates["other"].set()
    await work.put("other", "cold")
    await workers.begun(2)
    assert workers.seen == ["0", "other"]
    workers.open_gates()
    await workers.begun(51)
    await work.settled()
    assert [one for one in workers.seen if one != "other"] == [str(one) for one in range(50)]
    assert workers.most_running == 2


@pytest.mark.parametrize(("bound", "value"), [("WAITING", 5), ("WAITING_BYTES", 5)])
async def test_those_that_wait_for_their_key_are_bounded(
    work: Work, workers: Workers, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(f"cim_domain.nats.jetstream.subscriber.{bound}", value)
    workers.gated = True
    await work.put_many(10, "hot")
    subscriber = await workers.subscribe(concurrency=2, key=lambda one: one.subject)
    await workers.begun(1)
    while (await work.consumer())["num_ack_pending"] < 6:
        await round_trip(work.link.client)
    await round_trip(work.link.client)
    assert len(subscriber._in_hand) == 6
    workers.open_gates()
    await work.settled()
    assert workers.seen == [str(one) for one in range(10)]


async def test_a_redelivery_that_comes_while_the_answer_is_sent_is_handled_like_any_other(
    work: Work, workers: Workers
) -> None:
    """Its answer is its own: the end of the handler before takes nothing of it away."""
    subscriber = await workers.subscribe(retries=quickly(ack_wait=60), key=lambda one: "one")
    publish, again = subscriber._answer, asyncio.Event()
    delivered: list[Msg] = []
    begin = subscriber._begin

    def noted(message: Msg) -> None:
        delivered.append(message)
        begin(message)

    async def slowly(message: Msg, answer: bytes) -> None:
        if not again.is_set():
            again.set()
            noted(delivered[0])
            assert list(subscriber._in_hand) == [1]
        await publish(message, answer)

    subscriber._begin, subscriber._answer = noted, slowly  # type: ignore[method-assign]
    await work.put("x")
    await workers.begun(2)
    await work.settled()
    await until(lambda: not subscriber._in_hand)
    assert workers.seen == ["x", "x"]


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
    assert (subscriber._in_hand, subscriber._queues) == ({}, {})


async def test_one_that_is_stopped_can_be_started_again(work: Work, workers: Workers) -> None:
    subscriber = await workers.subscribe()
    await subscriber.stop()
    await work.put("x")
    await subscriber.start()
    await workers.begun(1)

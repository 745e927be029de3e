"""Working off a stream: the consumer as it is, as it should be, and made again when it is gone."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from nats.aio.msg import Msg

from cim_domain.errors import ConfigurationError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import ApiError, call
from tests.cim_domain.nats.jetstream.working import Work, Workers, quickly

LONG = 60.0
"""Seconds to acknowledge that no test waits for: what comes again, comes for another reason."""


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

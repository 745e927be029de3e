"""Pulling: what comes is taken once, never more than there is room for, and an end is noticed."""

import asyncio
from collections.abc import Callable

import pytest
from nats.aio.msg import Msg

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.delivery import read_delivery
from cim_domain.nats.jetstream.pull import Pull
from cim_domain.testing.server import crash, frozen, throwaway_server
from tests.cim_domain.nats.jetstream.working import Work


async def consume(work: Work, **config: object) -> None:
    wanted = {
        "name": "workers",
        "durable_name": "workers",
        "ack_policy": "explicit",
        "ack_wait": 60_000_000_000,
        **config,
    }
    await call(
        work.link.requests,
        f"CONSUMER.CREATE.{work.stream}.workers",
        {"stream_name": work.stream, "config": wanted},
    )


@pytest.fixture
async def work(link: Link, subjects: Subjects) -> Work:
    work = await Work(link, subjects.root).make()
    await consume(work)
    return work


class Hands:
    """Messages that were taken and not yet put down."""

    def __init__(self) -> None:
        self.held = 0

    def __call__(self) -> int:
        return self.held


def pull_of(work: Work, room: int, in_hand: Callable[[], int] = Hands(), beat: float = 5.0) -> Pull:  # noqa: B008
    return Pull(work.link, work.stream, "workers", room, in_hand, beat)


async def take(pull: Pull, count: int) -> list[str]:
    found: list[Msg] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            taken = await pull.take()
            assert taken, "the pull ended"
            found += taken
    return [message.data.decode() for message in found]


async def test_messages_come_in_order_before_and_after_the_beginning(work: Work) -> None:
    await work.put_many(5)
    async with pull_of(work, 100) as pull:
        assert await take(pull, 5) == ["0", "1", "2", "3", "4"]
        waiting = asyncio.create_task(pull.take())
        await work.put("5")
        assert [one.data for one in await waiting] == [b"5"]


async def test_many_more_than_there_is_room_for_come_by_the_same_pull(work: Work) -> None:
    await work.put_many(200)
    async with pull_of(work, 7) as pull:
        assert await take(pull, 200) == [str(number) for number in range(200)]


@pytest.mark.parametrize("room", [1, 2, 5])
async def test_no_more_is_delivered_than_there_is_room_for(work: Work, room: int) -> None:
    await work.put_many(20)
    hands = Hands()
    async with pull_of(work, room, hands) as pull:
        taken: list[str] = []
        while len(taken) < 20:
            some = await take(pull, 1)
            hands.held += len(some)
            taken += some
            await round_trip(work.link.client)
            assert hands.held <= room
            if hands.held == room:
                waiting = asyncio.create_task(pull.take())
                await round_trip(work.link.client)
                info = await work.consumer()
                assert info["delivered"]["consumer_seq"] == len(taken)
                assert not waiting.done()
                waiting.cancel()
                await asyncio.wait([waiting])
                hands.held = 0
    assert taken == [str(number) for number in range(20)]


async def test_one_whose_hands_are_full_waits_longer_than_any_heartbeat(work: Work) -> None:
    await work.put_many(2)
    hands = Hands()
    async with pull_of(work, 1, hands, beat=0.01) as pull:
        assert await take(pull, 1) == ["0"]
        hands.held = 1
        waiting = asyncio.create_task(pull.take())
        # Time is the subject here: it is past what a silent server is given.
        await asyncio.wait([waiting], timeout=1.3)
        assert not waiting.done()
        hands.held = 0
        pull.more()
        assert [one.data for one in await waiting] == [b"1"]


@pytest.mark.parametrize("held", [5, 7])
async def test_one_whose_hands_are_nearly_full_asks_again_when_what_it_asked_for_has_lapsed(
    work: Work, held: int
) -> None:
    await work.put_many(held)
    hands = Hands()
    async with pull_of(work, 8, hands, beat=0.1) as pull:
        await take(pull, held)
        hands.held = held
        waiting = asyncio.create_task(pull.take())
        # Time is the subject here: what was asked for lapses after six heartbeats.
        await asyncio.wait([waiting], timeout=1.5)
        assert (await work.consumer())["num_waiting"] == 1
        await work.put("late")
        assert [one.data for one in await waiting] == [b"late"]


async def test_of_what_waits_so_many_are_taken_as_are_asked_for(work: Work) -> None:
    await work.put_many(5)
    async with pull_of(work, 8) as pull:
        taken = []
        while len(taken) < 5:
            some = await pull.take(2)
            assert len(some) <= 2
            taken += some
        assert [one.data for one in taken] == [b"0", b"1", b"2", b"3", b"4"]


async def test_while_it_has_as_many_bytes_as_may_wait_it_asks_for_nothing(work: Work) -> None:
    await work.put_many(10)
    pull = Pull(work.link, work.stream, "workers", 2, Hands(), max_bytes=1)
    async with pull:
        taken = await pull.take(1)
        delivered = (await work.consumer())["delivered"]["consumer_seq"]
        assert delivered <= 2
        while len(taken) < 10:
            taken += await pull.take(1)
    assert [one.data.decode() for one in taken] == [str(number) for number in range(10)]


async def test_without_messages_heartbeats_keep_it_alive(work: Work) -> None:
    async with pull_of(work, 4, beat=0.5) as pull:
        waiting = asyncio.create_task(pull.take())
        await asyncio.wait([waiting], timeout=1.5)
        assert not waiting.done()
        await work.put("late")
        assert [one.data for one in await waiting] == [b"late"]


async def test_a_deleted_consumer_ends_it(work: Work) -> None:
    async with pull_of(work, 4) as pull:
        waiting = asyncio.create_task(pull.take())
        await round_trip(work.link.client)
        await work.delete_consumer()
        assert await waiting == []


async def test_a_consumer_that_is_not_there_ends_it(link: Link, subjects: Subjects) -> None:
    work = await Work(link, subjects.root).make()
    async with pull_of(work, 4) as pull:
        assert await pull.take() == []


async def test_what_came_before_the_end_is_taken_first(work: Work) -> None:
    await work.put_many(3)
    async with pull_of(work, 8) as pull:
        assert len(await pull.take()) >= 1
        await work.put_many(2)
        await work.delete_consumer()
        await round_trip(work.link.client)
        found = []
        while some := await pull.take():
            found += some
        assert [one.data for one in found][-2:] == [b"0", b"1"]


async def test_a_closed_connection_ends_it(work: Work) -> None:
    async with pull_of(work, 4) as pull:
        waiting = asyncio.create_task(pull.take())
        await round_trip(work.link.client)
        await work.link.close()
        assert await waiting == []


async def test_what_others_send_to_the_inbox_is_no_message(work: Work) -> None:
    async with pull_of(work, 4) as pull:
        waiting = asyncio.create_task(pull.take())
        await work.link.client.publish(pull._inbox, b"forged", "somewhere")
        assert await waiting == []


async def test_nothing_is_left_behind(work: Work) -> None:
    client, listeners = work.link.client, len(work.link._listeners)
    subscriptions = len(client._subs)
    async with pull_of(work, 4):
        assert len(client._subs) == subscriptions + 1
    assert len(client._subs) == subscriptions
    assert len(work.link._listeners) == listeners
    assert (await work.consumer())["num_waiting"] == 0


async def test_nothing_is_left_behind_where_it_could_not_begin(work: Work) -> None:
    listeners = len(work.link._listeners)
    await work.link.close()
    with pytest.raises(Exception, match="connection closed"):
        await pull_of(work, 4).__aenter__()
    assert len(work.link._listeners) <= listeners


async def test_no_delivery_gets_lost_where_one_pull_ends_and_another_begins(work: Work) -> None:
    """One that did would come again after a minute only, when it should have been acknowledged."""
    publishing = asyncio.create_task(work.put_many(600))
    found: set[int] = set()
    async with asyncio.timeout(20):
        while len(found) < 600:
            pull = pull_of(work, 50, beat=0.2)
            async with pull:
                taken = await pull.take()
            taken += pull.untaken()
            found |= {read_delivery(one).sequence for one in taken}
    await publishing


async def test_a_server_that_restarts_ends_it_and_leaves_no_subscription() -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server() as server:
        link = await Link.open(settings, name="test", url=server.url)
        work = await Work(link, "w").make()
        await consume(work)
        back = asyncio.Event()
        link.listen(lambda one: back.set() if one is ConnectionChange.RECONNECTED else None)
        subscriptions = len(link.client._subs)
        async with pull_of(work, 4) as pull:
            waiting = asyncio.create_task(pull.take())
            await round_trip(link.client)
            crash(server)
            assert await waiting == []
            await back.wait()
        assert len(link.client._subs) == subscriptions
        await link.close()


async def test_one_that_ends_while_the_server_is_away_is_not_taken_up_again() -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server() as server:
        link = await Link.open(settings, name="test", url=server.url)
        work = await Work(link, "w").make()
        await consume(work)
        subscriptions = len(link.client._subs)
        lost, back = asyncio.Event(), asyncio.Event()
        signals = {ConnectionChange.DISCONNECTED: lost, ConnectionChange.RECONNECTED: back}
        link.listen(lambda one: signals[one].set() if one in signals else None)
        async with pull_of(work, 4):
            crash(server)
            await lost.wait()
        await back.wait()
        assert len(link.client._subs) == subscriptions
        await link.close()


async def test_a_server_that_falls_silent_ends_it() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        work = await Work(link, "w").make()
        await consume(work)
        async with pull_of(work, 4, beat=0.05) as pull:
            waiting = asyncio.create_task(pull.take())
            await round_trip(link.client)
            with frozen(server):
                async with asyncio.timeout(5):
                    assert await waiting == []
        assert link.reconnects == 0
        await link.close()

"""Requests: one reply or many, and what is raised when none comes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import connect, round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer, Requests
from cim_domain.testing.server import crash, frozen, throwaway_server
from tests.cim_domain.counting import calls


@pytest.fixture
async def other(nats_url: str) -> AsyncIterator[Client]:
    """Another connection, which answers."""
    client = await connect(load_settings(), name="other", url=nats_url)
    yield client
    await client.close()


def _last(message: Msg) -> bool:
    return message.data == b"last"


async def test_a_request_has_one_reply(link: Link, other: Client, subjects: Subjects) -> None:
    async def echo(message: Msg) -> None:
        await message.respond(message.data + message.headers["X-More"].encode())

    await other.subscribe(subjects.commands, cb=echo)
    await round_trip(other)
    replies = await asyncio.gather(
        *(
            link.requests.one(
                subjects.command("a.b"), str(n).encode(), headers={"X-More": "!"}, timeout=5
            )
            for n in range(500)
        )
    )
    assert [one.data for one in replies] == [f"{n}!".encode() for n in range(500)]


async def test_many_replies_are_kept_up_to_the_last(
    link: Link, other: Client, subjects: Subjects
) -> None:
    async def answer(message: Msg) -> None:
        for data in (b"1", b"2", b"last", b"too late"):
            await message.respond(data)

    await other.subscribe(subjects.commands, cb=answer)
    await round_trip(other)
    replies = await link.requests.many(subjects.command("a.b"), b"", _last, timeout=5)
    assert [one.data for one in replies] == [b"1", b"2", b"last"]


async def test_what_goes_wrong_with_a_reply_is_raised_to_whoever_asked(
    link: Link, other: Client, subjects: Subjects
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"no number")
        await message.respond(b"1")

    await other.subscribe(subjects.commands, cb=answer)
    await round_trip(other)
    with pytest.raises(ValueError, match="no number"):
        await link.requests.many(
            subjects.command("a.b"), b"", lambda reply: bool(int(reply.data)), timeout=60
        )
    assert (await link.requests.one(subjects.command("a.b"), timeout=60)).data == b"no number"


async def test_where_nobody_listens_it_is_said_at_once(link: Link, subjects: Subjects) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(NoAnswer) as caught:
            await link.requests.one(subjects.command("a.b"), timeout=60)
    assert caught.value.code == "no_responders"


async def test_a_reply_with_that_status_and_more_is_a_reply(
    link: Link, other: Client, subjects: Subjects
) -> None:
    async def answer(message: Msg) -> None:
        await other.publish(message.reply, b"", headers={"Status": "503", "Nats-Sequence": "1"})

    await other.subscribe(subjects.commands, cb=answer)
    await round_trip(other)
    reply = await link.requests.one(subjects.command("a.b"), timeout=5)
    assert reply.headers["Nats-Sequence"] == "1"


async def test_no_reply_in_time_is_said(link: Link, other: Client, subjects: Subjects) -> None:
    asked: asyncio.Queue[Msg] = asyncio.Queue()
    await other.subscribe(subjects.commands, cb=asked.put)
    await round_trip(other)
    with pytest.raises(NoAnswer) as caught:
        await link.requests.one(subjects.command("a.b"), timeout=0.05)
    assert caught.value.code == "timeout"
    # A late reply to it is not taken for the reply to the next one.
    next_one = asyncio.create_task(link.requests.one(subjects.command("a.b"), b"2", timeout=5))
    first, second = await asked.get(), await asked.get()
    await first.respond(b"late")
    await second.respond(b"right")
    assert (await next_one).data == b"right"


async def test_a_cancelled_request_leaves_nothing(
    link: Link, other: Client, subjects: Subjects
) -> None:
    asked: asyncio.Queue[Msg] = asyncio.Queue()
    await other.subscribe(subjects.commands, cb=asked.put)
    await round_trip(other)
    asking = asyncio.create_task(link.requests.one(subjects.command("a.b"), timeout=60))
    await asked.get()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not link.requests._waiting


async def test_requests_under_way_fail_when_the_connection_is_lost() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        client = await connect(load_settings(), name="other", url=server.url)
        asked: asyncio.Queue[Msg] = asyncio.Queue()
        await client.subscribe("a", cb=asked.put)
        await round_trip(client)
        asking = [asyncio.create_task(link.requests.one("a", timeout=60)) for _ in range(3)]
        for _ in asking:
            await asked.get()
        crash(server)
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [getattr(one, "code", one) for one in outcomes] == ["disconnected"] * 3
        assert len({id(one) for one in outcomes}) == 3
        await client.close()
        await link.close()


async def test_without_a_connection_a_request_fails_at_once_and_is_not_sent_later() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        asking = asyncio.create_task(_until_disconnected(link.requests))
    async with asyncio.timeout(10):
        error = await asking
    assert error.code == "disconnected"
    with pytest.raises(NoAnswer) as caught:
        await link.requests.one("a", timeout=60)
    assert caught.value.code == "disconnected"
    await link.close()
    with pytest.raises(NoAnswer):
        await link.requests.one("a", timeout=60)


async def _until_disconnected(requests: Requests) -> NoAnswer:
    while True:
        try:
            await requests.one("a", timeout=60)
        except NoAnswer as error:
            if error.code != "no_responders":
                return error


async def test_a_server_that_reads_nothing_does_not_hold_a_request_beyond_its_time() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        clock = asyncio.get_running_loop().time
        data = b" " * 20_000
        with frozen(server):
            start = clock()
            outcomes = await asyncio.gather(
                *(link.requests.one("a", data, timeout=0.5) for _ in range(2500)),
                return_exceptions=True,
            )
            spent = clock() - start
        assert {getattr(one, "code", one) for one in outcomes} == {"timeout"}
        assert spent < 3
        await link.close()


async def test_requests_are_given_up_each_in_its_own_time(
    link: Link, other: Client, subjects: Subjects
) -> None:
    asked: asyncio.Queue[Msg] = asyncio.Queue()
    await other.subscribe(subjects.commands, cb=asked.put)
    await round_trip(other)
    clock = asyncio.get_running_loop().time
    began = clock()

    async def ask(seconds: float) -> float:
        with pytest.raises(NoAnswer, match="no answer within"):
            await link.requests.one(subjects.command("a.b"), timeout=seconds)
        return seconds

    # The one that is looked at later was there before.
    asking = [asyncio.create_task(ask(seconds)) for seconds in (0.6, 0.1, 0.3)]
    ended = [await one for one in asyncio.as_completed(asking)]
    assert ended == [0.1, 0.3, 0.6]
    assert clock() - began >= 0.6


async def test_requests_share_a_timer(link: Link, other: Client, subjects: Subjects) -> None:
    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await other.subscribe(subjects.commands, cb=echo)
    await round_trip(other)
    with calls() as counted:
        for _ in range(50):
            await link.requests.one(subjects.command("a.b"), timeout=60)
    assert counted["many"] >= 50
    assert counted["call_at"] + counted["call_later"] <= 2

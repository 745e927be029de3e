"""Connections: how long it takes to give up, and what happens when a server goes."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.nats.config.reconnect import Reconnect
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import (
    ConnectionChange,
    ConnectionEvent,
    connect,
    round_trip,
)
from tests.cim_domain.nats.connection.connecting import SECRET, Events, free_port, works


async def test_a_dead_server_is_given_up_in_bounded_time_naming_its_redacted_url() -> None:
    url = f"nats://svc:{SECRET}@127.0.0.1:{free_port()}"
    started = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable) as caught:
        await connect(load_settings(urls=url, connect_timeout=0.5), name="test")
    assert asyncio.get_running_loop().time() - started < 2
    error = caught.value
    assert error.code == "unavailable"
    assert url.rpartition("@")[2] in error.message
    assert "NATS_URLS" in error.message
    assert SECRET not in error.message


async def test_a_server_that_says_nothing_is_given_up_in_bounded_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"127.0.0.1:{mute.getsockname()[1]}"
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable) as caught:
                await connect(load_settings(urls=url, connect_timeout=0.3), name="test")
    assert caught.value.code == "unavailable"


async def test_a_server_that_starts_while_connecting_is_found(plain_server) -> None:
    server = plain_server()
    server.stop()
    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05})
    connecting = asyncio.create_task(connect(settings, name="test"))
    server.start()
    nc = await connecting
    assert nc.is_connected
    await nc.close()


async def test_one_living_server_of_several_is_enough(plain_server) -> None:
    server = plain_server()
    await works(load_settings(urls=[f"127.0.0.1:{free_port()}", server.url]))


async def test_subscriptions_resume_when_the_server_is_back_on_its_port(
    plain_server, caplog
) -> None:
    caplog.set_level(logging.INFO, "cim_domain.nats")
    server, events = plain_server(), Events()
    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05, "ceiling": 0.1})
    nc = await connect(settings, name="svc", on_event=events)
    subscription = await nc.subscribe("news")
    await round_trip(nc)

    server.stop()
    disconnected = await events.wait_for(ConnectionChange.DISCONNECTED)
    assert disconnected.server is None
    assert not nc.is_connected
    with pytest.raises(Unavailable):
        await round_trip(nc)
    server.start()
    assert (await events.wait_for(ConnectionChange.RECONNECTED)).server == server.url

    await nc.publish("news", b"again")
    assert (await subscription.next_msg(5)).data == b"again"
    await nc.close()
    closed = await events.wait_for(ConnectionChange.CLOSED)
    assert closed.error is None
    said = [record.getMessage() for record in caplog.records]
    assert f"NATS connection svc reconnected ({server.url})" in said


async def test_without_room_for_pending_bytes_a_publish_fails_at_once_while_disconnected(
    plain_server,
) -> None:
    server, events = plain_server(), Events()
    nc = await connect(
        load_settings(urls=server.url), name="append", pending_size=0, on_event=events
    )
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    with pytest.raises(nats.errors.OutboundBufferLimitError):
        await nc.publish("subject", b"")
    await nc.close()


async def test_a_limited_number_of_attempts_ends_in_closed(plain_server) -> None:
    server, events = plain_server(), Events()
    settings = load_settings(urls=server.url, reconnect={"attempts": 2, "first_delay": 0.01})
    await connect(settings, name="test", on_event=events)
    server.stop()
    closed = await events.wait_for(ConnectionChange.CLOSED)
    assert isinstance(closed.error, nats.errors.NoServersError)


async def test_a_listener_that_fails_does_not_stop_the_reconnecting(plain_server, caplog) -> None:
    server, events = plain_server(), Events()

    def listener(event: ConnectionEvent) -> None:
        events(event)
        raise RuntimeError("listener")

    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05})
    nc = await connect(settings, name="test", on_event=listener)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    server.start()
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert "the listener of NATS connection test failed" in caplog.text
    await nc.close()


async def test_denied_permissions_are_events(plain_server) -> None:
    config = 'authorization { users: [ { user: u, password: p, permissions: { publish: "ok" } } ] }'
    server, events = plain_server(config), Events()
    nc = await connect(
        load_settings(urls=server.url, user="u", password="p"), name="test", on_event=events
    )
    await nc.publish("denied", b"")
    assert "permissions violation" in str((await events.wait_for(ConnectionChange.ERROR)).error)
    await nc.close()


async def test_replies_arrive_under_the_inbox_prefix(plain_server) -> None:
    nc = await connect(
        load_settings(), name="test", url=plain_server().url, inbox_prefix="_INBOX_svc"
    )
    asked: list[str] = []

    async def answer(msg: Any) -> None:
        asked.append(msg.reply)
        await msg.respond(b"")

    await nc.subscribe("question", cb=answer)
    await round_trip(nc)
    await nc.request("question", timeout=5)
    assert asked[0].startswith("_INBOX_svc.")
    await nc.close()
    with pytest.raises(ConfigurationError):
        await connect(load_settings(), name="test", inbox_prefix="a b")


async def test_after_a_round_trip_a_subscription_is_known_to_the_server(plain_server) -> None:
    server = plain_server()
    settings = load_settings(urls=server.url)
    one = await connect(settings, name="subscriber")
    other = await connect(settings, name="publisher")

    async def answer(msg: Any) -> None:
        await msg.respond(b"")

    for number in range(300):
        await one.publish("ballast", bytes(100_000 if number % 10 == 0 else 10))
        await one.subscribe(f"question.{number}", cb=answer)
        await round_trip(one)
        await other.request(f"question.{number}", timeout=5)
    await one.close()
    await other.close()


def wait_until_stopped(pid: int) -> None:
    """Each thread of a process stops by itself, some of them after the call."""
    threads = [one / "stat" for one in Path(f"/proc/{pid}/task").iterdir()]
    while any(one.read_text().rpartition(")")[2].split()[0] != "T" for one in threads):
        os.sched_yield()


async def test_a_pong_that_nobody_waits_for_any_more_does_not_end_the_reading(plain_server) -> None:
    server = plain_server()
    nc = await connect(load_settings(url=server.url), name="test")
    os.kill(server.pid, signal.SIGSTOP)
    wait_until_stopped(server.pid)
    try:
        with pytest.raises(Unavailable):
            await round_trip(nc, seconds=0.05)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await round_trip(nc)
    await round_trip(nc)
    await nc.close()


# The delay before each attempt

policies = st.builds(
    lambda first, factor, over, jitter: Reconnect(
        first_delay=first, factor=factor, ceiling=min(3600.0, first * over), jitter=jitter
    ),
    st.floats(0.001, 100),
    st.floats(1, 100),
    st.floats(1, 1000),
    st.floats(0, 1),
)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(0, 10**9), chances)
def test_no_delay_exceeds_the_ceiling_or_is_negative(
    policy: Reconnect, attempt: int, chance: float
) -> None:
    assert 0 <= policy.delay(attempt, chance) <= policy.ceiling


@given(policies, st.integers(0, 10**6))
def test_delays_never_shrink_but_for_chance(policy: Reconnect, attempt: int) -> None:
    assert policy.delay(attempt, 0) <= policy.delay(attempt + 1, 0) * (1 + 1e-9)


@given(policies, st.integers(0, 1000), chances)
def test_chance_takes_at_most_the_jitter(policy: Reconnect, attempt: int, chance: float) -> None:
    longest = policy.delay(attempt, 0)
    assert longest * (1 - policy.jitter) <= policy.delay(attempt, chance) <= longest


def test_delays_double_up_to_the_ceiling_by_default() -> None:
    delays = [Reconnect().delay(attempt, 0) for attempt in range(8)]
    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])

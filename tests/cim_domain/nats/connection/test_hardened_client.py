"""The lighter ways to send and to listen keep what nats-py's own ways promise."""

import asyncio

import pytest
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError

from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import connect, round_trip
from cim_domain.nats.connection.events import ConnectionChange, ConnectionEvent
from cim_domain.nats.connection.publications import header_block
from cim_domain.testing.server import crash, throwaway_server


async def test_a_listener_is_called_in_order_with_all_that_comes() -> None:
    async with throwaway_server() as server:
        nc = await connect(load_settings(), name="test", url=server.url)
        found: list[tuple[bytes, dict[str, str]]] = []
        await nc.listen(
            "some.*", lambda message: found.append((message.data, dict(message.headers or {})))
        )
        for number in range(100):
            block = header_block({"Number": str(number)}) if number % 2 else None
            nc.send("some.subject", b"%d" % number, block=block)
        await round_trip(nc)
        assert found == [
            (b"%d" % number, {"Number": str(number)} if number % 2 else {}) for number in range(100)
        ]
        await nc.close()


async def test_what_a_listener_raises_is_reported_and_it_hears_the_next() -> None:
    async with throwaway_server() as server:
        errors: list[ConnectionEvent] = []
        nc = await connect(load_settings(), name="test", url=server.url, on_event=errors.append)
        found: list[bytes] = []

        def receive(message: Msg) -> None:
            found.append(message.data)
            if message.data == b"1":
                raise ValueError("this one")

        await nc.listen("some.subject", receive)
        for number in range(3):
            nc.send("some.subject", b"%d" % number)
        await round_trip(nc)
        assert found == [b"0", b"1", b"2"]
        assert [str(one.error) for one in errors if one.change is ConnectionChange.ERROR] == [
            "this one"
        ]
        await nc.close()


async def test_an_ended_subscription_is_heard_no_more() -> None:
    async with throwaway_server() as server:
        nc = await connect(load_settings(), name="test", url=server.url)
        found: list[Msg] = []
        subscription = await nc.listen("some.subject", found.append)
        await subscription.unsubscribe()
        nc.send("some.subject", b"")
        await round_trip(nc)
        assert not found
        await nc.close()


async def test_a_listener_hears_on_after_a_reconnection() -> None:
    async with throwaway_server() as server:
        again = asyncio.Event()
        settings = load_settings(reconnect={"first_delay": 0.01, "ceiling": 0.05})

        def changed(event: ConnectionEvent) -> None:
            if event.change is ConnectionChange.RECONNECTED:
                again.set()

        nc = await connect(settings, name="test", url=server.url, on_event=changed)
        heard = asyncio.Event()
        await nc.listen("some.subject", lambda _: heard.set())
        crash(server)
        async with asyncio.timeout(30):
            await again.wait()
            nc.send("some.subject", b"")
            await heard.wait()
        await nc.close()


async def test_what_cannot_be_sent_is_refused_at_once() -> None:
    async with throwaway_server() as server:
        away = asyncio.Event()

        def changed(event: ConnectionEvent) -> None:
            if event.change is ConnectionChange.DISCONNECTED:
                away.set()

        settings = load_settings(reconnect={"first_delay": 30, "ceiling": 30})
        nc = await connect(settings, name="test", url=server.url, pending_size=0, on_event=changed)
        with pytest.raises(MaxPayloadError):
            nc.send("some.subject", b"x" * (nc.max_payload + 1))
        crash(server)
        async with asyncio.timeout(30):
            await away.wait()
        with pytest.raises(OutboundBufferLimitError):
            nc.send("some.subject", b"")
        await nc.close()
        with pytest.raises(ConnectionClosedError):
            nc.send("some.subject", b"")


async def test_more_than_may_wait_is_flushed_by_publish() -> None:
    async with throwaway_server() as server:
        nc = await connect(load_settings(), name="test", url=server.url, pending_size=1000)
        found: list[Msg] = []
        await nc.listen("some.subject", found.append)
        for _ in range(20):
            await nc.publish("some.subject", b"x" * 200)
            assert nc.pending_data_size <= 1000
        await round_trip(nc)
        assert len(found) == 20
        await nc.close()

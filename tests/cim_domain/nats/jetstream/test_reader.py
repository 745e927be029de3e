"""Reading a stream for ever, whatever happens to the consumer, the server or the reader."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.msg import Msg

from cim_domain.errors import Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.jetstream.reader import PULL, PULL_BYTES, SLICE, StreamSlice, follow_stream
from cim_domain.testing.server import crash, frozen, throwaway_server


async def make(link: Link, root: str) -> str:
    name = f"S{uuid4().hex}"
    config = {"name": name, "subjects": [f"{root}.s"], "allow_atomic": True}
    await call(link.requests, f"STREAM.CREATE.{name}", config)
    return name


@pytest.fixture
async def stream(link: Link, subjects: Subjects) -> str:
    return await make(link, subjects.root)


async def fill(link: Link, root: str, count: int, data: bytes = b"") -> None:
    """So many messages, in batches of a thousand."""
    while count:
        some = min(count, 1000)
        batch = uuid4().hex
        for number in range(1, some + 1):
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number < some:
                await link.client.publish(f"{root}.s", data, headers=headers)
            else:
                headers["Nats-Batch-Commit"] = "1"
                reply = await link.requests.one(f"{root}.s", data, headers=headers, timeout=10)
                assert b"error" not in reply.data
        count -= some


async def take(slices: AsyncGenerator[StreamSlice, None], count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += [one.sequence for one in (await anext(slices)).messages]
    return found


async def consumers(link: Link, stream: str) -> list[str]:
    return list((await call(link.requests, f"CONSUMER.NAMES.{stream}"))["consumers"])


async def test_a_long_stream_comes_in_order_and_in_slices(
    link: Link, subjects: Subjects, stream: str
) -> None:
    await fill(link, subjects.root, 20_000)
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        assert await anext(slices) == StreamSlice((), 20_000)
        found: list[int] = []
        while len(found) < 20_000:
            part = await anext(slices)
            assert 1 <= len(part.messages) <= SLICE
            assert part.head == 20_000
            found += [one.sequence for one in part.messages]
    assert found == list(range(1, 20_001))


async def test_the_head_is_told_with_every_slice(
    link: Link, subjects: Subjects, stream: str
) -> None:
    await fill(link, subjects.root, 1)
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        assert (await anext(slices)).head == 1
        await fill(link, subjects.root, 50)
        assert await take(slices, 50) == list(range(2, 52))


async def test_a_deleted_consumer_is_replaced(link: Link, subjects: Subjects, stream: str) -> None:
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        found: list[int] = []
        seen: set[str] = set()
        for _ in range(5):
            await fill(link, subjects.root, 100)
            found += await take(slices, 100)
            (name,) = await consumers(link, stream)
            seen.add(name)
            await call(link.requests, f"CONSUMER.DELETE.{stream}.{name}")
        assert len(seen) == 5
    assert found == list(range(1, 501))


async def test_what_another_takes_from_the_consumer_is_read_all_the_same(
    link: Link, subjects: Subjects, stream: str
) -> None:
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        await fill(link, subjects.root, 1)
        found = await take(slices, 1)
        (name,) = await consumers(link, stream)
        stolen: asyncio.Queue[Msg] = asyncio.Queue()
        await link.client.subscribe(f"{subjects.root}.thief", cb=stolen.put)
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        await link.client.publish(pull, b'{"batch":5}', f"{subjects.root}.thief")
        await round_trip(link.client)
        await fill(link, subjects.root, 20)
        found += await take(slices, 20)
        assert stolen.qsize() > 0
    assert found == list(range(1, 22))


async def test_a_closed_reader_leaves_no_consumer_and_no_subscription(
    link: Link, subjects: Subjects, stream: str
) -> None:
    before = len(link.client._subs)
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        assert len(await consumers(link, stream)) == 1
    assert await consumers(link, stream) == []
    assert len(link.client._subs) == before
    assert not link._listeners


async def test_a_stream_that_is_not_there_is_told(link: Link) -> None:
    with pytest.raises(ApiError):
        await anext(follow_stream(link, "NOSUCH", 0))


async def test_a_connection_that_was_closed_ends_it(link: Link, stream: str) -> None:
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        waiting = asyncio.create_task(anext(slices))
        await asyncio.sleep(0)
        await link.close()
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await waiting


async def test_a_slow_reader_holds_a_bounded_number_of_messages(
    link: Link, subjects: Subjects, stream: str
) -> None:
    await fill(link, subjects.root, 10_000)
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        found = await take(slices, 1)
        (name,) = await consumers(link, stream)
        info = await call(link.requests, f"CONSUMER.INFO.{stream}.{name}")
        assert info["delivered"]["consumer_seq"] <= PULL + len(found)
        found += await take(slices, 10_000 - len(found))
    assert found == list(range(1, 10_001))


async def test_a_slow_reader_holds_a_bounded_number_of_bytes(
    link: Link, subjects: Subjects, stream: str
) -> None:
    data = b"x" * 500_000
    for _ in range(24):
        await fill(link, subjects.root, 10, data)
    async with aclosing(follow_stream(link, stream, 0)) as slices:
        await anext(slices)
        found = await take(slices, 1)
        (name,) = await consumers(link, stream)
        info = await call(link.requests, f"CONSUMER.INFO.{stream}.{name}")
        assert info["delivered"]["consumer_seq"] * len(data) <= 3 * PULL_BYTES
        found += await take(slices, 240 - len(found))
        assert await consumers(link, stream) == [name]
    assert found == list(range(1, 241))


async def test_a_restarted_server_costs_nothing_and_doubles_nothing() -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server() as server:
        link = await Link.open(settings, name="test", url=server.url)
        back = asyncio.Event()
        link.listen(lambda one: back.set() if one is ConnectionChange.RECONNECTED else None)
        stream = await make(link, "r")
        before = len(link.client._subs)
        async with aclosing(follow_stream(link, stream, 0)) as slices:
            await anext(slices)
            found: list[int] = []
            for _ in range(3):
                await fill(link, "r", 2000)
                found += await take(slices, 500)
                back.clear()
                crash(server)
                await back.wait()
                await fill(link, "r", 10)
            found += await take(slices, 6030 - len(found))
        assert found == list(range(1, 6031))
        assert len(link.client._subs) == before
        await link.close()


async def test_a_reader_waits_for_a_server_that_is_away_and_gathers_nothing_meanwhile(
    tmp_path: Path,
) -> None:
    settings = load_settings(reconnect={"first_delay": 0.02, "ceiling": 0.05})
    async with throwaway_server(data_directory=tmp_path / "data") as server:
        url = server.url
        link = await Link.open(settings, name="test", url=url)
        stream = await make(link, "r")
        await fill(link, "r", 10)
    reader = follow_stream(link, stream, 3)
    before = len(link.client._subs)
    taking = asyncio.create_task(take(reader, 7))
    await asyncio.wait([taking], timeout=0.5)
    assert not taking.done()
    assert len(link.client._subs) == before
    assert not link.client._pending
    port = int(url.rpartition(":")[2])
    async with throwaway_server(data_directory=tmp_path / "data", port=port):
        assert await taking == [4, 5, 6, 7, 8, 9, 10]
        await reader.aclose()
    await link.close()


async def test_a_server_that_falls_silent_is_noticed_by_its_heartbeat() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        stream = await make(link, "r")
        async with aclosing(follow_stream(link, stream, 0, heartbeat=0.1)) as slices:
            await anext(slices)
            await fill(link, "r", 5)
            assert await take(slices, 5) == [1, 2, 3, 4, 5]
            (name,) = await consumers(link, stream)
            taking = asyncio.create_task(take(slices, 5))
            with frozen(server):
                # Time is the subject here: three heartbeats do not come.
                await asyncio.wait([taking], timeout=0.4)
            await fill(link, "r", 5)
            assert await taking == [6, 7, 8, 9, 10]
            assert name not in await consumers(link, stream)
            assert link.reconnects == 0
        await link.close()


async def test_a_quiet_stream_keeps_its_consumer(
    link: Link, subjects: Subjects, stream: str
) -> None:
    async with aclosing(follow_stream(link, stream, 0, heartbeat=0.1)) as slices:
        await anext(slices)
        taking = asyncio.create_task(take(slices, 1))
        await asyncio.wait([taking], timeout=0.5)
        (name,) = await consumers(link, stream)
        await fill(link, subjects.root, 1)
        assert await taking == [1]
        assert await consumers(link, stream) == [name]

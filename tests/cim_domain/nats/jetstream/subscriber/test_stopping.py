"""Working off a stream: nothing is lost when an instance stops or dies, or the server does."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cim_domain.errors import Outdated
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.subscriber import Received, Retries
from cim_domain.testing.server import crash, throwaway_server
from tests.cim_domain.nats.jetstream.working import Work, Workers, quickly

LONG = 60.0
"""Seconds to acknowledge that no test waits for: what comes again, comes for another reason."""

DYING_WORKER = Path(__file__).with_name("dying_worker.py")


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
    for _ in range(retries.uncounted_deliveries + retries.attempts):
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


async def test_what_was_handed_back_before_is_not_held_against_it(
    nats_url: str, work: Work, workers: Workers
) -> None:
    async def is_newer(received: Received) -> None:
        raise Outdated("run a newer one")

    retries = quickly(attempts=2, ack_wait=0.3)
    await work.put("die")
    workers.reaction = is_newer
    older = await workers.subscribe(retries=retries)
    await workers.begun(2 * (retries.uncounted_deliveries + retries.attempts))
    await older.stop()
    assert workers.letters.letters == []
    for _ in range(retries.attempts):
        async with dying(nats_url, work, retries) as says:
            assert await says.read() == b"begun die\n"
    begun = len(workers.attempts)
    await workers.subscribe(retries=retries)
    await work.settled()
    assert len(workers.attempts) == begun
    assert [one.code for one in workers.letters.letters] == ["gave_up"]


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

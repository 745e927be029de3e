"""Load on a service: so many requests in flight, or so many a second whatever comes of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter

import orjson
from nats.aio.client import Client

Send = Callable[[], Awaitable[None]]

TIMEOUT = 30.0
"""Seconds for one reply."""


class Refused(Exception):
    """A command of the load was not accepted: what is measured is not what was meant."""


async def accepted(client: Client, subject: str, payload: bytes) -> None:
    """Send a command and wait for its reply. Raises `Refused`."""
    reply = await client.request(subject, payload, timeout=TIMEOUT)
    if not reply.data.startswith(b'{"status":"accepted"'):
        raise Refused(f"{subject}: {reply.data[:500]!r}")


async def took(work: Awaitable[object]) -> float:
    """How many seconds something took."""
    began = perf_counter()
    await work
    return perf_counter() - began


async def rate(sends: Sequence[Send], in_flight: int) -> float:
    """Requests a second, with so many in flight all the time."""
    left: Iterator[Send] = iter(sends)

    async def worker() -> None:
        for send in left:
            await send()

    seconds = await took(_all([worker() for _ in range(in_flight)]))
    return len(sends) / seconds


async def latencies(sends: Sequence[Send], per_second: float) -> list[float]:
    """Seconds from when each request was to be sent until its reply.

    Requests are sent at their times however long others take, and one that is sent late has been
    waiting: a service that stalls cannot slow down what it is measured with.
    """
    found: list[float] = []
    clock = asyncio.get_running_loop().time
    began = clock() + 0.1

    async def one(send: Send, due: float) -> None:
        await send()
        found.append(clock() - due)

    async with asyncio.TaskGroup() as tasks:
        for place, send in enumerate(sends):
            due = began + place / per_second
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            tasks.create_task(one(send, due))
    return found


async def _all(works: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*works)


def create_flake(path: str) -> bytes:
    """The payload of ``flake.create``."""
    return orjson.dumps({"path": path, "description": "a flake of the benchmarks"})

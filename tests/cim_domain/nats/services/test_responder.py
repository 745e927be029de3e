"""What a responder has in hand is bounded; beyond that it says so at once, and goes on."""

import asyncio
import logging

import pytest

from cim_domain.errors import RequestError
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.publications import header_block
from cim_domain.nats.services.responder import Request, Responder, Response
from tests.cim_domain.faulty import until

ROOM = 1024 * 1024
LARGE = b"x" * 50_000
FIT = ROOM // (len(LARGE) + 8 * 1024)


class Slow:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.begun = 0

    async def handle(self, request: Request) -> Response:
        self.begun += 1
        await self.may.wait()
        return Response(b"done")

    def error(self, error: RequestError) -> Response:
        return Response(error.code.encode(), error=error.message)


async def test_what_has_no_room_is_busy_at_once_and_later_there_is_room_again(link: Link) -> None:
    slow = Slow()
    responder = Responder(link, "slow", "test.slow", slow.handle, slow.error, held=ROOM)
    await responder.start()
    waiting = [
        asyncio.create_task(link.requests.one("test.slow", LARGE, timeout=60)) for _ in range(FIT)
    ]
    await until(lambda: slow.begun == FIT)
    refused = await link.requests.one("test.slow", LARGE, timeout=60)
    assert (refused.data, slow.begun) == (b"busy", FIT)
    slow.may.set()
    assert {one.data for one in await asyncio.gather(*waiting)} == {b"done"}
    assert (await link.requests.one("test.slow", LARGE, timeout=60)).data == b"done"
    assert (responder.statistics.requests, responder.statistics.errors) == (FIT + 2, 1)
    await responder.stop()


async def test_many_small_requests_are_bounded_too(link: Link) -> None:
    slow = Slow()
    responder = Responder(link, "slow", "test.slow", slow.handle, slow.error, held=ROOM)
    await responder.start()
    for _ in range(500):
        link.client.send("test.slow", b"")
    assert (await link.requests.one("test.slow", timeout=60)).data == b"busy"
    assert slow.begun <= ROOM // (8 * 1024)
    slow.may.set()
    await responder.stop()


@pytest.mark.parametrize(
    "headers",
    [{"X-Long": "x" * 50_000}, {f"a{number}": "" for number in range(2000)}],
    ids=["long", "many"],
)
async def test_headers_count_as_well(link: Link, headers: dict[str, str]) -> None:
    slow = Slow()
    responder = Responder(link, "slow", "test.slow", slow.handle, slow.error, held=ROOM)
    await responder.start()
    block = header_block(headers)
    for _ in range(50):
        link.client.send("test.slow", b"", block=block)
    assert (await link.requests.one("test.slow", headers=headers, timeout=60)).data == b"busy"
    assert slow.begun < ROOM // len(block)
    slow.may.set()
    await responder.stop()


async def test_what_is_dropped_and_nobody_hears_of_is_logged_once_for_many(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    responder = Responder(link, "slow", "test.slow", slow.handle, slow.error, held=ROOM)
    await responder.start()
    with caplog.at_level(logging.ERROR, "cim_domain.nats"):
        for _ in range(FIT + 10):
            link.client.send("test.slow", LARGE)
        await round_trip(link.client, seconds=60)
    lines = [one.message for one in caplog.records]
    assert 1 <= len(lines) < 10
    assert lines[0] == "no room: 1 on slow without a reply dropped"
    assert responder.statistics.errors == 10
    slow.may.set()
    await responder.stop()

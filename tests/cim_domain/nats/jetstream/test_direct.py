"""Direct gets: pages of what a stream holds."""

import asyncio

import pytest

from cim_domain.errors import Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import PAGE, PAGE_BYTES, get_by_subject, get_range


@pytest.fixture
async def stream(link: Link, subjects: Subjects) -> str:
    name = subjects.event_stream
    config = {"name": name, "subjects": [f"{subjects.root}.s.*"], "allow_direct": True}
    await call(link.requests, f"STREAM.CREATE.{name}", config)
    return name


async def fill(link: Link, subjects: Subjects, count: int, data: bytes = b"x") -> None:
    """Message n (from 1) on subject n modulo 3."""
    for start in range(1, count + 1, 100):
        await asyncio.gather(
            *(
                link.requests.one(f"{subjects.root}.s.{n % 3}", data, timeout=5)
                for n in range(start, min(start + 100, count + 1))
            )
        )


async def test_an_empty_stream_gives_nothing(link: Link, stream: str) -> None:
    assert await get_range(link.requests, stream, start=1, limit=10, timeout=5) == []


async def test_a_range_is_what_was_asked_for(link: Link, stream: str, subjects: Subjects) -> None:
    await fill(link, subjects, 30)
    found = await get_range(link.requests, stream, start=11, limit=5, timeout=5)
    assert [one.sequence for one in found] == [11, 12, 13, 14, 15]
    assert [one.subject for one in found] == [f"{subjects.root}.s.{n % 3}" for n in range(11, 16)]
    found = await get_range(link.requests, stream, start=29, limit=5, timeout=5)
    assert [one.sequence for one in found] == [29, 30]
    assert await get_range(link.requests, stream, start=31, limit=5, timeout=5) == []


async def test_one_subject_is_read_over_several_pages(
    link: Link, stream: str, subjects: Subjects
) -> None:
    count = 3 * PAGE + 6
    await fill(link, subjects, count)
    found = await get_by_subject(
        link.requests, stream, f"{subjects.root}.s.1", start=2, limit=count, timeout=5
    )
    assert [one.sequence for one in found] == list(range(4, count + 1, 3))
    some = await get_by_subject(
        link.requests, stream, f"{subjects.root}.s.1", start=2, limit=PAGE + 1, timeout=5
    )
    assert some == found[: PAGE + 1]


async def test_large_messages_make_small_pages_and_nothing_is_left_out(
    link: Link, stream: str, subjects: Subjects
) -> None:
    data = b"x" * 1_000_000
    await fill(link, subjects, 60, data)
    page = await get_range(link.requests, stream, start=1, limit=60, timeout=5)
    assert 1 <= len(page) <= PAGE_BYTES / len(data) + 1
    found = await get_by_subject(
        link.requests, stream, f"{subjects.root}.s.0", start=1, limit=60, timeout=5
    )
    assert [one.sequence for one in found] == list(range(3, 61, 3))


async def test_a_stream_that_is_not_there_gives_no_answer(link: Link, subjects: Subjects) -> None:
    with pytest.raises(NoAnswer):
        await get_range(link.requests, subjects.event_stream, start=1, limit=10, timeout=1)


async def test_what_the_server_refuses_is_unavailable(link: Link, stream: str) -> None:
    with pytest.raises(Unavailable, match="408"):
        await get_by_subject(link.requests, stream, "a subject", start=-1, limit=1, timeout=1)

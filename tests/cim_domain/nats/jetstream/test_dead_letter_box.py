"""Dead letters are read back as they were put there, page by page, and thrown away."""

from datetime import UTC, datetime, timedelta

import pytest

from cim_domain.dead_letters import DeadLetter
from cim_domain.errors import NotFound
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letter_box import DeadLetterBox, Overview
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.streams import ensure_stream


@pytest.fixture
async def letters(link: Link, subjects: Subjects) -> StreamDeadLetters:
    stream = subjects.dead_letter_stream
    await ensure_stream(link.requests, dead_letter_stream(stream, subjects.dead_letters))
    return StreamDeadLetters(link, stream, subjects.dead_letter_root)


@pytest.fixture
def box(link: Link, subjects: Subjects) -> DeadLetterBox:
    return DeadLetterBox(link, subjects.dead_letter_stream, subjects.dead_letter_root)


def letter(consumer: str = "commands", number: int = 0, **more: object) -> DeadLetter:
    return DeadLetter(
        consumer=consumer, subject="s", data=str(number).encode(), code="c", reason="r", **more
    )  # type: ignore[arg-type]


async def test_a_letter_comes_back_as_it_was_put_there(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    headers = {"X-Command-ID": "1", "Nats-Msg-Id": "m", "Nats-Expected-Last-Sequence": "99"}
    put = letter(
        headers=headers, sequence=9, deliveries=3, number=7, consumer="process.some_builder"
    )
    await letters.put(put)
    found = await box.get(1)
    assert found.letter == put
    assert (found.sequence, found.cut_from) == (1, None)
    assert abs(datetime.now(UTC) - found.time) < timedelta(minutes=1)
    assert await box.page() == [found]


async def test_a_message_cannot_say_what_a_letter_says(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    headers = {"X-Dead-Sequence": "5", "X-Dead-Cut-From": "9", "X-Dead-Reason": "none", "A": "b"}
    await letters.put(letter(headers=headers))
    found = await box.get(1)
    assert (found.letter.sequence, found.cut_from, found.letter.reason) == (0, None, "r")
    assert found.letter.headers == {"A": "b"}


async def test_a_letter_that_had_to_be_cut_says_so(
    letters: StreamDeadLetters, box: DeadLetterBox, link: Link
) -> None:
    size = link.client.max_payload
    await letters.put(DeadLetter(consumer="c", subject="s", data=b"x" * size, code="", reason=""))
    found = await box.get(1)
    assert found.cut_from == size
    assert 0 < len(found.letter.data) < size


async def test_what_others_have_put_there_is_read_as_far_as_it_goes(
    letters: StreamDeadLetters, box: DeadLetterBox, link: Link, subjects: Subjects
) -> None:
    await link.requests.one(f"{subjects.dead_letter_root}.other.thing", b"x", timeout=5)
    headers = {"X-Dead-Sequence": "-1", "X-Dead-Deliveries": "many"}
    await link.requests.one(f"{subjects.dead_letter_root}.a", b"y", headers=headers, timeout=5)
    one, two = await box.page()
    assert (one.letter.consumer, one.letter.data, one.letter.reason) == ("other.thing", b"x", "")
    assert (two.letter.consumer, two.letter.sequence, two.letter.deliveries) == ("a", 0, 1)
    assert [await box.get(1), await box.get(2)] == [one, two]


async def test_pages_follow_one_another_and_hold_each_letter_once(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    for number in range(7):
        await letters.put(letter("ab"[number % 2], number))
    await box.discard(3)
    first = await box.page(limit=4)
    second = await box.page(limit=4, after=first[-1].sequence)
    assert [one.sequence for one in first + second] == [1, 2, 4, 5, 6, 7]
    assert await box.page(after=7) == []
    assert [one.sequence for one in await box.page(consumer="a", limit=2)] == [1, 5]
    assert [one.sequence for one in await box.page(consumer="a", after=5)] == [7]
    assert await box.page(consumer="nobody") == []


async def test_all_letters_are_read_over_many_pages(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    for number in range(205):
        await letters.put(letter(number=number))
    found = [one.letter.data async for one in box.letters()]
    assert found == [str(number).encode() for number in range(205)]
    assert len([one async for one in box.letters(consumer="commands", after=200)]) == 5


async def test_letters_are_counted_by_consumer(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    assert await box.overview() == Overview({}, 0)
    for consumer in ("process.a", "commands", "process.a"):
        await letters.put(letter(consumer))
    assert await box.overview() == Overview({"commands": 1, "process.a": 2}, 3)
    await box.discard(3)
    assert await box.overview() == Overview({"commands": 1, "process.a": 1}, 3)
    assert await letters.count() == 2


async def test_a_discarded_letter_is_gone(letters: StreamDeadLetters, box: DeadLetterBox) -> None:
    await letters.put(letter())
    await box.discard(1)
    for missing in (1, 2):
        with pytest.raises(NotFound):
            await box.get(missing)
        with pytest.raises(NotFound):
            await box.discard(missing)


async def test_many_are_discarded_up_to_a_letter_that_was_seen(
    letters: StreamDeadLetters, box: DeadLetterBox
) -> None:
    for number in range(6):
        await letters.put(letter("ab"[number % 2], number))
    assert await box.discard_all(consumer="a", up_to=3) == 2
    assert [one.sequence for one in await box.page()] == [2, 4, 5, 6]
    assert await box.discard_all(up_to=5) == 3
    assert [one.sequence for one in await box.page()] == [6]


async def test_without_the_stream_nothing_has_run_here(box: DeadLetterBox) -> None:
    with pytest.raises(NotFound) as missing:
        await box.overview()
    assert missing.value.code == "no_stream"

"""Dead letters hold what could not be handled and why, whatever it was."""

import asyncio
from typing import Any

import pytest

from cim_domain.dead_letters import DeadLetter
from cim_domain.errors import Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.limits import header_block_size
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.jetstream.dead_letters import KEPT, StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.direct import StoredMessage
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.observability.observer import NoObserver, ObservedDeadLetters
from cim_domain.testing.server import throwaway_server


@pytest.fixture
async def letters(link: Link, subjects: Subjects) -> StreamDeadLetters:
    definition = dead_letter_stream(subjects.dead_letter_stream, subjects.dead_letters)
    await ensure_stream(link.requests, definition)
    return StreamDeadLetters(link, subjects.dead_letter_stream, subjects.dead_letter_root)


def letter(**fields: Any) -> DeadLetter:
    given: dict[str, Any] = {
        "consumer": "process.builder",
        "subject": "nix.journal.3.flake.x.created",
        "headers": {"X-Event-Type": "flake.created"},
        "data": b'{"path":"/srv/web"}',
        "code": "handler_failed",
        "reason": "the handler failed: ValueError",
        "sequence": 7,
        "deliveries": 5,
        **fields,
    }
    return DeadLetter(**given)


async def kept(link: Link, subjects: Subjects, sequence: int = 1) -> StoredMessage:
    found = await message_at(link.requests, subjects.dead_letter_stream, sequence)
    assert found is not None
    return found


def own(message: StoredMessage) -> dict[str, str]:
    """The headers without the server's, and without the id, which is tested by its effect."""
    return {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}


async def test_a_letter_is_the_message_with_what_is_known_about_the_failure(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    await letters.put(letter())
    found = await kept(link, subjects)
    assert found.subject == f"{subjects.root}.dlq.process.builder"
    assert found.data == b'{"path":"/srv/web"}'
    assert own(found) == {
        "X-Event-Type": "flake.created",
        "X-Dead-Consumer": "process.builder",
        "X-Dead-Subject": "nix.journal.3.flake.x.created",
        "X-Dead-Code": "handler_failed",
        "X-Dead-Reason": "the handler failed: ValueError",
        "X-Dead-Deliveries": "5",
        "X-Dead-Sequence": "7",
    }


async def test_the_same_letter_again_is_kept_once(letters: StreamDeadLetters) -> None:
    assert await letters.count() == 0
    for deliveries in (5, 6):
        await letters.put(letter(deliveries=deliveries))
    assert await letters.count() == 1


@pytest.mark.parametrize(
    "other", [{"sequence": 8}, {"consumer": "process.shipper"}, {"subject": "nix.submit.a.b"}]
)
async def test_letters_about_other_messages_are_kept_beside_it(
    letters: StreamDeadLetters, other: dict[str, Any]
) -> None:
    await letters.put(letter())
    await letters.put(letter(**other))
    assert await letters.count() == 2


async def test_messages_that_were_in_no_stream_are_each_kept(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    for _ in range(2):
        await letters.put(letter(sequence=0))
    assert await letters.count() == 2
    assert "X-Dead-Sequence" not in (await kept(link, subjects)).headers


async def test_headers_that_would_act_again_are_left_out(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    acting = {
        "Nats-Expected-Last-Subject-Sequence": "99",
        "Nats-Batch-Id": "b",
        "Nats-Batch-Sequence": "1",
        "Nats-Msg-Id": "theirs",
        "Nats-TTL": "1s",
        "X-Dead-Reason": "forged",
        "X-Dead-Cut-From": "1",
        "X-Mine": "stays",
    }
    await letters.put(letter(headers=acting))
    found = await kept(link, subjects)
    assert own(found)["X-Mine"] == "stays"
    assert found.headers["X-Dead-Reason"] == "the handler failed: ValueError"
    assert "X-Dead-Cut-From" not in found.headers
    assert not {"Nats-Batch-Id", "Nats-TTL", "Nats-Expected-Last-Subject-Sequence"} & set(
        found.headers
    )


async def test_headers_that_do_not_travel_are_marked(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    odd = {
        "": "no name",
        "X Y": "a blank",
        "X-Größe": "1",
        "X-Umlaut": "größe",
        "X-Break": "a\r\nInjected: 1",
        "X-Blank": " a ",
        "X-Empty": "",
        "x.odd~but!fine": "~",
    }
    await letters.put(letter(headers=odd))
    found = own(await kept(link, subjects))
    assert {name: value for name, value in found.items() if not name.startswith("X-Dead-")} == {
        "X~Y": "a blank",
        "X-Gr~~e": "1",
        "X-Umlaut": r"gr\xf6\xdfe",
        "X-Break": r"a\r\nInjected: 1",
        "X-Blank": "a",
        "X-Empty": "",
        "x.odd~but!fine": "~",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 東京", "gr e"),
        ("line\r\nInjected: 1", "line Injected: 1"),
        ("\x00\x7f", ""),
        ("  blanks  ", "blanks"),
    ],
)
async def test_odd_characters_of_subject_code_and_reason_become_blanks(
    link: Link, subjects: Subjects, letters: StreamDeadLetters, text: str, shown: str
) -> None:
    await letters.put(letter(subject=text, code=text, reason=text))
    headers = (await kept(link, subjects)).headers
    for name in ("Subject", "Code", "Reason"):
        assert " ".join(headers[f"X-Dead-{name}"].split()) == shown
    assert "Injected" not in headers


async def test_letters_whose_subjects_look_the_same_are_both_kept(
    letters: StreamDeadLetters,
) -> None:
    await letters.put(letter(subject="nix.ä"))
    await letters.put(letter(subject="nix.ö"))
    assert await letters.count() == 2


async def test_a_long_reason_is_cut(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    await letters.put(letter(reason="x" * 100_000, code="c" * 70_000))
    headers = (await kept(link, subjects)).headers
    assert headers["X-Dead-Reason"] == "x" * 500
    assert headers["X-Dead-Code"] == "c" * 100


@pytest.mark.parametrize("more", [-2000, -100, 0, 1])
async def test_a_payload_without_room_for_the_headers_is_cut_and_marked(
    link: Link, subjects: Subjects, letters: StreamDeadLetters, more: int
) -> None:
    data = bytes(range(256)) * 5000
    data = data[: link.client.max_payload + more]
    await letters.put(letter(data=data))
    found = await kept(link, subjects)
    assert data.startswith(found.data)
    if more == -2000:
        assert found.data == data
        assert "X-Dead-Cut-From" not in found.headers
    else:
        assert found.headers["X-Dead-Cut-From"] == str(len(data))
        assert len(data) - len(found.data) < 1000
    assert link.connected
    assert await letters.count() == 1


async def test_many_headers_leave_room_for_those_that_tell_the_reason(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    many = {f"X-Header-{number}": "v" * 100 for number in range(600)}
    assert header_block_size(many) > 65_535
    await letters.put(letter(headers=many))
    found = await kept(link, subjects)
    assert found.headers["X-Dead-Code"] == "handler_failed"
    assert "X-Header-1" not in found.headers
    assert int(found.headers["X-Dead-Headers-Cut-From"]) > 65_535
    assert found.data == b'{"path":"/srv/web"}'


async def test_a_server_that_takes_small_messages_only_gets_a_small_letter() -> None:
    async with throwaway_server(max_payload=2048) as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        await ensure_stream(link.requests, dead_letter_stream("DLQ", "dlq.>"))
        letters = StreamDeadLetters(link, "DLQ", "dlq")
        await letters.put(letter(headers={"X-Large": "x" * 1900}, data=b"d" * 2000))
        found = await message_at(link.requests, "DLQ", 1)
        assert found is not None
        assert found.headers["X-Dead-Cut-From"] == "2000"
        assert "X-Large" not in found.headers
        assert len(found.data) > 1000
        assert link.connected
        await link.close()


async def test_without_the_stream_putting_and_counting_fail(link: Link, subjects: Subjects) -> None:
    letters = StreamDeadLetters(
        link, subjects.dead_letter_stream, subjects.dead_letter_root, timeout=0.5
    )
    with pytest.raises(NoAnswer):
        await letters.put(letter())
    with pytest.raises(ApiError):
        await letters.count()


async def test_a_full_stream_says_so(link: Link, subjects: Subjects) -> None:
    definition = dead_letter_stream(subjects.dead_letter_stream, subjects.dead_letters)
    await call(
        link.requests,
        f"STREAM.CREATE.{definition.name}",
        {**definition.wanted, "max_msgs": 1},
    )
    letters = StreamDeadLetters(link, definition.name, subjects.dead_letter_root)
    await letters.put(letter())
    with pytest.raises(ApiError, match="maximum messages exceeded"):
        await letters.put(letter(sequence=8))
    assert await letters.count() == 1


def test_a_letter_about_an_error_takes_its_code_and_message() -> None:
    found = DeadLetter.about(Failed("no", code="gave_up"), consumer="c", subject="s", data=b"d")
    assert (found.code, found.reason, found.sequence, found.deliveries) == ("gave_up", "no", 0, 1)


async def test_so_many_of_a_consumer_are_kept_and_beyond_that_they_are_counted(
    link: Link, subjects: Subjects, letters: StreamDeadLetters
) -> None:
    observed = ObservedDeadLetters(letters, NoObserver())
    flood = [letter(consumer="commands", sequence=0, data=b"%d" % one) for one in range(KEPT)]
    await asyncio.gather(*map(observed.put, flood))
    with pytest.raises(Unavailable) as caught:
        await observed.put(letter(consumer="commands", sequence=0))
    assert caught.value.code == "log_full"
    assert (await observed.count(), observed.refused) == (KEPT, 1)
    await observed.put(letter(consumer="process.builder"))
    assert await observed.count() == KEPT + 1

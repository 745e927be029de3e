"""A log that has lost events: they are named, and nothing behind them is guessed at."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve

from cim_domain.errors import Failed
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions
from cim_domain.store.jetstream import JetStreamEvents, event_stream, partitioned
from cim_domain.store.jetstream.holes import first_missing
from cim_domain.store.port import CORRUPT_HISTORY, Commit, LogIdentity, Position, Slice
from cim_domain.testing.records import commit, new_id
from tests.cim_domain.damage import cut, flip

SUBJECTS = Subjects("nix")
IDENTITY = LogIdentity.new()
FLAKE, OTHER = new_id(), new_id()
SEQUENCES = {FLAKE: (1, 3, 5), OTHER: (2, 4)}

Lose = Callable[[Path, int], Awaitable[None]]


@asynccontextmanager
async def log_in(data: Path) -> AsyncIterator[tuple[JetStreamEvents, Link]]:
    async with EmbeddedServer(ServerOptions(data_directory=data, port=0)) as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        yield JetStreamEvents(link, SUBJECTS), link
        await link.close()


async def filled(data: Path) -> None:
    """Two aggregates, the events of which take turns; those of the log can be deleted by hand."""
    subjects = partitioned(SUBJECTS, IDENTITY)
    wanted = event_stream(subjects, identity=IDENTITY).wanted
    async with log_in(data) as (store, link):
        await call(
            link.requests,
            f"STREAM.CREATE.{subjects.event_stream}",
            {**wanted, "deny_delete": False},
        )
        places: dict[str, Position] = {}
        for sequence in range(1, 6):
            aggregate_id = FLAKE if sequence % 2 else OTHER
            one = marked(commit(aggregate_id, places.get(aggregate_id, Position(0, 0))), sequence)
            (places[aggregate_id],) = await store.append([one])


def marked(one: Commit, sequence: int) -> Commit:
    """The same with a text by which the event is found in a file."""
    (event,) = one.events
    return evolve(one, events=(evolve(event, data=text_of(sequence)),))


def text_of(sequence: int) -> bytes:
    return b'{"event":"number %d"}' % sequence


async def flipped(data: Path, sequence: int) -> None:
    flip(data, SUBJECTS.event_stream, text_of(sequence))


async def deleted(data: Path, sequence: int) -> None:
    async with log_in(data) as (_, link):
        body = {"seq": sequence, "no_erase": True}
        await call(link.requests, f"STREAM.MSG.DELETE.{SUBJECTS.event_stream}", body)


async def lost(read: Callable[[], AsyncGenerator[Slice, None]]) -> tuple[list[int], int]:
    """What a reading gives, and the event that it says to be lost."""
    given: list[int] = []

    async def take_all() -> None:
        async for part in read():
            given.extend(record.metadata.sequence for record in part.records)

    with pytest.raises(Failed) as caught:
        await take_all()
    assert caught.value.code == CORRUPT_HISTORY
    sequence: int = caught.value.details["sequence"]
    assert f"event {sequence} " in caught.value.message
    return given, sequence


@pytest.mark.parametrize("lose", [flipped, deleted])
@pytest.mark.parametrize("sequence", [1, 3, 4, 5])
async def test_a_reading_ends_at_the_first_event_that_is_lost_and_names_it(
    tmp_path: Path, lose: Lose, sequence: int
) -> None:
    await filled(tmp_path)
    await lose(tmp_path, sequence)
    before = list(range(1, sequence))
    async with log_in(tmp_path) as (store, _), asyncio.timeout(10):
        assert await lost(store.follow) == (before, sequence)
        assert await lost(store.read) == (before, sequence)
        assert await lost(lambda: store.follow(sequence - 1)) == ([], sequence)
        with pytest.raises(Failed) as caught:
            await store.event_at(sequence)
        assert caught.value.code == CORRUPT_HISTORY
        assert await store.first_lost() == sequence


@pytest.mark.parametrize("lose", [flipped, deleted])
@pytest.mark.parametrize("sequence", [1, 3])
async def test_an_aggregate_that_lacks_an_event_is_refused_at_once_and_others_are_not(
    tmp_path: Path, lose: Lose, sequence: int
) -> None:
    await filled(tmp_path)
    await lose(tmp_path, sequence)
    async with log_in(tmp_path) as (store, _), asyncio.timeout(10):
        with pytest.raises(Failed) as caught:
            await store.load("flake", FLAKE)
        assert caught.value.code == CORRUPT_HISTORY
        assert caught.value.details["sequence"] == sequence
        assert [one.metadata.sequence for one in await store.load("flake", OTHER)] == [2, 4]
        assert await store.first_lost() == sequence


async def test_an_event_that_cannot_be_read_at_the_end_of_a_history_is_missed(
    tmp_path: Path,
) -> None:
    await filled(tmp_path)
    await flipped(tmp_path, 5)
    async with log_in(tmp_path) as (store, _), asyncio.timeout(10):
        with pytest.raises(Failed) as caught:
            await store.load("flake", FLAKE)
        assert caught.value.details["sequence"] == 5


async def test_whoever_has_seen_a_deleted_event_at_the_end_hears_that_it_is_lost(
    tmp_path: Path,
) -> None:
    await filled(tmp_path)
    await deleted(tmp_path, 5)
    async with log_in(tmp_path) as (store, _), asyncio.timeout(10):
        with pytest.raises(Failed) as caught:
            await store.load("flake", FLAKE, Position(3, 5))
        assert (caught.value.code, caught.value.details["sequence"]) == (CORRUPT_HISTORY, 5)


async def test_behind_a_block_that_was_cut_nothing_is_read(tmp_path: Path) -> None:
    await filled(tmp_path)
    cut(tmp_path, SUBJECTS.event_stream, text_of(3))
    async with log_in(tmp_path) as (store, _), asyncio.timeout(10):
        (position,) = await store.append([commit(new_id())])
        assert position.sequence == 6
        assert await lost(store.follow) == ([1, 2], 3)
        assert await lost(store.read) == ([1, 2], 3)
        assert await store.first_lost() == 3


async def test_a_whole_log_has_lost_nothing(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with log_in(tmp_path) as (store, _):
        assert await store.first_lost() is None
        assert await store.event_at(6) is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"first_seq": 0, "last_seq": 0, "messages": 0}, None),
        ({"first_seq": 1, "last_seq": 3, "messages": 3}, None),
        ({"first_seq": 2, "last_seq": 3, "messages": 2}, 1),
        ({"first_seq": 4, "last_seq": 3, "messages": 0}, 1),
        ({"first_seq": 1, "last_seq": 4, "messages": 2, "deleted": [3, 2]}, 2),
    ],
)
def test_what_is_missing_shows_in_the_numbers_of_the_stream(
    state: dict[str, object], expected: int | None
) -> None:
    assert first_missing(state) == expected

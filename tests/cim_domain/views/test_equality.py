"""Whatever is committed and asked, the adapters answer alike."""

import asyncio
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.model.view import Page
from cim_domain.testing.views.conformance import Colour, Size, Thing, things
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import Change, Checkpoint, ViewDatabase, ViewStore
from cim_domain.views.sql.database import SqlViews

TEXTS = st.text(st.sampled_from("aAäÄßs%_\\ '\x00\x01\x02\u0308🚀\uffee"), max_size=4)
KEYS = TEXTS | st.sampled_from(["k1", "k2"])
ORGANIZATIONS = st.sampled_from(["", "one", "ONE"])
MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXTS,
    "number": st.integers(-2, 2) | st.integers(-(2**63), 2**63 - 1),
    "ratio": st.floats(allow_nan=False, allow_infinity=False),
    "on": st.booleans(),
    "at": MOMENTS,
    "colour": st.sampled_from(Colour),
    "size": st.sampled_from(Size),
    "note": st.none() | TEXTS,
    "rank": st.none() | st.integers(-1, 1),
    "seen": st.none() | MOMENTS,
}
THINGS = st.builds(Thing, text=TEXTS, **VALUES)
FIELDS = sorted(VALUES)
BATCHES = st.lists(
    st.dictionaries(st.tuples(ORGANIZATIONS, KEYS), st.none() | THINGS, max_size=12), max_size=4
)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    filtered = draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True))
    return {
        "where": {name: draw(VALUES[name]) for name in filtered},
        "text": draw(st.just("") | TEXTS),
        "order_by": draw(st.none() | st.sampled_from(FIELDS)),
        "descending": draw(st.booleans()),
        "limit": draw(st.integers(1, 5)),
        "skip": draw(st.integers(0, 1)),
    }


QUESTIONS = st.lists(st.tuples(ORGANIZATIONS, questions()), max_size=5)


async def answers(
    database: ViewDatabase,
    batches: Sequence[dict[tuple[str, str], Thing | None]],
    asked: Sequence[tuple[str, dict[str, Any]]],
) -> list[Any]:
    """Everything that the views say about the questions, page by page."""
    store = await database.open(things())
    for number, batch in enumerate(batches):
        changes = [Change(Thing, row, value) for row, value in batch.items()]
        await store.commit(changes, expected=number, checkpoint=Checkpoint(number + 1))
    said: list[Any] = [await store.load(Thing, {row for batch in batches for row in batch})]
    for organization, question in asked:
        said.append(await store.reader(organization).count(Thing, question["where"]))
        said.extend(await pages(store, organization, question))
    return said


async def pages(store: ViewStore, organization: str, question: dict[str, Any]) -> list[Page[Thing]]:
    found: list[Page[Thing]] = []
    while not found or found[-1].next is not None:
        after = found[-1].next if found else None
        page = await store.reader(organization).find(Thing, **question, after=after)
        found.append(page)
    return found


async def compared(
    database: ViewDatabase,
    batches: Sequence[dict[tuple[str, str], Thing | None]],
    asked: Sequence[tuple[str, dict[str, Any]]],
) -> None:
    """Fail where a database does not answer as memory does."""
    try:
        said = await answers(database, batches, asked)
    finally:
        await database.close()
    assert said == await answers(MemoryViews(), batches, asked)


@given(BATCHES, QUESTIONS)
@settings(max_examples=60, deadline=None)
def test_sqlite_answers_as_memory_does(
    batches: list[dict[tuple[str, str], Thing | None]],
    asked: list[tuple[str, dict[str, Any]]],
) -> None:
    with TemporaryDirectory() as directory:
        sqlite = SqlViews.sqlite(Path(directory) / "views.db", "nix", "log")
        asyncio.run(compared(sqlite, batches, asked))


@given(BATCHES, QUESTIONS)
@settings(max_examples=25, deadline=None)
def test_postgresql_answers_as_memory_does(
    shared: str,
    batches: list[dict[tuple[str, str], Thing | None]],
    asked: list[tuple[str, dict[str, Any]]],
) -> None:
    postgresql = SqlViews.postgresql(shared, f"d{uuid4().hex}", "log")
    asyncio.run(compared(postgresql, batches, asked))

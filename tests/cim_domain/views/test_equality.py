"""Whatever is committed and asked, the adapters answer alike."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.model.fields.conditions import Condition, Field, Ordering, field
from cim_domain.model.view import Page
from cim_domain.testing.views.conformance import Colour, Size, Thing, things
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import Change, Checkpoint, ViewDatabase, ViewStore
from cim_domain.views.sql.database import SqlViews

TEXTS = st.text(st.sampled_from("aAäÄßs%_\\ '\x00\x01\x02\u0308🚀\uffee"), max_size=4)
KEYS = TEXTS | st.sampled_from(["k1", "k2"])
ORGANIZATIONS = st.sampled_from(["", "one", "ONE"])
MOMENTS = st.datetimes(timezones=st.just(UTC))
DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, places=2, min_value=-(10**40), max_value=10**40
) | st.sampled_from([Decimal("1.5"), Decimal("1.50"), Decimal("-1E-40"), Decimal("0E+5")])
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
    "amount": DECIMALS,
    "fee": st.none() | DECIMALS,
    "day": st.dates(),
    "due": st.none() | st.dates(date(2024, 1, 30), date(2024, 2, 2)),
    "token": st.uuids() | st.just(UUID(int=1)),
}
THINGS = st.builds(Thing, text=TEXTS, **VALUES)
FIELDS = sorted(VALUES)
NUMBERS = ["number", "ratio", "rank", "amount", "fee"]
BATCHES = st.lists(
    st.dictionaries(st.tuples(ORGANIZATIONS, KEYS), st.none() | THINGS, max_size=12), max_size=4
)


def conditions(name: str) -> st.SearchStrategy[Condition]:
    """With any operator that a field has."""
    of: Field[Any] = field(getattr(Thing, name))
    values = VALUES[name].filter(lambda value: value is not None)
    ways = [
        st.just(of.is_none()),
        st.just(of.is_not_none()),
        st.builds(of.one_of, st.lists(VALUES[name], max_size=3)),
        *(st.builds(compare, values) for compare in (of.__lt__, of.__le__, of.__gt__, of.__ge__)),
        *(st.builds(compare, VALUES[name]) for compare in (of.__eq__, of.__ne__)),
    ]
    if name in {"name", "note"}:
        ways.append(st.builds(of.starts_with, TEXTS))
    return st.one_of(ways)


CONDITIONS = st.lists(st.one_of([conditions(name) for name in FIELDS]), max_size=3)
OF = {name: field(getattr(Thing, name)) for name in FIELDS}
ORDERS: st.SearchStrategy[list[Ordering]] = st.lists(
    st.sampled_from([turn for of in OF.values() for turn in (of.ascending(), of.descending())]),
    max_size=3,
    unique_by=lambda one: one.field,
)
GROUPS = st.tuples(
    st.sampled_from(list(OF.values())) | st.sampled_from(list(permutations(OF.values(), 2))),
    st.sampled_from([OF[name] for name in NUMBERS]),
)
"""By one field or two, and the field to sum."""


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    filtered = draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True))
    equal = st.fixed_dictionaries({name: VALUES[name] for name in filtered})
    return {
        "where": draw(equal | CONDITIONS),
        "text": draw(st.just("") | TEXTS),
        "order_by": draw(st.none() | st.sampled_from(FIELDS) | ORDERS),
        "descending": draw(st.booleans()),
        "limit": draw(st.integers(1, 5)),
        "skip": draw(st.integers(0, 1)),
    }


Asked = tuple[str, dict[str, Any], tuple[Any, Any]]
QUESTIONS = st.lists(st.tuples(ORGANIZATIONS, questions(), GROUPS), max_size=5)


async def answers(
    database: ViewDatabase,
    batches: Sequence[dict[tuple[str, str], Thing | None]],
    asked: Sequence[Asked],
) -> list[Any]:
    """Everything that the views say about the questions, page by page."""
    store = await database.open(things())
    for number, batch in enumerate(batches):
        changes = [Change(Thing, row, value) for row, value in batch.items()]
        await store.commit(changes, expected=number, checkpoint=Checkpoint(number + 1))
    said: list[Any] = [await store.load(Thing, {row for batch in batches for row in batch})]
    for organization, question, (by, of) in asked:
        reader, where = store.reader(organization), question["where"]
        said.append(await reader.count(Thing, where))
        said.append(await reader.count_by(Thing, by, where))
        said.append(await reader.sum_by(Thing, by, of, where))
        said.append(await reader.sum(Thing, of, where))
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
    asked: Sequence[Asked],
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
    asked: list[Asked],
) -> None:
    with TemporaryDirectory() as directory:
        sqlite = SqlViews.sqlite(Path(directory) / "views.db", "nix", "log")
        asyncio.run(compared(sqlite, batches, asked))


@given(BATCHES, QUESTIONS)
@settings(max_examples=25, deadline=None)
def test_postgresql_answers_as_memory_does(
    shared: str,
    batches: list[dict[tuple[str, str], Thing | None]],
    asked: list[Asked],
) -> None:
    postgresql = SqlViews.postgresql(shared, f"d{uuid4().hex}", "log")
    asyncio.run(compared(postgresql, batches, asked))

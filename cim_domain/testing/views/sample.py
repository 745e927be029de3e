"""The views that the tests of view databases keep; part of `cim_domain.testing.views`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest

from cim_domain.model.messages import Event
from cim_domain.model.projection import Projection, ProjectionModel
from cim_domain.model.view import View
from cim_domain.views.port import Change, Checkpoint, ViewDatabase, ViewStore


class Colour(StrEnum):
    """An enum of text."""

    RED = "red"
    BLUE = "blue"


class Size(Enum):
    """An enum of integers."""

    SMALL = 1
    LARGE = 2


NOON = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)


class Thing(
    View,
    indexed=(
        "name",
        "number",
        "ratio",
        "on",
        "at",
        "colour",
        "size",
        "note",
        "rank",
        "seen",
        "amount",
        "fee",
        "day",
        "due",
        "token",
    ),
    searched=("name", "text"),
):
    """A view with a field of every kind."""

    name: str = ""
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    on: bool = False
    at: datetime = NOON
    colour: Colour = Colour.RED
    size: Size = Size.SMALL
    note: str | None = None
    rank: int | None = None
    seen: datetime | None = None
    amount: Decimal = Decimal(0)
    fee: Decimal | None = None
    day: date = NOON.date()
    due: date | None = None
    token: UUID = UUID(int=0)
    tags: tuple[str, ...] = ()


class Other(View, indexed=("name",)):
    """A second view of the same projection, searched nowhere."""

    name: str


class Relaid(View, name="thing", indexed=("title",)):
    """The view of the same name with other fields."""

    title: str


class Stranger(View):
    """A view of no projection."""


class Made(Event, type="thing.made"):
    """An event that a later code handles."""


def things(
    version: int = 1,
    views: tuple[type[View], ...] = (Other, Thing),
    events: tuple[type[Event], ...] = (),
) -> ProjectionModel:
    """The projection whose views the suite keeps."""
    return ProjectionModel(
        projection=Projection(),
        name="things",
        version=version,
        views=views,
        events=dict.fromkeys(events, ()),
        queries={},
    )


def put(key: str, value: View, organization: str = "") -> Change:
    """A view that is there from now on."""
    return Change(type(value), (organization, key), value)


def remove(key: str, organization: str = "", view: type[View] = Thing) -> Change:
    """A view that is gone from now on."""
    return Change(view, (organization, key), None)


async def read_up_to(store: ViewStore) -> int:
    """The sequence of the last event that it has taken in."""
    return (await store.checkpoint()).sequence


async def keep(
    store: ViewStore, changes: Mapping[str, View] | Sequence[Change], organization: str = ""
) -> None:
    """Commit changes behind all that were committed before."""
    made = (
        [put(key, value, organization) for key, value in changes.items()]
        if isinstance(changes, Mapping)
        else changes
    )
    checkpoint = await read_up_to(store)
    await store.commit(made, expected=checkpoint, checkpoint=Checkpoint(checkpoint + 1))


async def names(store: ViewStore, organization: str | None = None, **asked: Any) -> list[str]:
    """The names of the things on a page."""
    reader = store.reader(organization)
    page = await reader.find(Thing, **asked)
    return [thing.name for thing in page.items]


def named(*given: str) -> dict[str, View]:
    """Things with these names, their keys in the order given."""
    return {f"{number:04}": Thing(name=name) for number, name in enumerate(given)}


def some(count: int) -> dict[str, Thing]:
    """Things with ties and with fields that are None, their keys not in the order of any field."""
    return {
        f"key {number * 7 % count:03}": Thing(
            name=f"thing {number:03}",
            number=number % 3,
            ratio=number % 5 / 4,
            at=NOON + timedelta(microseconds=number % 4),
            note=None if number % 3 else str(number % 2),
            rank=None if number % 4 == 0 else number % 3,
        )
        for number in range(count)
    }


class Database:
    """What the tests are given: the fixture `database`, and what they make of it."""

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        """The same database as after a restart; here: as it is, for those that keep nothing."""
        return database

    @pytest.fixture
    async def store(self, database: ViewDatabase) -> ViewStore:
        """The first generation of a projection."""
        return await database.open(things())

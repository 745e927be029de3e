"""Other programs read views by readable names: a view of the database for each live generation."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import sqlalchemy as sa
from attrs import evolve, frozen
from pydantic import Field

from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import View
from cim_domain.testing.views.sample import NOON, Colour, Relaid, Thing, keep, things
from cim_domain.views.port import ViewStore
from cim_domain.views.sql.database import SqlViews


@frozen
class Place:
    """A database as the service has it, and as another program does."""

    open: Callable[..., SqlViews]
    engine: sa.Engine
    schema: str | None

    def names(self) -> list[str]:
        """Of the views of the database."""
        return sorted(sa.inspect(self.engine).get_view_names(self.schema))

    def read(self, name: str) -> list[Mapping[str, Any]]:
        """All that one shows."""
        quoted = f'"{name}"' if self.schema is None else f'"{self.schema}"."{name}"'
        with self.engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {quoted}")).mappings()
            return [dict(row) for row in found]

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    path = tmp_path / "views.db"
    return Place(
        lambda log="log": SqlViews.sqlite(path, "shop", log),
        sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool),
        None,
    )


@pytest.fixture
def postgresql(shared: str) -> Place:
    domain = f"d{uuid4().hex}"
    return Place(
        lambda log="log", url=shared, **options: SqlViews.postgresql(url, domain, log, **options),
        sa.create_engine(shared, poolclass=sa.pool.NullPool),
        domain,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def database(place: Place) -> AsyncIterator[SqlViews]:
    database = place.open()
    yield database
    await database.close()


async def live(database: SqlViews, model: ProjectionModel, *texts: str) -> ViewStore:
    """A live generation that holds a thing for each text."""
    store = await database.open(model)
    if not store.live:
        await keep(store, {})
    await keep(store, {text: thing(model, text) for text in texts})
    await database.switch(store)
    return store


def thing(model: ProjectionModel, text: str) -> View:
    return Relaid(title=text) if Relaid in model.views else Thing(name=text)


async def test_they_have_the_fields_by_name_and_the_document(place, database):
    full = Thing(
        name="n" * 300,
        number=-7,
        on=True,
        colour=Colour.BLUE,
        amount=Decimal("12.50"),
        day=date(2025, 1, 31),
        token=UUID(int=7),
    )
    await keep(await database.open(things(views=(Thing,))), {"k": full}, "org")
    (row,) = place.read("things_thing")
    assert list(row) == ["organization", "key", "document", *Thing.indexed]
    assert (row["organization"], row["key"], row["name"]) == ("org", "k", "n" * 300)
    assert (row["number"], row["colour"], row["note"]) == (-7, "blue", None)
    assert orjson.loads(row["document"]) == orjson.loads(full.model_dump_json())
    typed = [row[name] for name in ("on", "at", "amount", "day", "token", "fee")]
    if place.schema is None:
        assert typed == [
            1, "2024-02-29T12:00:00.000000Z", "12.50", "2025-01-31", str(UUID(int=7)), None,
        ]  # fmt: skip
    else:
        assert typed == [True, NOON, Decimal("12.50"), date(2025, 1, 31), UUID(int=7), None]
        assert str(row["amount"]) == "12.50"
        assert row["at"].astimezone(UTC) == NOON


class OddView(View, name="odd", indexed=("key", "organization", "of", "größe", "price")):
    key: str
    organization: int
    of: str = Field(default="x" * 300, alias="100% of 'it'")
    größe: datetime | None = None  # noqa: PLC2401 - as somebody may call it
    price: Decimal = Field(default=Decimal("1.10"), alias="price %s")


async def test_fields_keep_their_names_whatever_they_are(place, database):
    odd = OddView(key="mine\x00", organization=5)
    await keep(await database.open(things(views=(OddView,))), {"k": odd})
    (row,) = place.read("things_odd")
    assert (row["row_key"], row["row_organization"]) == ("k", "")
    assert (row["key"], row["organization"]) == ("mine\x01\x02", 5)
    assert row["größe"] is None
    assert Decimal(row["price"]) == Decimal("1.10")
    assert row["of"] == "x" * 300


async def test_a_switch_keeps_the_name_and_the_generation_before_loses_its_own(place, database):
    model = things(views=(Thing,))
    await live(database, model, "old")
    assert place.names() == ["things_thing", "things_thing_1"]
    for number, name in ((2, "new"), (3, "newest")):
        rebuilt = await database.rebuild(model)
        await keep(rebuilt, {})
        await keep(rebuilt, {name: Thing(name=name)})
        await keep(rebuilt, {})
        assert place.names() == ["things_thing", f"things_thing_{number - 1}"]
        assert await database.switch(rebuilt)
        assert place.names() == ["things_thing", f"things_thing_{number}"]
        assert [row["name"] for row in place.read("things_thing")] == [name]
        assert place.read(f"things_thing_{number}") == place.read("things_thing")


async def test_versions_side_by_side_have_a_name_each_and_the_last_used_the_plain_one(
    place, database
):
    first, second = things(1, views=(Thing,)), things(2, views=(Relaid,))
    await live(database, first, "one")
    await live(database, second, "two")
    assert place.names() == ["things_thing", "things_thing_1", "things_thing_2"]
    assert [row["title"] for row in place.read("things_thing")] == ["two"]
    assert [row["name"] for row in place.read("things_thing_1")] == ["one"]
    await database.open(first)
    assert [row["name"] for row in place.read("things_thing")] == ["one"]
    await live(database, things(3, views=(Thing,)), "three")
    assert place.names() == ["things_thing", "things_thing_1", "things_thing_3"]


async def test_what_is_dropped_has_no_name(place, database):
    await live(database, things(), "one")
    (kept,) = await database.kept()
    await database.remove(kept)
    assert place.names() == []
    store = await live(database, things(), "two")
    await database.abandon(store)
    assert place.names() == []
    await database.open(things())
    assert place.names() == [
        "things_other", "things_other_3", "things_thing", "things_thing_3",
    ]  # fmt: skip


async def test_views_of_several_logs_have_names_of_their_own(place, database):
    await live(database, things(views=(Thing,)), "one")
    other = place.open("other")
    await live(other, things(views=(Thing,)), "another")
    assert [row["name"] for row in place.read("things_thing")] == ["one"]
    (named,) = set(place.names()) - {"things_thing", "things_thing_1"} - {
        name for name in place.names() if name.startswith("things_thing_1_")
    }  # fmt: skip
    assert [row["name"] for row in place.read(named)] == ["another"]
    await other.close()


async def test_names_that_mean_two_views_are_told_apart(place, database):
    one = evolve(things(views=(Thing,)), name="a_b")
    other = evolve(things(views=(Renamed,)), name="a")
    await live(database, one, "one")
    await keep(await database.open(other), {"k": Renamed()})
    plain = [name for name in place.names() if name.startswith("a_b_thing")]
    assert len(plain) == 4
    assert [row["name"] for row in place.read("a_b_thing")] == ["one"]


class Renamed(View, name="b_thing"):
    """With a projection named `a`, its readable name is that of another one."""


async def test_an_opening_changes_no_name(place, database):
    await live(database, things(views=(Thing,)), "one")
    place.run(f"DROP VIEW {'' if place.schema is None else place.schema + '.'}things_thing_1")
    await database.open(things(views=(Thing,)))
    assert place.names() == ["things_thing"]


class Grown(Thing, name="thing", indexed=(*Thing.indexed, "more")):
    """The same view with one more field."""

    more: int = 0


async def ahead(store: ViewStore) -> ViewStore:
    """The same, with a checkpoint beyond that of the others."""
    for _ in range(9):
        await keep(store, {})
    return store


async def test_what_others_made_of_a_name_and_may_do_with_it_outlives_a_switch(postgresql):
    database, model = postgresql.open(), things(views=(Thing,))
    await live(database, model, "old")
    schema, reader = postgresql.schema, f"r{uuid4().hex}"
    postgresql.run(
        f"CREATE VIEW {schema}.mine AS SELECT name, number FROM {schema}.things_thing",
        f"CREATE ROLE {reader}",
        f"GRANT SELECT ON {schema}.things_thing TO {reader}",
    )
    rebuilt = await database.rebuild(model)
    await keep(rebuilt, {})
    await keep(rebuilt, {"k": Thing(name="new")})
    await keep(rebuilt, {})
    assert await database.switch(rebuilt)
    assert [row["name"] for row in postgresql.read("mine")] == ["new"]
    grown = things(2, views=(Grown,))
    store = await database.open(grown)
    await keep(store, {"k": Grown(name="grown")})
    assert await database.switch(await ahead(store))
    assert [row["name"] for row in postgresql.read("mine")] == ["grown"]
    assert [row["more"] for row in postgresql.read("things_thing")] == [0]
    may = f"SELECT has_table_privilege('{reader}', '{schema}.things_thing', 'SELECT')"
    with postgresql.engine.connect() as connection:
        assert connection.execute(sa.text(may)).scalar_one()
    await database.close()


async def test_who_reads_a_name_for_long_holds_up_no_switch(postgresql, caplog):
    database, model = postgresql.open(patience=0.1), things(views=(Thing,))
    await live(database, model, "old")
    with postgresql.engine.connect() as reading, caplog.at_level(logging.WARNING):
        for name in ("things_thing", "things_thing_1"):
            reading.exec_driver_sql(f"SELECT * FROM {postgresql.schema}.{name}")
        assert await database.switch(await ahead(await database.rebuild(model)))
    assert "the views of things have no readable name" in caplog.text
    assert [row["name"] for row in postgresql.read("things_thing")] == ["old"]
    store = await database.open(model)
    await keep(store, {"k": Thing(name="new")})
    assert [row["name"] for row in postgresql.read("things_thing")] == ["new"]
    rebuilt = await ahead(await ahead(await database.rebuild(model)))
    assert await database.switch(rebuilt)
    assert postgresql.names() == ["things_thing", "things_thing_3"]
    await database.close()


async def test_a_name_that_somebody_has_stays_his(postgresql, caplog):
    schema = postgresql.schema
    postgresql.run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.things_thing (mine int)")
    database = postgresql.open()
    with caplog.at_level(logging.WARNING):
        store = await live(database, things(views=(Thing,)), "one")
    assert "the views of things have no readable name" in caplog.text
    assert await store.reader(None).count(Thing) == 1
    assert postgresql.read("things_thing") == []
    await database.close()


async def test_without_the_right_to_make_them_there_are_none_and_all_else_works(postgresql, caplog):
    user = f"u{uuid4().hex}"
    url = str(postgresql.engine.url).replace("cim@", f"{user}@", 1)
    postgresql.run(f"CREATE ROLE {user} LOGIN", f"GRANT CREATE ON SCHEMA public TO {user}")
    database = postgresql.open(url=url)
    with caplog.at_level(logging.WARNING):
        await live(database, things(views=(Thing,)), "one")
        rebuilt = await database.rebuild(things(views=(Thing,)))
        await keep(rebuilt, {})
        await keep(rebuilt, {"k": Thing(name="new")})
        await keep(rebuilt, {})
        assert await database.switch(rebuilt)
    assert "the views of things have no readable name" in caplog.text
    assert await rebuilt.reader(None).count(Thing) == 1
    assert postgresql.names() == []
    await database.close()

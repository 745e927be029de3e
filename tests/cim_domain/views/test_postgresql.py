"""Views in PostgreSQL."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.errors import ConfigurationError, Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import OnPoison, ProjectionRunner
from cim_domain.store.memory import MemoryEvents
from cim_domain.testing.views.conformance import (
    Thing,
    ViewsConformance,
    keep,
    named,
    names,
    put,
    things,
)
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.layout import UNFIT
from cim_domain.views.port import Checkpoint, CheckpointMoved, ViewDatabase
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.tallies import Add, TallyView, request, tally_domain


@pytest.fixture
def url(server: Any) -> str:
    return server.create_database()


class TestPostgresqlViews(ViewsConformance):
    @pytest.fixture
    async def database(self, shared: str) -> AsyncIterator[ViewDatabase]:
        self.domain = f"d{uuid4().hex}"
        self.url = shared
        self.opened = [SqlViews.postgresql(shared, self.domain, "log")]
        yield self.opened[0]
        for database in self.opened:
            await database.close()

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        await database.close()
        self.opened.append(SqlViews.postgresql(self.url, self.domain, "log"))
        return self.opened[-1]


@pytest.fixture
async def instances(url: str) -> AsyncIterator[list[SqlViews]]:
    """Two services on one database."""
    opened = [SqlViews.postgresql(url, "nix", "log") for _ in range(2)]
    yield opened
    for database in opened:
        await database.close()


async def test_instances_that_start_together_share_one_generation(
    instances: list[SqlViews],
) -> None:
    stores = await asyncio.gather(*(database.open(things()) for database in instances))
    assert [(store.generation, store.live) for store in stores] == [(1, True), (1, True)]


async def test_of_two_instances_that_commit_at_once_one_wins(instances: list[SqlViews]) -> None:
    stores = [await database.open(things()) for database in instances]
    outcomes = await asyncio.gather(
        *(
            store.commit(
                [put("k", Thing(name=str(number)))], expected=0, checkpoint=Checkpoint(number + 1)
            )
            for number, store in enumerate(stores)
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [CheckpointMoved]
    winner = outcomes.index(None)
    assert await names(stores[0]) == await names(stores[1]) == [str(winner)]


async def test_who_waits_for_a_lock_too_long_is_told(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log", patience=0.1)
    store = await database.open(things())
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        registry = sa.inspect(connection).get_table_names()
        table = next(name for name in registry if name.startswith("cim_views"))
        connection.execute(sa.text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        with pytest.raises(Unavailable) as refused:
            await keep(store, named("a"))
        assert refused.value.code == "views_locked"
    engine.dispose()
    await keep(store, named("a"))
    assert await names(store) == ["a"]
    await database.close()


async def test_a_database_that_was_made_read_only_says_so(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    await keep(await database.open(things()), named("a"))
    await database.close()
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = engine.url.database
    with engine.connect() as connection:
        connection.execute(
            sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        )
    engine.dispose()
    database = SqlViews.postgresql(url, "nix", "log")
    with pytest.raises(Unavailable, match="can be read only") as refused:
        await keep(await database.open(things()), named("b"))
    assert refused.value.code == "views_unavailable"
    await database.close()


async def test_views_work_again_once_the_server_is_back(server: Any, url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    store = await database.open(things())
    await keep(store, named("a"))
    server.stop()
    try:
        with pytest.raises(Unavailable) as refused:
            await names(store)
        assert refused.value.code == "views_unavailable"
        with pytest.raises(Unavailable):
            await store.commit([], expected=1, checkpoint=Checkpoint(2))
    finally:
        server.start()
    await keep(store, {"b": Thing(name="b")})
    assert await names(store) == ["a", "b"]
    await database.close()


async def test_sessions_that_take_no_writes_any_more_are_dropped(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    store = await database.open(things())
    await keep(store, named("a"))
    # As those that a failover has left with the server which is a standby now.
    only_reads = sa.text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    await database._threads.write(lambda connection: connection.execute(only_reads))
    with pytest.raises(Unavailable) as refused:
        await keep(store, named("b"))
    assert refused.value.code == "views_unavailable"
    await keep(store, named("b"))
    assert await names(store) == ["b"]
    await database.close()


@contextmanager
def silent(server: Any) -> Iterator[None]:
    """While all the processes of the server are stopped: connections live, and nobody answers."""
    main = int((server.directory / "data/postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    for pid in (main, *map(int, children)):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in (*map(int, children), main):
            os.kill(pid, signal.SIGCONT)


async def test_a_connection_that_dies_silently_is_noticed_by_all_and_closing_ends(
    server: Any, url: str
) -> None:
    database = SqlViews.postgresql(url, "nix", "log", patience=0.1)
    store = await database.open(things())
    await keep(store, named("a"))
    assert await names(store) == ["a"]
    with silent(server):
        ends = await asyncio.gather(
            store.checkpoint(), names(store), keep(store, named("b")), return_exceptions=True
        )
        assert [getattr(end, "code", end) for end in ends] == ["views_unavailable"] * 3
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                assert await names(store) == ["a"]
                break
    with silent(server):
        asking = asyncio.create_task(names(store))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await database.close()
        with pytest.raises(Unavailable):
            await asking


async def sleeping(store: Any, seconds: float = 60) -> None:
    await store.read(lambda connection: connection.execute(sa.select(sa.func.pg_sleep(seconds))))


async def active(url: str) -> int:
    """How many statements of others the server is at."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%'"
                " AND state = 'active' AND datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        ).scalar_one()
    engine.dispose()
    return int(found)


async def test_who_waits_no_longer_has_the_database_wait_no_longer(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    store = await database.open(things())
    await keep(store, named("a"))
    asked = [asyncio.create_task(sleeping(store)) for _ in range(5)]
    while await active(url) < 3:  # noqa: ASYNC110 - the server announces nothing
        await asyncio.sleep(0)
    # Looks, and what projections do, have threads of their own.
    async with asyncio.timeout(15):
        assert await read_up_to(store) == 1
        await keep(store, {"b": Thing(name="b")})
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    async with asyncio.timeout(15):
        assert await names(store) == ["a", "b"]
        while await active(url):  # noqa: ASYNC110 - the server announces nothing
            await asyncio.sleep(0)
    await database.close()


@pytest.mark.parametrize(
    "statement", ["SELECT 1/0", "SELECT 70000::smallint", "SELECT '1e400'::float8"]
)
async def test_a_value_that_the_database_refuses_is_no_reason_to_wait(
    url: str, statement: str
) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    with pytest.raises(Failed) as refused:
        await database._threads.write(lambda connection: connection.execute(sa.text(statement)))
    assert refused.value.code == UNFIT
    await database.close()


async def test_an_event_whose_view_the_database_refuses_is_a_dead_letter(url: str) -> None:
    database, letters, log = (
        SqlViews.postgresql(url, "sums", "log"),
        MemoryDeadLetters(),
        MemoryEvents(),
    )
    domain = tally_domain()
    (model,) = domain.projections.values()
    store = await database.open(model)
    # Narrower than the kit makes it, for every value that the kit would let pass fits.
    table = store.table(TallyView).table
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table.name} ADD CHECK (field_0 < 32768)"))
    engine.dispose()
    executor = Executor(domain, log, ReplayingRepository(domain, log), source="s")
    for name, amount in (("a", 1), ("b", 100_000), ("c", 3)):
        await executor.execute(request(domain, Add(name=name, amounts=(amount,))))
    subjects = Subjects("sums")
    runner = ProjectionRunner(
        domain, model, log, database, letters, subjects, OnPoison.SKIP
    )  # fmt: skip
    await runner.open()
    runner.start()
    await runner.reached(3, 10)
    await runner.stop()
    assert [(letter.code, letter.sequence) for letter in letters.letters] == [("cannot_project", 2)]
    reader = store.reader(None)
    assert [await reader.get(TallyView, name) is not None for name in "abc"] == [True, False, True]
    await database.close()


async def test_a_switch_leaves_views_that_are_indexed_and_analyzed(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", "log")
    await database.open(things())
    rebuilt = await database.rebuild(things())
    await keep(rebuilt, named(*map(str, range(2000))))
    table = rebuilt.table(Thing).table.name
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_indexes(table) == []
    await database.switch(rebuilt)
    with engine.connect() as connection:
        assert len(sa.inspect(connection).get_indexes(table)) == len(Thing.indexed)
        rows = connection.execute(
            sa.text("SELECT reltuples FROM pg_class WHERE relname = :table"), {"table": table}
        )
        assert rows.scalar_one() == 2000
    engine.dispose()
    await database.close()


async def test_instances_that_finish_together_make_the_indexes_once(
    instances: list[SqlViews],
) -> None:
    await instances[0].open(things())
    stores = [await database.open(things(version=2)) for database in instances]
    await keep(stores[0], named("a"))
    switched = await asyncio.gather(
        *(database.switch(store) for database, store in zip(instances, stores, strict=True))
    )
    assert switched == [True, True]
    assert [store.live for store in stores] == [True, True]


async def test_a_database_of_another_encoding_is_refused(server: Any) -> None:
    database = SqlViews.postgresql(server.create_database("SQL_ASCII"), "nix", "log")
    with pytest.raises(ConfigurationError, match="UTF8"):
        await database.open(things())
    await database.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://u:secret@h/d",
        "postgresql+pg8000://u:secret@h",
        "postgresql://u:secret@h:secret/d",
        "postgresql://u:secret@h:-1x/d",
        "postgresql://u:p@secret@h/d",
    ],
)
def test_a_url_that_does_not_fit_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SqlViews.postgresql(url, "nix", "log")
    assert "secret" not in str(refused.value)


def test_no_repr_shows_a_password() -> None:
    assert "secret" not in repr(SqlViews.postgresql("postgresql://u:secret@h/d", "nix", "log"))


async def test_views_of_several_logs_lie_side_by_side(url: str) -> None:
    databases = [SqlViews.postgresql(url, "nix", log) for log in ("one", "another")]
    stores = [await database.open(things()) for database in databases]
    for store, name in zip(stores, ("a", "b"), strict=True):
        await keep(store, named(name))
    assert [await names(store) for store in stores] == [["a"], ["b"]]
    assert [store.generation for store in stores] == [1, 1]
    rebuilt = await databases[0].rebuild(things())
    await keep(rebuilt, named("c"))
    assert await databases[0].switch(rebuilt)
    assert await names(stores[1]) == ["b"]
    await stores[1].skip(Checkpoint(2), expected=1)
    assert not await rebuilt.has_skipped(2)
    for database in databases:
        await database.close()

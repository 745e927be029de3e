"""Views in PostgreSQL behind a pooler in transaction mode: nothing may be kept in a session."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from cim_domain.testing.views.conformance import ViewsConformance, keep, named, names, things
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.port import ViewDatabase
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.views.pooler import PORT, Pooler, pooling


@pytest.fixture(scope="module")
def pooler(server: Any) -> Iterator[Pooler]:
    with pooling(server.directory) as pooler:
        yield pooler


def through(url: str) -> str:
    return f"{url}&port={PORT}"


class TestPooledViews(ViewsConformance):
    @pytest.fixture
    async def database(self, shared: str, pooler: Pooler) -> AsyncIterator[ViewDatabase]:
        before = pooler.transactions
        self.domain = f"d{uuid4().hex}"
        self.url = through(shared)
        self.opened = [SqlViews.postgresql(self.url, self.domain, "log")]
        yield self.opened[0]
        for database in self.opened:
            await database.close()
        assert pooler.transactions > before

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        await database.close()
        self.opened.append(SqlViews.postgresql(self.url, self.domain, "log"))
        return self.opened[-1]


def test_the_stand_in_keeps_nothing_from_one_transaction_to_the_next(
    shared: str, pooler: Pooler
) -> None:
    engine = sa.create_engine(through(shared), poolclass=sa.StaticPool)
    with engine.connect() as connection:
        sessions = set()
        for _ in range(4):
            with connection.begin():
                found = connection.execute(
                    sa.text("SELECT pg_backend_pid(), current_setting('lock_timeout')")
                ).one()
                connection.execute(sa.text("SET lock_timeout = 1234"))
                sessions.add(found[0])
            assert found[1] == "0"
    assert len(sessions) == 2
    engine.dispose()


@pytest.mark.usefixtures("pooler")
async def test_every_transaction_has_its_limits(server: Any) -> None:
    database = SqlViews.postgresql(through(server.create_database()), "nix", "log", patience=1.5)
    store = await database.open(things())

    def limits(connection: sa.Connection) -> list[str]:
        asked = ("lock_timeout", "statement_timeout")
        return [connection.execute(sa.text(f"SHOW {name}")).scalar_one() for name in asked]

    for _ in range(3):
        assert await database._threads.read(limits) == ["1500ms", "9s"]
        assert await database._threads.write(limits) == ["1500ms", "9s"]
        assert await database._threads.write(limits, 3600.0) == ["1500ms", "1h"]
    await keep(store, named("a"))
    await database.close()


@pytest.mark.usefixtures("pooler")
async def test_who_waits_no_longer_has_the_database_wait_no_longer(server: Any) -> None:
    database = SqlViews.postgresql(through(server.create_database()), "nix", "log")
    store: Any = await database.open(things())
    await keep(store, named("a"))
    sleep = sa.select(sa.func.pg_sleep(60))
    asked = [
        asyncio.create_task(store.read(lambda connection: connection.execute(sleep)))
        for _ in range(2)
    ]
    await asyncio.sleep(0.5)
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    # There are but two sessions, so neither of them can be asleep any more.
    async with asyncio.timeout(20):
        assert await names(store) == ["a"]
        assert await read_up_to(store) == 1
    await database.close()

"""Views that are lost, or replaced by another process, while a service runs on them."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.service.adapters import open_views, sqlite_views_path
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.testing.server import throwaway_server
from tests.cim_domain.service.servers import SUMS, Client, tallies_at

BUILDING = {"rebuilding", "views_replaced"}
"""What may be answered while they are."""


def _is_view(table: str) -> bool:
    return not table.startswith("cim_")


LOST: dict[str, Callable[[str], bool]] = {
    "views": _is_view,
    "registry": lambda table: not _is_view(table),
    "all": lambda _: True,
}


def engine_of(kept_views: str, directory: Path) -> sa.Engine:
    """The database of the views of a service."""
    if kept_views != "sqlite":
        return sa.create_engine(kept_views.replace("postgresql:", "postgresql+psycopg:"))
    path = sqlite_views_path(load_settings(data_directory=directory / "service"), "sums")
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)))


def tables_of(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def drop(engine: sa.Engine, is_lost: Callable[[str], bool]) -> None:
    # With what shows them under a readable name.
    cascade = "CASCADE" if engine.dialect.name == "postgresql" else ""
    with engine.begin() as connection:
        for table in filter(is_lost, sa.inspect(connection).get_table_names()):
            connection.exec_driver_sql(f"DROP TABLE {table} {cascade}")


async def total(client: Client, name: str, at: int = 0) -> Any:
    """What a tally comes to, once it is not built any more."""
    async with asyncio.timeout(20):
        # Nobody announces it.
        while (found := await client.total(name, at)) in BUILDING:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def generation(client: Client) -> Any:
    return (await client.service.health())["checks"]["projection.tallies"]["generation"]


@pytest.mark.parametrize("lost", LOST)
async def test_tables_that_are_gone_are_noticed_and_built_anew_while_it_runs(
    tmp_path: Path, kept_views: str, lost: str
) -> None:
    engine = engine_of(kept_views, tmp_path)
    async with (
        throwaway_server() as server,
        tallies_at(server.url, tmp_path, kept_views) as client,
    ):
        await client.add("one", 5)
        assert await client.total("one", 1) == 5
        drop(engine, LOST[lost])
        assert await total(client, "one") == 5
        await client.add("one", 2)
        assert await total(client, "one", 2) == 7
        assert await client.health() == "healthy"
    engine.dispose()


async def test_they_are_noticed_where_nobody_asks_and_nothing_comes(
    tmp_path: Path, kept_views: str
) -> None:
    engine = engine_of(kept_views, tmp_path)
    async with (
        throwaway_server() as server,
        tallies_at(server.url, tmp_path, kept_views) as client,
    ):
        await client.add("one", 5)
        assert await client.total("one", 1) == 5
        drop(engine, _is_view)
        async with asyncio.timeout(20):
            while not any(map(_is_view, tables_of(engine))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await total(client, "one") == 5
    engine.dispose()


@pytest.mark.parametrize("lost", LOST)
async def test_tables_that_went_while_it_did_not_run_are_built_anew(
    tmp_path: Path, kept_views: str, lost: str
) -> None:
    engine = engine_of(kept_views, tmp_path)
    async with throwaway_server() as server:
        async with tallies_at(server.url, tmp_path, kept_views) as client:
            await client.add("one", 5)
            assert await client.total("one", 1) == 5
        drop(engine, LOST[lost])
        async with tallies_at(server.url, tmp_path, kept_views) as client:
            assert await total(client, "one") == 5
            await client.add("one", 2)
            assert await total(client, "one", 2) == 7
    engine.dispose()


@pytest.mark.parametrize("lost", [None, *LOST])
async def test_two_instances_answer_from_what_another_process_has_built(
    tmp_path: Path, kept_views: str, lost: str | None
) -> None:
    engine = engine_of(kept_views, tmp_path)
    async with throwaway_server() as server, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(tallies_at(server.url, tmp_path, kept_views))
            for _ in range(2)
        ]
        await clients[0].add("one", 5)
        if lost is not None:
            drop(engine, LOST[lost])
        else:
            await rebuild(server.url, tmp_path, kept_views)
            async with asyncio.timeout(20):
                while [await generation(one) for one in clients] != [2, 2]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        for amount in range(1, 4):
            await clients[amount % 2].add("one", amount)
        for client in clients:
            assert await total(client, "one", 4) == 11
            assert await client.health() == "healthy"
    engine.dispose()


async def rebuild(url: str, directory: Path, kept_views: str) -> None:
    """As `projections rebuild` does."""
    nats = load_settings(url=url, data_directory=directory / "service")
    model, subjects = SUMS.projections["tallies"], Subjects("sums")
    link = await Link.open(nats, name="rebuild")
    log = JetStreamEvents(link, subjects)
    settings = load_service_settings(views=kept_views)
    database = open_views(settings, nats, SUMS, await log.identity())
    runner = ProjectionRunner(SUMS, model, log, database, MemoryDeadLetters(), subjects)
    async for _ in runner.build(await database.rebuild(model)):
        pass
    await database.close()
    await link.close()

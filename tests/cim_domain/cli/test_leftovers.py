"""What code that is gone has left behind: told by the doctor, removed on demand, never in use."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cim_domain.model.domain import Domain
from cim_domain.nats.connection.link import Link
from cim_domain.service.adapters import open_views
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import LogIdentity
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.cli.conftest import Cli, Ran
from tests.cim_domain.faulty import until
from tests.cim_domain.service.conftest import kept_views, postgresql
from tests.cim_domain.service.versions.changing import REACT, READ, SHOP, Shop, forgotten

__all__ = ["kept_views", "postgresql"]

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

BEFORE = SHOP + READ + REACT
AFTER = (SHOP + READ + REACT).replace("Refunder", "Repayer").replace("Orders(", "Sales(")

Ask = Callable[..., Awaitable[Ran]]


@pytest.fixture
def shop(nats_url: str, link: Link, tmp_path: Path, kept_views: str) -> Shop:
    return Shop(nats_url, link, tmp_path, views=kept_views)


@pytest.fixture
def ask(run: Cli, shop: Shop) -> Ask:
    """The command line has an event loop of its own, which this one must not be in the way of."""

    async def ask(*arguments: str) -> Ran:
        return await asyncio.to_thread(run, *arguments, "--json", **shop.environment)

    return ask


def warnings(ran: Ran) -> dict[str, dict[str, str]]:
    """What the doctor warns of that is left over."""
    return {
        one["name"]: one
        for one in ran.document["checks"]
        if one["status"] == "warn" and one["name"].startswith(("consumer", "views of"))
    }


async def replaced(shop: Shop) -> str:
    """Both versions have run; where the code of the later stands."""
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "1")
    async with shop.running(AFTER):
        await shop.sent("order.cancel", "2")
    return shop.place(AFTER)


@asynccontextmanager
async def views_of(shop: Shop, domain: Domain, log_id: str) -> AsyncIterator[SqlViews]:
    """The views of a log."""
    found = open_views(shop.settings, shop.nats, domain, LogIdentity(log_id, 16))
    assert isinstance(found, SqlViews)
    yield found
    await found.close()


async def test_the_doctor_tells_of_consumers_of_processes_that_are_gone(
    shop: Shop, ask: Ask
) -> None:
    place = await replaced(shop)
    left = warnings(await ask("doctor", place))["consumer process-refunder"]
    assert "1 events wait" in left["message"]
    assert "cim-domain processes remove house refunder" in left["advice"]
    listed = (await ask("processes", "list", place)).document
    assert [(one["name"], one["in_code"]) for one in listed] == [
        ("refunder", False),
        ("repayer", True),
    ]
    removed = await ask("processes", "remove", place, "refunder")
    assert (removed.code, removed.document) == (0, {"process": "refunder", "waited": 1})
    assert not [name for name in warnings(await ask("doctor", place)) if "process" in name]
    again = await ask("processes", "remove", place, "refunder")
    assert (again.code, again.document["error"]["code"]) == (1, "unknown_process")
    # The others go on.
    async with shop.running(AFTER) as (module, _):
        await shop.sent("order.cancel", "3")
        async with asyncio.timeout(10):
            await until(lambda: module.SEEN == ["3"])


async def test_a_process_that_is_in_use_is_not_removed(shop: Shop, ask: Ask) -> None:
    place = await replaced(shop)
    in_code = await ask("processes", "remove", place, "repayer")
    assert (in_code.code, in_code.document["error"]["code"]) == (1, "in_use")
    async with shop.running(BEFORE):
        runs = await ask("processes", "remove", place, "refunder")
    assert (runs.code, runs.document["error"]["code"]) == (1, "in_use")
    assert "running service" in runs.document["error"]["message"]


async def test_the_doctor_tells_of_views_of_projections_that_are_gone(shop: Shop, ask: Ask) -> None:
    place = await replaced(shop)
    left = warnings(await ask("doctor", place))["views of orders"]
    assert "cim-domain projections remove house orders" in left["advice"]
    in_use = await ask("projections", "remove", place, "sales")
    assert (in_use.code, in_use.document["error"]["code"]) == (1, "in_use")
    removed = await ask("projections", "remove", place, "orders")
    assert removed.code == 0, removed.err
    ((one,),) = [found["tables"] for found in removed.document]
    assert "views of orders" not in warnings(await ask("doctor", place))
    async with views_of(shop, shop.code(AFTER)[1], "any") as views:
        assert not await views._threads.write(lambda connection: has(connection, one))
    again = await ask("projections", "remove", place, "orders")
    assert (again.code, again.document["error"]["code"]) == (1, "unknown_projection")
    async with shop.running(AFTER):
        assert (await shop.order("2", 2))["state"] == "cancelled"


async def test_views_of_another_log_are_told_and_removed_when_that_is_said(
    shop: Shop, ask: Ask
) -> None:
    place = await replaced(shop)
    _, domain = shop.code(AFTER)
    async with views_of(shop, domain, "another-log") as views:
        await views.open(domain.projections["sales"])
    left = warnings(await ask("doctor", place))["views of log another-log"]
    assert "sales" in left["message"]
    assert "projections remove house --log another-log" in left["advice"]
    removed = await ask("projections", "remove", place, "--log", "another-log")
    assert [one["projection"] for one in removed.document] == ["sales"]
    assert "views of log another-log" not in warnings(await ask("doctor", place))
    async with shop.running(AFTER):
        assert (await shop.order("2", 2))["state"] == "cancelled"


async def test_of_the_log_at_hand_all_views_are_not_removed_at_once(shop: Shop, ask: Ask) -> None:
    place = await replaced(shop)
    log = await JetStreamEvents(shop.link, shop.subjects).identity()
    ran = await ask("projections", "remove", place, "--log", log.log_id)
    assert (ran.code, ran.document["error"]["code"]) == (1, "in_use")
    assert (await ask("projections", "remove", place)).code == 2


async def test_without_the_code_the_doctor_says_that_it_looked_for_nothing_of_that(
    shop: Shop, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replaced(shop)
    monkeypatch.chdir(shop.directory)
    ran = await ask("doctor", "house")
    checks: dict[str, Any] = {one["name"]: one for one in json.loads(ran.out)["checks"]}
    assert checks["code"]["status"] == "ok"
    assert "not here" in checks["code"]["message"]
    assert warnings(ran) == {}


def has(connection: sa.Connection, table: str) -> bool:
    return sa.inspect(connection).has_table(table)

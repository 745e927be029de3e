"""The doctor tells of events that the code does not know; views are not built without them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cim_domain.nats.connection.link import Link
from tests.cim_domain.cli.conftest import Cli, Ran
from tests.cim_domain.service.conftest import kept_views, postgresql
from tests.cim_domain.service.versions.changing import READ, SHOP, Shop, forgotten, renamed

__all__ = ["kept_views", "postgresql"]

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

CODE = SHOP + READ

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


async def filled(shop: Shop) -> None:
    async with shop.running(CODE):
        await shop.sent("order.place", "1")
        last = await shop.sent("order.cancel", "1")
        assert (await shop.order("1", last))["state"] == "cancelled"


def about_events(ran: Ran) -> list[dict[str, str]]:
    return [one for one in ran.document["checks"] if one["name"] == "events"]


async def test_the_doctor_tells_of_them(shop: Shop, ask: Ask) -> None:
    await filled(shop)
    (known,) = about_events(await ask("doctor", shop.place(CODE)))
    assert (known["status"], known["message"]) == ("ok", "2 are of types that the code has")
    (unknown,) = about_events(await ask("doctor", shop.place(renamed(CODE, ""))))
    assert unknown["status"] == "warn"
    assert "1 event of the type 'order.cancelled'" in unknown["message"]
    assert 'formerly="order.cancelled"' in unknown["advice"]


async def test_views_that_were_made_of_them_are_not_built_without_unless_that_is_said(
    shop: Shop, ask: Ask
) -> None:
    await filled(shop)
    place = shop.place(renamed(CODE, ""))
    refused = await ask("projections", "rebuild", place, "orders")
    error = refused.document["error"]
    assert (refused.code, error["code"]) == (1, "unknown_events")
    assert error["details"] == {"events": {"order.cancelled": 1}}
    assert "1 of order.cancelled" in error["message"]
    assert "--without-unknown-events" in error["message"]
    # Nothing was changed, and what knows them builds them.
    renamed_well = shop.place(renamed(CODE))
    built = await ask("projections", "rebuild", renamed_well, "orders")
    assert built.code == 0, built.err
    async with shop.running(renamed(CODE)):
        assert (await shop.order("1"))["state"] == "cancelled"
    told = await ask("projections", "rebuild", place, "orders", "--without-unknown-events")
    assert told.code == 0, told.err
    async with shop.running(renamed(CODE, "")):
        assert (await shop.order("1"))["state"] == "reserved"


async def test_others_that_it_does_not_know_are_no_reason(shop: Shop, ask: Ask) -> None:
    without = READ.replace("cancelled(self, view", "gone(self, view")
    start = without.index("    @projects(key=lambda event, _: event.number)\n    def gone")
    without = without[:start] + without[without.index("    @answers") :]
    async with shop.running(SHOP + without):
        await shop.sent("order.place", "1")
        await shop.sent("order.cancel", "1")
    built = await ask("projections", "rebuild", shop.place(renamed(SHOP, "") + without), "orders")
    assert built.code == 0, built.err

"""A projection whose code begins to handle further events, and whose version nobody has raised."""

from pathlib import Path

import pytest

from cim_domain.nats.connection.link import Link
from tests.cim_domain.service.versions.changing import READ, SHOP, Shop, forgotten

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

PLACED_ALONE = """
    @projects(key=lambda event, _: event.number)
    def cancelled(self, view: OrderView | None, event: OrderCancelled) -> OrderView:
        return OrderView(number=event.number, state="cancelled")
"""
assert PLACED_ALONE in READ


@pytest.fixture
def shop(nats_url: str, link: Link, tmp_path: Path, kept_views: str) -> Shop:
    return Shop(nats_url, link, tmp_path, views=kept_views)


async def test_its_views_have_the_past_ones_and_the_log_says_that_they_are_built_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(SHOP + READ.replace(PLACED_ALONE, "")):
        await shop.sent("order.place", "1")
        last = await shop.sent("order.cancel", "1")
        assert (await shop.order("1", last))["state"] == "reserved"
    assert "built anew" not in caplog.text
    async with shop.running(SHOP + READ):
        assert "orders handles order.cancelled now" in caplog.text
        last = await shop.sent("order.place", "2")
        assert (await shop.order("1", last))["state"] == "cancelled"
        assert (await shop.checks())["projection.orders"]["generation"] == 2
    caplog.clear()
    async with shop.running(SHOP + READ):
        assert (await shop.order("1", last))["state"] == "cancelled"
        assert (await shop.checks())["projection.orders"]["generation"] == 2
    assert "built anew" not in caplog.text

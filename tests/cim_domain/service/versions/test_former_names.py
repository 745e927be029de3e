"""Renamed events: what was stored under a former name is read wherever events are read."""

import asyncio
from pathlib import Path

import pytest

from cim_domain.inspection import causation_of, history_of
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents
from tests.cim_domain.faulty import until
from tests.cim_domain.service.versions.changing import REACT, READ, SHOP, Shop, forgotten, renamed

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

BEFORE = SHOP + READ
AFTER = renamed(SHOP + READ + REACT)


@pytest.fixture
def shop(nats_url: str, link: Link, tmp_path: Path) -> Shop:
    return Shop(nats_url, link, tmp_path, snapshot_every=2)


async def test_aggregates_projections_and_processes_read_it_under_its_name_of_today(
    shop: Shop,
) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.place", "1")
        await shop.sent("order.place", "2")
        last = await shop.sent("order.cancel", "1")
        assert (await shop.order("1", last))["state"] == "cancelled"
    async with shop.running(AFTER) as (module, _):
        refused = await shop.client.send("order.place", {"number": "1"})
        assert refused.status == "rejected"
        last = await shop.sent("order.cancel", "2")
        for number in ("1", "2"):
            assert (await shop.order(number, last))["state"] == "cancelled"
        async with asyncio.timeout(10):
            await until(lambda: len(module.SEEN) == 2)
        assert module.SEEN == ["1", "2"]


async def test_a_process_whose_consumer_passed_the_former_name_alone_goes_on(shop: Shop) -> None:
    async with shop.running(BEFORE + REACT):
        await shop.sent("order.cancel", "1")
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "2")
    async with shop.running(AFTER) as (module, _):
        await shop.sent("order.cancel", "3")
        async with asyncio.timeout(10):
            await until(lambda: {"2", "3"} <= set(module.SEEN))


async def test_views_that_are_built_anew_have_what_was_stored_under_the_former_name(
    shop: Shop,
) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "1")
    async with shop.running(AFTER.replace("(Projection)", "(Projection, version=2)")):
        # Those that stand in meanwhile do not have this one.
        last = await shop.sent("order.place", "2")
        assert (await shop.order("1", last))["state"] == "cancelled"


async def test_so_do_history_and_causation(shop: Shop) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.place", "1")
        await shop.sent("order.cancel", "1")
    module, domain = shop.code(AFTER)
    log = JetStreamEvents(shop.link, shop.subjects)
    order = domain.id_for(module.Place(number="1"))
    found = [one async for one in history_of(domain, log, "order", order)]
    assert [type(recorded.event) for recorded, _ in found] == [
        module.OrderPlaced,
        module.OrderWithdrawn,
    ]
    last, state = found[-1]
    assert getattr(state, "state", None) == "cancelled"
    # What was stored is told as it was.
    assert last.metadata.message_type == "order.cancelled"
    (command,) = await causation_of(log, last.metadata.correlation_id, domain.processes)
    assert [one.record.metadata.message_type for one in command.events] == ["order.cancelled"]


async def test_upcasters_apply_to_what_was_stored_under_the_former_name(shop: Shop) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "1")
    newer = AFTER.replace('"order.withdrawn"', '"order.withdrawn", version=2') + (
        "\n@upcasts(OrderWithdrawn, 1)\n"
        "def renumbered(old: Json) -> Json: return {'number': 'A' + old['number']}\n"
    )
    async with shop.running(newer.replace("(Projection)", "(Projection, version=2)")):
        last = await shop.sent("order.place", "2")
        assert (await shop.order("A1", last))["state"] == "cancelled"
        refused = await shop.client.send("order.place", {"number": "1"})
        assert refused.status == "rejected"


async def test_without_its_former_name_the_error_says_both_that_it_may_be(shop: Shop) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "1")
    async with shop.running(renamed(SHOP + READ, "")):
        failed = await shop.client.send("order.place", {"number": "1"})
        assert failed.error is not None
        assert failed.error.code == "unknown_event"
        assert "newer code" in failed.error.message
        assert 'formerly="order.cancelled"' in failed.error.message


async def test_of_a_renamed_aggregate_readers_by_type_go_on_and_each_begins_anew(
    shop: Shop,
) -> None:
    """Its events lie under its name and id, which another name does not lead to."""
    async with shop.running(BEFORE):
        await shop.sent("order.place", "1")
        last = await shop.sent("order.cancel", "1")
    basket = (
        (SHOP + READ + REACT)
        .replace('"order.', '"basket.')
        .replace("class Order(", "class Basket(")
    )
    basket = basket.replace('"basket.get"', '"order.get"')
    for name in ("placed", "cancelled"):
        basket = basket.replace(f'"basket.{name}")', f'"basket.{name}", formerly="order.{name}")')
    async with shop.running(basket) as (module, _):
        assert (await shop.order("1", last))["state"] == "cancelled"
        async with asyncio.timeout(10):
            await until(lambda: module.SEEN == ["1"])
        placed = await shop.client.send("basket.place", {"number": "1"})
        assert (placed.status, placed.version) == ("accepted", 1)
        assert (await shop.order("1", placed.sequence or 0))["state"] == "reserved"


async def test_an_aggregate_that_keeps_its_name_may_have_another_class(shop: Shop) -> None:
    async with shop.running(BEFORE):
        await shop.sent("order.cancel", "1")
    same = (SHOP + READ).replace('Order(Aggregate, key="number"', 'Basket(Aggregate, key="number"')
    async with shop.running(same.replace("snapshot_version=1", 'name="order"')):
        refused = await shop.client.send("order.place", {"number": "1"})
        assert refused.status == "rejected"

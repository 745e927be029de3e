"""What the domain `DOMAIN` decides and shows, without any server.

Run it where `aggregates` and `projections` are: python -m pytest tests/test_DOMAIN.py
"""

from cim_domain import Domain
from cim_domain.testing import ProjectionScenario, Scenario

from aggregates.DOMAIN.item import (
    AddItem,
    Item,
    ItemAdded,
    ItemRenamed,
    RenameItem,
)
from projections.DOMAIN.items import Items, ItemView

tea = ItemAdded(number="1", title="tea")
green_tea = ItemRenamed(number="1", title="green tea")

absent = Scenario(Item)
added = absent.given(tea)


def test_an_item_is_added() -> None:
    after = absent.when(AddItem(number="1", title="tea")).then(tea)
    assert after.state.title == "tea"


def test_an_item_is_added_once() -> None:
    added.when(AddItem(number="1", title="coffee")).then_rejected("item.exists")


def test_an_item_is_renamed() -> None:
    added.when(RenameItem(number="1", title="green tea")).then(green_tea)


def test_a_name_that_it_has_already_changes_nothing() -> None:
    added.when(RenameItem(number="1", title="tea")).then_nothing()


def test_what_is_not_there_is_not_renamed() -> None:
    absent.when(RenameItem(number="1", title="tea")).then_rejected("item.unknown")


def test_queries_see_the_latest_name() -> None:
    items = ProjectionScenario(Items()).given(tea, green_tea)
    items.then(ItemView(number="1", title="green tea"))


def test_the_domain_fits_together() -> None:
    domain = Domain.find("DOMAIN")
    assert set(domain.commands) == {"item.add", "item.rename"}
    assert set(domain.queries) == {"item.get", "item.list"}

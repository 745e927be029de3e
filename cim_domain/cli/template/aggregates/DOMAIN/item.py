"""An item: commands, events, state, and what the rules refuse. Make it your own.

No I/O, no clock and no chance in here: what varies comes in a command or its metadata.
"""

from typing import Self

from attrs import evolve, frozen
from cim_domain import Aggregate, Command, Event, Rejected, decides, evolves


class AddItem(Command, type="item.add"):
    number: str
    title: str


class RenameItem(Command, type="item.rename"):
    number: str
    title: str


class ItemAdded(Event, type="item.added"):
    number: str
    title: str


class ItemRenamed(Event, type="item.renamed"):
    number: str
    title: str


@frozen
class Item(Aggregate, key="number"):
    title: str | None = None

    @decides
    def add(self, command: AddItem) -> ItemAdded:
        if self.title is not None:
            raise Rejected("item.exists", f"there is an item {command.number} already")
        return ItemAdded(number=command.number, title=command.title)

    @decides
    def rename(self, command: RenameItem) -> ItemRenamed | None:
        if self.title is None:
            raise Rejected("item.unknown", f"there is no item {command.number}")
        if command.title == self.title:
            return None
        return ItemRenamed(number=command.number, title=command.title)

    @evolves
    def was_named(self, event: ItemAdded | ItemRenamed) -> Self:
        return evolve(self, title=event.title)

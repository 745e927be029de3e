"""A shop before an upgrade: see `shop_after`."""

from typing import Self

from attrs import evolve, frozen

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Process,
    Projection,
    View,
    decides,
    evolves,
    projects,
    reacts,
)


class Place(Command, type="order.place"):
    number: str


class Ship(Command, type="order.ship"):
    number: str


class Placed(Event, type="order.placed"):
    number: str


class Shipped(Event, type="order.shipped"):
    number: str


@frozen
class Order(Aggregate, key="number"):
    shipped: bool = False

    @decides
    def place(self, command: Place) -> Placed:
        return Placed(number=command.number)

    @decides
    def ship(self, command: Ship) -> Shipped | None:
        return None if self.shipped else Shipped(number=command.number)

    @evolves
    def was_placed(self, event: Placed) -> Self:
        return self

    @evolves
    def was_shipped(self, event: Shipped) -> Self:
        return evolve(self, shipped=True)


class OrderView(View, name="order"):
    number: str


class Orders(Projection):
    @projects
    def placed(self, view: OrderView | None, event: Placed) -> OrderView:
        return OrderView(number=event.number)


class Packer(Process):
    @reacts
    async def ship(self, event: Placed) -> Ship:
        return Ship(number=event.number)


def shop() -> Domain:
    return Domain("shop", aggregates=[Order], projections=[Orders()], processes=[Packer()])

"""The shop of `shop_before` after an upgrade.

Orders have a quantity, so what is placed is of a new version; and they can be refunded, which is a
new command, a new event, and something to react to.
"""

from typing import Self

from attrs import evolve, frozen

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Json,
    Process,
    Projection,
    View,
    decides,
    evolves,
    projects,
    reacts,
    upcasts,
)


class Place(Command, type="order.place"):
    number: str
    quantity: int = 1


class Ship(Command, type="order.ship"):
    number: str


class Refund(Command, type="order.refund"):
    number: str


class Close(Command, type="order.close"):
    number: str


class Placed(Event, type="order.placed", version=2):
    number: str
    quantity: int


@upcasts(Placed, 1)
def of_one(old: Json) -> Json:
    return {**old, "quantity": 1}


class Shipped(Event, type="order.shipped"):
    number: str


class Refunded(Event, type="order.refunded"):
    number: str


class Closed(Event, type="order.closed"):
    number: str


@frozen
class Order(Aggregate, key="number"):
    shipped: bool = False

    @decides
    def place(self, command: Place) -> Placed:
        return Placed(number=command.number, quantity=command.quantity)

    @decides
    def ship(self, command: Ship) -> Shipped | None:
        return None if self.shipped else Shipped(number=command.number)

    @decides
    def refund(self, command: Refund) -> Refunded:
        return Refunded(number=command.number)

    @decides
    def close(self, command: Close) -> Closed:
        return Closed(number=command.number)

    @evolves
    def was_placed(self, event: Placed) -> Self:
        return self

    @evolves
    def was_shipped(self, event: Shipped) -> Self:
        return evolve(self, shipped=True)

    @evolves
    def was_refunded(self, event: Refunded) -> Self:
        return self

    @evolves
    def was_closed(self, event: Closed) -> Self:
        return self


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

    @reacts
    async def close(self, event: Refunded) -> Close:
        return Close(number=event.number)


def shop(*, reacting: bool = True) -> Domain:
    """Where it is not `reacting`, its process leaves what happens to others."""
    processes = [Packer()] if reacting else []
    return Domain("shop", aggregates=[Order], projections=[Orders()], processes=processes)

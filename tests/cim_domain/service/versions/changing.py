"""A shop whose code changes from one run to the next, on one log and with views that stay."""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from cim_domain import Domain
from cim_domain.client import DomainClient
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.model.models import compose, load_model

SHOP = """
class Place(Command, type="order.place"):
    number: str

class Cancel(Command, type="order.cancel"):
    number: str

class OrderPlaced(Event, type="order.placed"):
    number: str

class OrderCancelled(Event, type="order.cancelled"):
    number: str

@frozen
class Order(Aggregate, key="number", snapshot_version=1):
    state: str = "none"

    @decides
    def place(self, command: Place) -> OrderPlaced | None:
        if self.state == "cancelled":
            raise Rejected("order.cancelled", "it was cancelled")
        return OrderPlaced(number=command.number)

    @decides
    def cancel(self, command: Cancel) -> OrderCancelled:
        return OrderCancelled(number=command.number)

    @evolves
    def placed(self, event: OrderPlaced) -> Self:
        return evolve(self, state="reserved")

    @evolves
    def cancelled(self, event: OrderCancelled) -> Self:
        return evolve(self, state="cancelled")
"""

READ = """
class OrderView(View, name="order", indexed=("number",)):
    number: str
    state: str

class GetOrder(Query, type="order.get"):
    number: str

class Orders(Projection):
    @projects(key=lambda event, _: event.number)
    def placed(self, view: OrderView | None, event: OrderPlaced) -> OrderView:
        return OrderView(number=event.number, state="reserved")

    @projects(key=lambda event, _: event.number)
    def cancelled(self, view: OrderView | None, event: OrderCancelled) -> OrderView:
        return OrderView(number=event.number, state="cancelled")

    @answers
    async def get(self, query: GetOrder, views: Views) -> OrderView | None:
        return await views.first(OrderView, number=query.number)
"""

REACT = """
SEEN = []

class Refunder(Process, history=True):
    @reacts
    async def refund(self, event: OrderCancelled) -> None:
        SEEN.append(event.number)
"""

RENAMED = {"OrderCancelled": "OrderWithdrawn", '"order.cancelled")': '"order.withdrawn"{})'}
KEPT_NAME = ', formerly=("order.cancelled",)'


def renamed(code: str, formerly: str = KEPT_NAME) -> str:
    """The code with the event that an order was cancelled called another name."""
    for old, new in RENAMED.items():
        code = code.replace(old, new.format(formerly) if "{}" in new else new)
    return code


class Shop:
    """What lies below all versions of the code: a log, and the directory of the views."""

    def __init__(self, nats_url: str, link: Link, directory: Path, **settings: Any) -> None:
        prefix = f"t{uuid4().hex[:12]}"
        self.url = nats_url
        self.directory = directory
        self.link = link
        self.nats = load_settings(
            url=nats_url, subject_prefix=prefix, data_directory=directory / "data"
        )
        self.settings = load_service_settings(**{"views": "sqlite", "cache": 0, **settings})
        self.subjects = Subjects("house", prefix)
        self.client = DomainClient(link, self.subjects, retry=5)

    def code(self, text: str) -> tuple[ModuleType, Domain]:
        """A module of this code, and the domain that it is."""
        module = load_model(self.directory, text)
        domain = compose(module)
        vars(module)["house"] = domain
        return module, domain

    def place(self, text: str) -> str:
        """Where such code stands, as the command line is told it."""
        return f"{self.code(text)[0].__name__}:house"

    @property
    def environment(self) -> dict[str, str]:
        """The settings, for the command line."""
        return {
            "NATS_URL": self.url,
            "NATS_SUBJECT_PREFIX": self.nats.subject_prefix,
            "NATS_DATA_DIRECTORY": str(self.nats.data_directory),
            "CIM_DOMAIN_VIEWS": self.settings.views.get_secret_value(),
        }

    @asynccontextmanager
    async def running(self, text: str) -> AsyncIterator[tuple[ModuleType, Service]]:
        """A service of this code."""
        module, domain = self.code(text)
        async with Service(domain, self.nats, self.settings) as service:
            yield module, service

    async def sent(self, command: str, number: str) -> int:
        """The sequence of the event that a command led to."""
        outcome = await self.client.send(command, {"number": number})
        assert outcome.error is None, outcome.error
        assert outcome.sequence is not None
        return outcome.sequence

    async def order(self, number: str, sequence: int = 0) -> Any:
        """What the views say of an order, the event at a sequence being in there."""
        asked = {"number": number}
        return (await self.client.ask("order.get", asked, min_sequence=sequence)).json()

    async def checks(self) -> Mapping[str, Mapping[str, Any]]:
        """What health says of each part."""
        found: Mapping[str, Mapping[str, Any]] = (await self.client.health())["checks"]
        return found


def forgotten() -> Iterator[None]:
    """Around a test: what it loaded is not there for the next one."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("doors_"):
            del sys.modules[name]

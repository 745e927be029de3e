"""A small domain for the tests of the kit: tallies that are added to."""

from datetime import datetime
from typing import Self
from uuid import UUID, uuid4

from attrs import evolve, frozen

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Metadata,
    NotFound,
    Projection,
    Query,
    Rejected,
    View,
    Views,
    answers,
    decides,
    evolves,
    projects,
)
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.decoding import request_for
from cim_domain.model.metadata import utc_now

LIMIT = 1_000_000


class Add(Command, type="tally.add"):
    """Add each of the amounts, one event each. A negative one is rejected, 0 is a mistake."""

    name: str
    amounts: tuple[int, ...] = (1,)
    note: str = ""


class Rename(Command, type="tally.rename"):
    name: str
    title: str


class Added(Event, type="tally.added"):
    name: str
    amount: int
    note: str = ""


class Renamed(Event, type="tally.renamed"):
    title: str


@frozen
class Tally(Aggregate, key="name"):
    total: int = 0
    title: str = ""
    notes: tuple[str, ...] = ()
    changed: datetime | None = None

    @decides
    def add(self, command: Add) -> list[Added]:
        if any(amount < 0 for amount in command.amounts):
            raise Rejected("tally.negative", f"{command.name} only grows")
        if self.total + sum(command.amounts) > LIMIT:
            raise Rejected("tally.full", f"{command.name} is full", total=self.total)
        return [
            Added(name=command.name, amount=amount // bool(amount), note=command.note)
            for amount in command.amounts
        ]

    @decides
    def rename(self, command: Rename) -> Renamed | None:
        return None if command.title == self.title else Renamed(title=command.title)

    @evolves
    def was_added_to(self, event: Added, metadata: Metadata) -> Self:
        return evolve(
            self,
            total=self.total + event.amount,
            notes=(*self.notes, event.note),
            changed=metadata.timestamp,
        )

    @evolves
    def was_renamed(self, event: Renamed, metadata: Metadata) -> Self:
        return evolve(self, title=event.title, changed=metadata.timestamp)


class TallyView(View, name="tally", indexed=("total",)):
    name: str
    total: int
    events: int


class GetTally(Query, type="tally.get", aliases=("sum.get",)):
    name: str


class ListNames(Query, type="tally.names"):
    pass


class Tallies(Projection):
    @projects(key=lambda event, _: event.name)
    def added(self, view: TallyView | None, event: Added) -> TallyView:
        before, events = (view.total, view.events) if view else (0, 0)
        return TallyView(name=event.name, total=before + event.amount, events=events + 1)

    @answers
    async def get(self, query: GetTally, views: Views) -> TallyView:
        found = await views.get(TallyView, query.name)
        if found is None:
            raise NotFound(f"there is no tally {query.name}")
        return found

    @answers
    async def names(self, query: ListNames, views: Views) -> list[str]:
        return [one.name for one in (await views.find(TallyView, order_by="total")).items]


def tally_domain() -> Domain:
    return Domain("sums", aggregates=[Tally], projections=[Tallies()])


def request(
    domain: Domain,
    command: Command,
    command_id: str | None = None,
    *,
    expected_version: int | None = None,
    organization: str | None = None,
) -> CommandRequest:
    """The command as a root, with an id of its own unless one is given."""
    metadata = Metadata.root(
        command_id or str(uuid4()), command.message_type, utc_now(), "test", organization
    )
    return request_for(domain, command, metadata, expected_version)


def numbered(number: int) -> str:
    """The id that is a number."""
    return str(UUID(int=number))

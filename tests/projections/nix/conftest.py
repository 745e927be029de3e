"""The domain without a service: commands are decided, their events projected, queries answered."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from attrs import evolve

from cim_domain import Domain, Event, Metadata, caused_id
from cim_domain.identity import aggregate_id
from cim_domain.model.aggregate import Aggregate
from cim_domain.model.metadata import Recorded
from cim_domain.model.view import View
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import Change, Checkpoint, ViewStore

START = datetime(2026, 1, 1, tzinfo=UTC)


class ReadSide:
    """All projections of the domain over views in memory, fed by the domain's own aggregates.

    The n-th event is stored n seconds after `START`.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.log: list[Recorded[Any]] = []
        self._commands = 0
        self._states: dict[str, tuple[Aggregate, int]] = {}
        self._database = MemoryViews()
        self._stores: dict[str, ViewStore] = {}

    async def send(self, type_: str, organization: str | None = None, **fields: Any) -> list[Event]:
        """Decide about a command, given as a client's JSON, and project the events."""
        command = self.domain.commands[type_].from_wire(orjson.dumps(fields))
        model = self.domain.aggregate_of(type(command))
        id_ = self.domain.id_for(command, organization)
        self._commands += 1
        cause = Metadata.root(str(UUID(int=self._commands)), type_, START, "test", organization)
        state, version = self._states.get(id_, (model.initial, 0))
        events = list(model.decide(state, command, cause))
        for index, event in enumerate(events):
            version += 1
            sequence = len(self.log) + 1
            metadata = evolve(
                cause.causing(
                    caused_id(cause.message_id, index),
                    event.message_type,
                    START + timedelta(seconds=sequence),
                ),
                aggregate_id=id_,
                aggregate_version=version,
                sequence=sequence,
            )
            stored = type(event).from_log(event.to_wire(), event.schema_version)
            state = model.evolve(state, stored, metadata)
            self.log.append(Recorded(stored, metadata))
            await self._project(stored, metadata)
        self._states[id_] = (state, version)
        return events

    async def ask(self, type_: str, organization: str | None = None, **fields: Any) -> Any:
        """The JSON that answers a query, given as a client's JSON."""
        model, answer = self.domain.queries[type_]
        query = answer.query.from_wire(orjson.dumps(fields))
        store = await self._store(model.name)
        metadata = Metadata.root(str(UUID(int=0)), type_, START, "test", organization)
        return orjson.loads(await answer.ask(query, store.reader(organization), metadata))

    async def pages(self, type_: str, **fields: Any) -> list[Any]:
        """The items of all pages of a list, asked for one after the other."""
        page = await self.ask(type_, **fields)
        items = page["items"]
        while page["next"] is not None:
            page = await self.ask(type_, **fields, after=page["next"])
            items += page["items"]
        return items

    async def view(self, projection: str, view: type[View], key: str) -> View | None:
        """A view as its projection keeps it, which no query may show."""
        return await (await self._store(projection)).reader(None).get(view, key)

    def id_of(self, aggregate: str, *key: str, organization: str | None = None) -> str:
        return aggregate_id("nix", organization, aggregate, key)

    async def _project(self, event: Event, metadata: Metadata) -> None:
        for model in self.domain.projections.values():
            changes = {}
            store = await self._store(model.name)
            for projector in model.events.get(type(event), ()):
                for key in projector.keys(event, metadata):
                    row = (metadata.organization_id or "", key)
                    view = (await store.load(projector.view, [row])).get(row)
                    value = projector.change(view, event, metadata, key)
                    changes[projector.view, row] = Change(projector.view, row, value)
            await store.commit(
                list(changes.values()),
                expected=metadata.sequence - 1,
                checkpoint=Checkpoint(metadata.sequence, metadata.message_id),
            )

    async def _store(self, name: str) -> ViewStore:
        if name not in self._stores:
            self._stores[name] = await self._database.open(self.domain.projections[name])
        return self._stores[name]


def time(sequence: int) -> str:
    """When the n-th event was stored, as JSON has it."""
    return (START + timedelta(seconds=sequence)).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="session")
def domain() -> Domain:
    return Domain.find("nix")


@pytest.fixture(scope="session")
def new_read_side(domain: Domain) -> Callable[[], ReadSide]:
    """Makes one, for tests that need many."""
    return lambda: ReadSide(domain)


@pytest.fixture
def nix(new_read_side: Callable[[], ReadSide]) -> ReadSide:
    return new_read_side()


@pytest.fixture(scope="session")
def at() -> Callable[[int], str]:
    return time


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Runs a coroutine to its end, for tests whose examples hypothesis makes."""
    return asyncio.run

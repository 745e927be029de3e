"""A small domain whose commands can be refused, or have nothing to do, and be fine later."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Domain, Event, Rejected, decides, evolves
from cim_domain.commands.executor import Executor
from cim_domain.commands.idempotency import IdempotencyStore
from cim_domain.commands.idempotency_bucket import BucketIdempotencyStore, open_idempotency_store
from cim_domain.commands.repository import (
    CachingRepository,
    GuessingRepository,
    ReplayingRepository,
)
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventStore


class Open(Command, type="door.open"):
    name: str = "front"


class Close(Command, type="door.close"):
    name: str = "front"


class Enter(Command, type="door.enter"):
    """`note` is repeated where it is refused; entering 0 times is a mistake."""

    name: str = "front"
    note: str = ""
    times: int = 1


class Opened(Event, type="door.opened"):
    pass


class Closed(Event, type="door.closed"):
    pass


class Entered(Event, type="door.entered"):
    pass


@frozen
class Door(Aggregate, key="name"):
    is_open: bool = False

    @decides
    def open(self, _: Open) -> Opened | None:
        return None if self.is_open else Opened()

    @decides
    def close(self, _: Close) -> Closed | None:
        return Closed() if self.is_open else None

    @decides
    def enter(self, command: Enter) -> Entered:
        if 1 // command.times and not self.is_open:
            raise Rejected("door.closed", f"{command.name} is closed", note=command.note)
        return Entered()

    @evolves
    def was_opened(self, _: Opened) -> Self:
        return evolve(self, is_open=True)

    @evolves
    def was_closed(self, _: Closed) -> Self:
        return evolve(self, is_open=False)

    @evolves
    def was_entered(self, _: Entered) -> Self:
        return self


DOORS = Domain("doors", aggregates=[Door])


def service_on(settings: NatsSettings, **options: Any) -> Service:
    """A service of the domain; `options` are those of `ServiceSettings`."""
    return Service(DOORS, settings, load_service_settings(views="memory", **options))


def instance(store: EventStore, refusals: IdempotencyStore | None) -> Executor:
    """An instance with a cache of its own."""
    repository = CachingRepository(GuessingRepository(ReplayingRepository(DOORS, store)))
    return Executor(DOORS, store, repository, source="cim-domain-doors", refusals=refusals)


@asynccontextmanager
async def instance_on(
    settings: NatsSettings, subjects: Subjects
) -> AsyncIterator[tuple[Executor, BucketIdempotencyStore]]:
    """An instance with a connection of its own, on a server where the log is already."""
    async with AsyncExitStack() as stack:
        link = await Link.open(settings, name="instance")
        stack.push_async_callback(link.close)
        refusals = await open_idempotency_store(stack, link, subjects, kept=600, patience=5)
        yield instance(JetStreamEvents(link, subjects), refusals), refusals

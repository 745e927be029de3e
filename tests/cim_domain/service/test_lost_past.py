"""The log alone is brought back from an older copy: nothing is answered of what it lacks."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import field, frozen

from cim_domain import Domain, Metadata, Process, reacts
from cim_domain.client import DomainClient
from cim_domain.errors import NotFound
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.idempotency.doors import Door, Opened
from tests.cim_domain.faulty import until

EVENTS = "DOORS_EVENTS"


class Alarm(Process):
    """Notes which doors were opened, by the events' places in the log."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @reacts
    async def ring(self, _: Opened, metadata: Metadata) -> None:
        self.seen.append(metadata.sequence)


@frozen
class World:
    """A server whose data stay, and a service of doors on it, for as long as one is needed."""

    directory: Path
    alarm: Alarm = field(factory=Alarm)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DomainClient]:
        options = ServerOptions(data_directory=self.directory / "data", port=0, sync_always=False)
        async with EmbeddedServer(options) as server:
            nats = load_settings(url=server.url, data_directory=self.directory / "service")
            link = await Link.open(nats, name="client")
            try:
                doors = Domain("doors", aggregates=[Door], processes=[self.alarm])
                async with Service(doors, nats, load_service_settings(views="memory")):
                    yield DomainClient(link, Subjects("doors"), retry=2)
            finally:
                await link.close()

    @property
    def _log(self) -> Path:
        (found,) = (self.directory / "data").rglob(f"streams/{EVENTS}")
        return found

    def copy(self) -> None:
        """Keep the log as it is now."""
        shutil.copytree(self._log, self.directory / "copy")

    def restore(self, part: str = "") -> None:
        """Bring the log back, or a part of it, and nothing else."""
        log = self._log / part
        shutil.rmtree(log)
        shutil.copytree(self.directory / "copy" / part, log)

    async def heard(self, *places: int) -> None:
        """Return once the alarm has rung for these doors alone, and forget it."""
        async with asyncio.timeout(20):
            await until(lambda: len(self.alarm.seen) >= len(places))
        assert self.alarm.seen == list(places)
        self.alarm.seen.clear()

    def begin_anew(self) -> None:
        """Have no log any more."""
        shutil.rmtree(self._log)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def sent(client: DomainClient, command: str, command_id: str | None = None) -> Outcome:
    return await client.send(command, {}, command_id=command_id)


async def state(client: DomainClient, command_id: str, **known: Any) -> str:
    try:
        return (await client.status(command_id, **known)).state
    except NotFound:
        return "unknown"


async def test_what_was_refused_or_had_nothing_to_do_by_lost_events_is_decided_anew(
    world: World,
) -> None:
    before, refused, idle, closing = (str(uuid4()) for _ in range(4))
    async with world.running() as client:
        assert (await sent(client, "door.enter", before)).status == "rejected"
        await sent(client, "door.open")
    world.copy()
    async with world.running() as client:
        assert (await sent(client, "door.open", idle)).events == ()
        await sent(client, "door.close")
        assert (await sent(client, "door.enter", refused)).status == "rejected"
        assert (await sent(client, "door.close", closing)).events == ()
        # Again, with all events that they were decided on.
        assert (await sent(client, "door.enter", refused)).status == "rejected"
    world.restore()
    async with world.running() as client:
        assert (await sent(client, "door.enter", refused)).status == "accepted"
        assert (await sent(client, "door.enter", refused)).status == "accepted"
        # These came of what the copy has.
        assert (await sent(client, "door.enter", before)).status == "rejected"
        assert (await sent(client, "door.open", idle)).events == ()
        closed = await sent(client, "door.close", closing)
        assert [one.type for one in closed.events] == ["door.closed"]


async def test_of_a_log_that_was_made_anew_nothing_is_known(world: World) -> None:
    refused = str(uuid4())
    async with world.running() as client:
        assert (await sent(client, "door.enter", refused)).status == "rejected"
    world.begin_anew()
    async with world.running() as client:
        await sent(client, "door.open")
        assert (await sent(client, "door.enter", refused)).status == "accepted"


async def test_what_came_of_a_stored_command_is_not_told_without_its_events(world: World) -> None:
    async with world.running() as client:
        kept = await client.submit("door.open", {})
        await client.wait_for(kept.command_id, timeout=20)
    world.copy()
    async with world.running() as client:
        lost = await client.submit("door.close", {})
        await client.wait_for(lost.command_id, timeout=20)
        assert await state(client, lost.command_id) == "accepted"
    world.restore()
    async with world.running() as client:
        assert await state(client, kept.command_id) == "accepted"
        assert await state(client, lost.command_id) == "unknown"
        again = await client.submit("door.close", {}, command_id=lost.command_id)
        done = await client.wait_for(again.command_id, timeout=20)
        assert done.outcome is not None
        assert [one.type for one in done.outcome.events] == ["door.closed"]


@pytest.mark.parametrize("part", ["", "msgs"], ids=["all of it", "its events alone"])
async def test_processes_react_to_what_comes_after_the_copy_and_to_nothing_twice(
    world: World, part: str
) -> None:
    async with world.running() as client:
        await opened(client, "front")
        await world.heard(1)
    world.copy()
    async with world.running() as client:
        for door in ("back", "side", "cellar"):
            await opened(client, door)
        await world.heard(2, 3, 4)
    world.restore(part)
    async with world.running() as client:
        await opened(client, "attic")
        await world.heard(2)
        await opened(client, "back")
        await world.heard(3)


async def opened(client: DomainClient, name: str) -> None:
    assert (await client.send("door.open", {"name": name})).events

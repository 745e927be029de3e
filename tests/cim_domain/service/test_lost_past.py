"""The log alone is brought back from an older copy: nothing is answered of what it lacks."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import frozen

from cim_domain.client import DomainClient
from cim_domain.errors import NotFound
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.idempotency.doors import DOORS

EVENTS = "DOORS_EVENTS"


@frozen
class World:
    """A server whose data stay, and a service of doors on it, for as long as one is needed."""

    directory: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DomainClient]:
        options = ServerOptions(data_directory=self.directory / "data", port=0, sync_always=False)
        async with EmbeddedServer(options) as server:
            nats = load_settings(url=server.url, data_directory=self.directory / "service")
            link = await Link.open(nats, name="client")
            try:
                async with Service(DOORS, nats, load_service_settings(views="memory")):
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

    def restore(self) -> None:
        """Bring the log back, and nothing else."""
        log = self._log
        shutil.rmtree(log)
        shutil.copytree(self.directory / "copy", log)

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

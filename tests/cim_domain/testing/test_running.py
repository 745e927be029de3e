"""A domain that runs for a test, and waiting until it has come to rest."""

import asyncio
from datetime import timedelta

import pytest

from cim_domain import Domain, Process, Projection, View, projects, reacts
from cim_domain.testing import ManualClock, running
from cim_domain.testing.messages import START
from tests.cim_domain.service.notes import (
    GetNote,
    Note,
    Notes,
    NoteStamped,
    NoteView,
    NoteWritten,
    Stamping,
    StampNote,
    WriteNote,
    notes,
)


class Slow(Process):
    """Stamps a note once it may, and a stamped one again, three times in all."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.stamped = 0

    @reacts
    async def written(self, event: NoteWritten) -> StampNote:
        await self.gate.wait()
        return StampNote(name=event.name)

    @reacts
    async def again(self, event: NoteStamped) -> StampNote | None:
        self.stamped += 1
        return StampNote(name=event.name) if self.stamped < 3 else None


async def test_settled_views_have_all_that_followed(nats_url: str) -> None:
    async with running(notes(), url=nats_url) as town:
        await town.client.send(WriteNote(name="a"), actor_id="ann")
        await town.settled()
        found = await town.client.ask(GetNote(name="a"), NoteView)
    assert found == NoteView(name="a", written_by="ann", stamped_by="ann")


async def test_it_waits_for_reactions_to_reactions(nats_url: str) -> None:
    slow = Slow()
    domain = Domain("notes", aggregates=[Note], processes=[slow])
    async with running(domain, url=nats_url) as town:
        await town.client.send(WriteNote(name="a"))
        waiting = asyncio.create_task(town.settled())
        with pytest.raises(AssertionError, match=r"not settled within 0\.3 s:\s+process.slow"):
            await town.settled(timeout=0.3)
        assert not waiting.done()
        slow.gate.set()
        await waiting
        assert slow.stamped == 3


async def test_a_stored_command_is_waited_for_and_a_scheduled_one_is_not(nats_url: str) -> None:
    async with running(notes(), url=nats_url) as town:
        await town.client.schedule(WriteNote(name="b"), after=3600)
        await town.client.submit(WriteNote(name="a"))
        await town.settled()
        types = [one.metadata.message_type async for one in town.client.events()]
    assert types == ["note.written", "note.stamped"]


class Row(View):
    name: str


class Stopping(Projection):
    @projects
    def written(self, _: Row | None, event: NoteWritten) -> Row:
        raise ValueError(event.name)


async def test_what_has_stopped_for_good_is_told_at_once(nats_url: str) -> None:
    domain = Domain("notes", aggregates=[Note], projections=[Stopping()])
    async with running(domain, url=nats_url) as town:
        await town.client.send(WriteNote(name="a"))
        with pytest.raises(AssertionError, match=r"will not settle: projection.stopping.*stopped"):
            await town.settled()


async def test_its_clock_is_the_test_s(nats_url: str) -> None:
    clock = ManualClock()
    clock.advance(timedelta(days=1))
    domain = Domain("notes", aggregates=[Note], projections=[Notes()], processes=[Stamping()])
    async with running(domain, url=nats_url, clock=clock) as town:
        await town.client.send(WriteNote(name="a"))
        await town.settled()
        times = [one.metadata.timestamp async for one in town.client.events()]
    assert times == [START + timedelta(days=1)] * 2


async def test_it_brings_a_server_where_there_is_none() -> None:
    async with running(notes()) as town:
        assert (await town.client.send(WriteNote(name="a"))).status == "accepted"
        await town.settled()

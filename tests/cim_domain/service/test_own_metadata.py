"""Who did it, and what else a client said: from a command to all that follows from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cim_domain.client import DomainClient
from cim_domain.errors import Invalid
from cim_domain.inspection import causation
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.service.notes import AskWho, GetNote, WriteNote, notes

META = {"Request-ID": "7", "ip": "10.0.0.1"}


@pytest.fixture
async def client(
    nats_url: str, subjects: Subjects, link: Link, tmp_path: Path
) -> AsyncIterator[DomainClient]:
    """A client of a service of the notes."""
    settings = load_settings(subject_prefix=subjects.prefix, data_directory=tmp_path)
    memory = load_service_settings(views="memory")
    async with Service(notes(), settings, memory, url=nats_url):
        yield DomainClient(link, Subjects("notes", subjects.prefix), retry=0)


async def both(client: DomainClient) -> list[EventRecord]:
    """The events of a note, once the process has reacted."""
    async with asyncio.timeout(30), aclosing(client.follow()) as records:
        return [await anext(records), await anext(records)]


async def test_they_go_from_a_command_to_its_events_and_to_what_those_cause(
    client: DomainClient,
) -> None:
    done = await client.send(WriteNote(name="a"), actor_id="ann", meta=META)
    assert done.status == "accepted"
    for record in await both(client):
        assert (record.metadata.actor_id, record.metadata.meta) == ("ann", META)


async def test_views_are_made_of_them(client: DomainClient) -> None:
    await client.send(WriteNote(name="a"), actor_id="ann", meta=META)
    await both(client)
    found = await client.ask(GetNote(name="a"), min_sequence=2)
    assert found.json() == {
        "name": "a", "written_by": "ann", "stamped_by": "ann", "request": "7"
    }  # fmt: skip


async def test_queries_have_them_too(client: DomainClient) -> None:
    found = await client.ask(AskWho(), actor_id="bob", meta=META, organization_id="acme")
    assert found.json() == {
        "actor": "bob", "meta": META, "type": "note.who", "organization": "acme"
    }  # fmt: skip


async def test_of_a_command_without_them_nothing_has_them(client: DomainClient) -> None:
    await client.send(WriteNote(name="a"))
    for record in await both(client):
        assert (record.metadata.actor_id, record.metadata.meta) == (None, {})


async def test_stored_and_scheduled_commands_keep_them(client: DomainClient) -> None:
    stored = await client.submit(WriteNote(name="a"), actor_id="ann", meta=META)
    await client.wait_for(stored.command_id, timeout=30)
    later = await client.schedule(WriteNote(name="b"), after=0, actor_id="bob", meta=META)
    await client.wait_for(later.command_id, timeout=30)
    written = [
        record.metadata
        async for record in client.events()
        if record.metadata.message_type == "note.written"
    ]
    assert [(one.actor_id, one.meta) for one in written] == [("ann", META), ("bob", META)]


async def test_causation_tells_who_did_it(client: DomainClient) -> None:
    await client.send(WriteNote(name="a"), actor_id="ann")
    [command] = causation(await both(client), ["stamping"])
    [event] = command.events
    [caused] = event.commands
    assert (command.actor_id, caused.process, caused.actor_id) == ("ann", "stamping", "ann")


@pytest.mark.parametrize("headers", [{"X-Meta-a_b": "1"}, {"x-actor-id": "ann"}])
async def test_what_they_may_not_hold_is_a_bad_header(
    client: DomainClient, link: Link, headers: dict[str, str]
) -> None:
    subjects = client.subjects
    for subject, data in (
        (subjects.command("note.write"), b'{"name": "a"}'),
        (subjects.query("note.who"), b""),
        (subjects.query("command.status"), b'{"command_id": "%s"}' % (b"0" * 32)),
    ):
        reply = await link.requests.one(subject, data, headers=headers, timeout=5)
        assert b"bad_header" in reply.data
    assert [record async for record in client.events()] == []


async def test_a_client_does_not_send_it(client: DomainClient) -> None:
    with pytest.raises(Invalid, match="X-Meta"):
        await client.send(WriteNote(name="a"), meta={f"n{number}": "1" for number in range(17)})

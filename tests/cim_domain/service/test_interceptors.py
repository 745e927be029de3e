"""Interceptors in a service that runs: around all that comes, however it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cim_domain import Command, Domain, Message, Metadata, Proceed, Rejected
from cim_domain.client import DomainClient
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.service.notes import AskWho, WriteNote, notes

Seen = tuple[str, str, str | None, str | None, str | None]


class Office:
    """Lets in all but strangers, and writes down who came with what, and what came of it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    async def guard(self, message: Message, metadata: Metadata, proceed: Proceed) -> None:
        if metadata.actor_id == "stranger":
            raise Rejected("note.forbidden", "not for strangers", organization="acme")
        await proceed()

    async def record(self, message: Message, metadata: Metadata, proceed: Proceed) -> None:
        handled = await proceed()
        code = handled.error.code if handled.error else None
        name = message.message_type
        actor, organization = metadata.actor_id, metadata.organization_id
        self.seen.append((name, metadata.source, actor, organization, code))


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def client(
    office: Office, nats_url: str, subjects: Subjects, link: Link, tmp_path: Path
) -> AsyncIterator[DomainClient]:
    settings = load_settings(subject_prefix=subjects.prefix, data_directory=tmp_path)
    memory = load_service_settings(views="memory")
    domain = notes(interceptors=[office.record, office.guard])
    async with Service(domain, settings, memory, url=nats_url):
        yield DomainClient(link, Subjects("notes", subjects.prefix), retry=0)


async def test_a_command_is_refused_with_the_code_and_leaves_nothing(
    client: DomainClient, office: Office
) -> None:
    refused = await client.send(WriteNote(name="a"), actor_id="stranger", organization_id="acme")
    assert refused.status == "rejected"
    assert refused.error
    assert (refused.error.code, refused.error.details) == (
        "note.forbidden", {"organization": "acme"}
    )  # fmt: skip
    assert office.seen == [("note.write", "client", "stranger", "acme", "note.forbidden")]
    assert [one async for one in client.events()] == []


async def test_processes_commands_pass_them_in_the_process_s_name(
    client: DomainClient, office: Office
) -> None:
    await client.send(WriteNote(name="a"), actor_id="ann")
    async with asyncio.timeout(30), aclosing(client.follow()) as records:
        async for record in records:
            if record.metadata.message_type == "note.stamped":
                break
    assert office.seen[:1] == [("note.write", "client", "ann", None, None)]
    assert office.seen[1:] in ([], [("note.stamp", "process.stamping", "ann", None, None)])


async def test_a_command_that_the_domain_rejects_is_told_as_that(
    client: DomainClient, office: Office
) -> None:
    await client.send(WriteNote(name="a"))
    again = await client.send(WriteNote(name="a"))
    assert again.error
    assert again.error.code == "note.exists"
    assert ("note.write", "client", None, None, "note.exists") in office.seen


async def test_queries_pass_them(client: DomainClient, office: Office) -> None:
    assert (await client.ask(AskWho(), actor_id="ann")).json()["actor"] == "ann"
    with pytest.raises(Rejected, match="not for strangers"):
        await client.ask(AskWho(), actor_id="stranger")
    assert [one[-1] for one in office.seen] == [None, "note.forbidden"]


async def test_stored_commands_pass_them_when_they_are_done(client: DomainClient) -> None:
    stored = await client.submit(WriteNote(name="a"), actor_id="stranger")
    done = await client.wait_for(stored.command_id, timeout=30)
    assert done.state == "rejected"
    assert done.error
    assert done.error.code == "note.forbidden"


async def test_so_do_the_kit_s_own_messages(client: DomainClient, office: Office) -> None:
    later = await client.schedule(WriteNote(name="a"), after=3600, actor_id="ann")
    with pytest.raises(Rejected, match="not for strangers"):
        await client.cancel(later.command_id, actor_id="stranger")
    with pytest.raises(Rejected, match="not for strangers"):
        await client.status(later.command_id, actor_id="stranger")
    assert (await client.status(later.command_id, actor_id="ann")).state == "scheduled"
    assert await client.cancel(later.command_id, actor_id="ann")


def test_a_domain_that_is_found_by_its_name_has_those_that_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "aggregates" / "guarded"
    package.mkdir(parents=True)
    (package / "door.py").write_text("""
from attrs import frozen
from cim_domain import *

class OpenDoor(Command, type="door.open"):
    name: str

class DoorOpened(Event, type="door.opened"):
    pass

@frozen
class Door(Aggregate, key="name"):
    @decides
    def open(self, command: OpenDoor) -> DoorOpened:
        return DoorOpened()

    @evolves
    def opened(self, event: DoorOpened) -> "Door":
        return self
""")
    (package / "permissions.py").write_text("""
from cim_domain import Metadata, Proceed, intercepts
from aggregates.guarded.door import OpenDoor

@intercepts
async def who(message: OpenDoor, metadata: Metadata, proceed: Proceed) -> None:
    await proceed()

async def no_interceptor(message: OpenDoor, metadata: Metadata, proceed: Proceed) -> None:
    await proceed()
""")
    monkeypatch.syspath_prepend(tmp_path)
    assert [one.name for one in Domain.find("guarded").interceptors] == ["who"]


async def test_one_that_hangs_has_the_command_answered_in_bounded_time(
    nats_url: str, subjects: Subjects, link: Link, tmp_path: Path
) -> None:
    async def hang(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await asyncio.Event().wait()

    settings = load_settings(subject_prefix=subjects.prefix, data_directory=tmp_path)
    short = load_service_settings(views="memory", store_patience=0.2)
    async with Service(notes(interceptors=[hang]), settings, short, url=nats_url):
        client = DomainClient(link, Subjects("notes", subjects.prefix), retry=0)
        done = await client.send(WriteNote(name="a"))
    assert done.status == "failed"
    assert done.error
    assert "took longer than 0.2 s" in done.error.message

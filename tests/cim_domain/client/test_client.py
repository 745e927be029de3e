"""The client against a real service, and against answers of every kind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from aggregates.nix.flake import CreateFlake
from cim_domain.client import DomainClient, NoAnswer
from cim_domain.errors import (
    Busy,
    Conflict,
    Failed,
    Invalid,
    NotFound,
    Rejected,
    RequestError,
    Unavailable,
)
from cim_domain.identity import fresh_id
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.testing.server import throwaway_server
from cim_domain.wire.codec import error_headers
from cim_domain.wire.outcome import Outcome
from projections.nix.flakes import GetFlake


@pytest.fixture
async def served(
    nats_url: str, subjects: Subjects, link: Link, tmp_path
) -> AsyncIterator[DomainClient]:
    """A client of a service that runs here."""
    settings = load_settings(subject_prefix=subjects.prefix, data_directory=tmp_path)
    views = load_service_settings(views="memory")
    async with Service(Domain.find("nix"), settings, views, url=nats_url):
        yield DomainClient(link, subjects)


@pytest.fixture
def client(link: Link, subjects: Subjects) -> DomainClient:
    """A client whose domain nobody serves, save what a test answers itself."""
    return DomainClient(link, subjects, timeout=0.2, retry=0)


async def answer(link: Link, subject: str, data: bytes, headers: dict[str, str] | None = None):
    """Answer every request on a subject with this."""

    async def respond(message):
        await link.client.publish(message.reply, data, headers=headers)

    await link.client.subscribe(subject, cb=respond)
    await round_trip(link.client)


async def test_a_command_is_sent_as_its_class_or_as_type_and_fields(served):
    first = await served.send(CreateFlake(path="/srv/one"))
    second = await served.send("flake.create", {"path": "/srv/two"})
    third = await served.send("flake.create", b'{"path": "/srv/three"}')
    assert [one.status for one in (first, second, third)] == ["accepted"] * 3
    assert [one.sequence for one in (first, second, third)] == [1, 2, 3]


async def test_a_refusal_is_an_outcome_with_the_domain_s_error(served):
    await served.send(CreateFlake(path="/srv/web"))
    outcome = await served.send(CreateFlake(path="/srv/web"))
    assert outcome.status == "rejected"
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.code == "flake.exists"
    conflict = await served.send("flake.update", {"path": "/srv/web"}, expected_version=7)
    assert isinstance(conflict.error, Conflict)


async def test_a_command_sent_again_with_its_id_gets_the_same_outcome(served):
    command_id = fresh_id()
    first = await served.send(CreateFlake(path="/srv/web"), command_id=command_id)
    again = await served.send(CreateFlake(path="/srv/web"), command_id=command_id)
    assert first == again
    assert first.command_id == command_id


async def test_an_answer_is_as_new_as_the_sequence_that_is_asked_for(served):
    outcome = await served.send(CreateFlake(path="/srv/web", description="mine"))
    found = await served.ask(GetFlake(path="/srv/web"), min_sequence=outcome.sequence)
    assert found.json()["description"] == "mine"
    assert found.sequence == outcome.sequence


async def test_a_query_that_is_refused_raises_the_error_of_the_service(served):
    with pytest.raises(NotFound, match="/srv/none"):
        await served.ask("flake.get", {"path": "/srv/none"})
    with pytest.raises(Invalid) as invalid:
        await served.ask("flake.get", {"colour": "red"})
    assert {field["path"] for field in invalid.value.details["fields"]} >= {"colour"}
    with pytest.raises(NotFound) as unknown:
        await served.ask("flake.paint")
    assert unknown.value.code == "unknown_query"


async def test_organizations_are_kept_apart(served):
    sent = await served.send(CreateFlake(path="/srv/web"), organization_id="acme")
    get = GetFlake(path="/srv/web")
    found = await served.ask(get, min_sequence=sent.sequence, organization_id="acme")
    assert found.json()["path"] == "/srv/web"
    with pytest.raises(NotFound):
        await served.ask(get, min_sequence=sent.sequence)


async def test_correlation_and_causation_are_kept_by_the_events(served):
    correlation, causation = fresh_id(), fresh_id()
    outcome = await served.send(
        CreateFlake(path="/srv/web"), correlation_id=correlation, causation_id=causation
    )
    [event] = [record async for record in served.events()]
    assert event.metadata.correlation_id == correlation
    assert event.metadata.causation_id == outcome.command_id


async def test_events_are_read_of_all_of_one_aggregate_and_as_they_come(served):
    created = await served.send(CreateFlake(path="/srv/web"))
    await served.send(CreateFlake(path="/srv/other"))
    following = served.follow(after=2)
    later = asyncio.create_task(anext(following))
    updated = await served.send("flake.update", {"path": "/srv/web"})
    assert (await later).metadata.sequence == updated.sequence
    await following.aclose()
    assert [record.metadata.sequence async for record in served.events(after=1)] == [2, 3]
    history = await served.history("flake", created.aggregate_id)
    assert [record.metadata.message_type for record in history] == [
        "flake.created",
        "flake.updated",
    ]


async def test_health_is_the_report_of_the_service(served):
    assert (await served.health())["status"] == "healthy"


async def test_without_a_service_it_is_known_that_nothing_was_done(client):
    with pytest.raises(NoAnswer, match="no service answers") as raised:
        await client.send("flake.create", {"path": "/srv/web"})
    assert raised.value.code == "no_responders"


async def test_a_service_that_starts_within_the_budget_is_found(link, subjects):
    client = DomainClient(link, subjects, retry=10)
    command_id = fresh_id()
    asked = asyncio.create_task(client.send("flake.create", {}, command_id=command_id))
    with pytest.raises(NoAnswer):
        await DomainClient(link, subjects, retry=0).send("flake.create", {})
    await answer(
        link,
        subjects.commands,
        Outcome(status="accepted", command_id=command_id, correlation_id=command_id).to_wire(),
    )
    assert (await asked).status == "accepted"


async def test_a_time_out_tells_the_id_under_which_to_send_again(client, link, subjects):
    received = []

    async def ignore(message):
        received.append(message)

    await link.client.subscribe(subjects.commands, cb=ignore)
    with pytest.raises(NoAnswer, match="is unknown until it is sent again with the same id") as one:
        await client.send("flake.create", {"path": "/srv/web"})
    assert one.value.code == "timeout"
    assert one.value.details == {"command_id": received[0].headers["X-Command-ID"]}
    assert len(received) == 1
    assert isinstance(one.value, Unavailable)


@pytest.mark.parametrize(
    "error",
    [
        Invalid("m", details={"fields": []}),
        NotFound("m"),
        Conflict("m"),
        Rejected("flake.exists", "m", path="a detail"),
        Busy("m"),
        Failed("m", code="timeout"),
        Unavailable("m", code="behind"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_error_arrives_as_the_class_it_was(client, link, subjects, error):
    refused = Outcome.refused(error).to_wire()
    headers = error_headers(error.http, error.message)
    await answer(link, subjects.commands, refused, headers)
    await answer(link, subjects.queries, refused, headers)
    outcome = await client.send("flake.create")
    assert type(outcome.error) is type(error)
    with pytest.raises(RequestError) as raised:
        await client.ask("flake.get")
    assert type(raised.value) is type(error)
    for found in (outcome.error, raised.value):
        assert found.as_dict() == error.as_dict()


async def test_an_error_without_a_body_as_other_services_send_it_is_read(client, link, subjects):
    for subject in (subjects.commands, subjects.queries):
        await answer(link, subject, b"", error_headers(404, "nothing here"))
    with pytest.raises(NotFound, match="nothing here"):
        await client.send("flake.create")
    with pytest.raises(NotFound, match="nothing here"):
        await client.ask("flake.get")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b'{"status": "perhaps", "command_id": null, "correlation_id": null}',
        b'{"status": "rejected", "command_id": null, "correlation_id": null}',
    ],
)
async def test_what_is_no_outcome_is_not_taken_for_one(client, link, subjects, data):
    await answer(link, subjects.commands, data)
    with pytest.raises(Failed) as raised:
        await client.send("flake.create")
    assert raised.value.code == "bad_reply"


async def test_an_answer_that_is_no_json_fails_when_it_is_read(client, link, subjects):
    await answer(link, subjects.queries, b"no json", {"X-Sequence": "-7"})
    found = await client.ask("flake.list")
    assert found.sequence is None
    with pytest.raises(Failed, match="no JSON"):
        found.json()


async def test_a_message_too_large_is_refused_here_and_the_connection_lives(client, link):
    large = {"path": "x" * (link.client.max_payload + 1)}
    for ask in (client.send, client.ask):
        with pytest.raises(Invalid) as raised:
            await ask("flake.create", large)
        assert raised.value.code == "too_large"
    await round_trip(link.client)
    assert link.reconnects == 0


@pytest.mark.parametrize("bad", ["flake", "flake.create.now", "flake.*", "flake.>", "a b.c", ""])
async def test_a_type_that_would_be_another_subject_is_refused(client, bad):
    with pytest.raises(Invalid) as raised:
        await client.send(bad)
    assert raised.value.code == "bad_type"


async def test_a_header_cannot_bring_another_one_along(client):
    with pytest.raises(Invalid) as raised:
        await client.send("flake.create", organization_id="acme\r\nX-Command-ID: other")
    assert raised.value.code == "bad_header"


async def test_a_client_with_a_connection_of_its_own_closes_it(nats_url, subjects):
    settings = load_settings(subject_prefix=subjects.prefix)
    async with DomainClient.open("nix", settings, url=nats_url, retry=0) as client:
        with pytest.raises(NoAnswer) as raised:
            await client.health()
        assert raised.value.code == "no_responders"
    with pytest.raises(NoAnswer) as closed:
        await client.health()
    assert closed.value.code == "disconnected"


async def test_a_command_lost_with_the_connection_is_sent_again_under_its_id(subjects):
    received = []
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)

        async def receive(message):
            received.append(command_id := message.headers["X-Command-ID"])
            if len(received) == 1:
                os.kill(server.pid, signal.SIGKILL)
                return
            done = Outcome(status="accepted", command_id=command_id, correlation_id=command_id)
            await message.respond(done.to_wire())

        await link.client.subscribe(subjects.commands, cb=receive)
        outcome = await DomainClient(link, subjects, retry=30).send("flake.create")
        await link.close()
    assert outcome.status == "accepted"
    assert received == [outcome.command_id] * 2


async def test_that_nobody_is_there_afterwards_does_not_undo_what_may_have_arrived(subjects):
    received = []
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)

        async def receive(message):
            received.append(message.headers["X-Command-ID"])
            os.kill(server.pid, signal.SIGKILL)

        subscription = await link.client.subscribe(subjects.commands, cb=receive)
        await subscription.unsubscribe(limit=1)
        client = DomainClient(link, subjects, retry=2)
        with pytest.raises(NoAnswer, match="is unknown") as raised:
            await client.send("flake.create")
        assert link.reconnects == 1
        await link.close()
    assert raised.value.code == "disconnected"
    assert raised.value.details == {"command_id": received[0]}

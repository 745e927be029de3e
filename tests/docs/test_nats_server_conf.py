"""The shipped server configuration: each role can do what it must, and is denied the rest."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import nats
import orjson
import pytest
from attrs import frozen
from nats.aio.client import Client

from aggregates.nix.package import CompletePackageBuild, PackageBuildRequested
from cim_domain import Domain, Process, reacts
from cim_domain.client import DomainClient
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.docs.production_server import INBOXES, ROLES, password, production_server

CONFIGURATION = Path(__file__).parents[2] / "docs/nats-server.conf"
STORE_PATH = "/nix/store/00000000000000000000000000000000-hello"
PACKAGE = {"flake_ref": "github:example/hello", "attribute": "hello"}


class Builder(Process):
    """Builds at once, so that the service reads its stream as processes do."""

    @reacts
    async def build(self, event: PackageBuildRequested) -> CompletePackageBuild:
        return CompletePackageBuild(
            flake_ref=event.flake_ref,
            attribute=event.attribute,
            build_id=event.build_id,
            drv_path=f"{STORE_PATH}.drv",
            outputs={"out": STORE_PATH},
            duration_s=0.0,
        )


@frozen
class Installation:
    """A running service and a connection for each role; `denials` has what the server refused."""

    url: str
    service: Service
    connections: dict[str, Client]
    denials: dict[str, asyncio.Queue[str]]

    def settings(self, role: str) -> NatsSettings:
        return load_settings(
            url=self.url, user=role, password=password(role), inbox_prefix=INBOXES[role]
        )

    async def request(self, role: str, subject: str, payload: object = None) -> dict[str, object]:
        data = b"" if payload is None else orjson.dumps(payload)
        answer: dict[str, object] = orjson.loads(
            (await self.connections[role].request(subject, data, timeout=10)).data
        )
        return answer

    async def is_denied(self, role: str, attempt: Callable[[Client], Awaitable[object]]) -> bool:
        """Whether the server refuses what `attempt` does."""
        client, denials = self.connections[role], self.denials[role]
        await attempt(client)
        # What the server refuses, it says before it answers this.
        await round_trip(client)
        refused = not denials.empty()
        while not denials.empty():
            denials.get_nowait()
        return refused

    async def may_publish(self, role: str, subject: str) -> bool:
        return not await self.is_denied(role, lambda client: client.publish(subject, b"{}"))

    async def may_subscribe(self, role: str, subject: str) -> bool:
        return not await self.is_denied(role, lambda client: client.subscribe(subject))


def composed() -> Domain:
    """The nix domain with a builder."""
    nix = Domain.find("nix")
    return Domain(
        "nix",
        aggregates=[model.cls for model in nix.aggregates.values()],
        projections=[model.projection for model in nix.projections.values()],
        processes=[Builder()],
    )


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    denials: dict[str, asyncio.Queue[str]] = {role: asyncio.Queue() for role in ROLES}

    def hearing(role: str) -> Callable[[Exception], Awaitable[None]]:
        async def heard(error: Exception) -> None:
            denials[role].put_nowait(str(error))

        return heard

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(production_server(CONFIGURATION, tmp_path))
        settings = load_settings(
            url=url,
            user="service",
            password=password("service"),
            inbox_prefix=INBOXES["service"],
        )
        service = Service(composed(), settings, load_service_settings(views="memory"))
        await stack.enter_async_context(service)
        connections = {}
        for role in ROLES:
            connections[role] = await nats.connect(
                url,
                user=role,
                password=password(role),
                inbox_prefix=INBOXES[role],
                error_cb=hearing(role),
            )
            stack.push_async_callback(connections[role].close)
        yield Installation(url, service, connections, denials)


async def test_the_service_runs_with_its_role(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    events = await installation.connections["client"].subscribe("nix.event.package.built")
    asked = await installation.request("client", "nix.cmd.package.build", PACKAGE)
    assert asked["status"] == "accepted"
    built = await events.next_msg(timeout=10)
    assert built.headers is not None
    assert built.headers["X-Correlation-ID"] == asked["correlation_id"]
    health = await installation.request("operator", "health.cim-domain-nix")
    assert health["status"] == "healthy"
    logged = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert [one.getMessage() for one in logged if "permission" in one.getMessage().lower()] == []


async def test_a_restarted_service_finds_its_streams_and_several_events_commit_at_once(
    installation: Installation,
) -> None:
    await installation.service.stop()
    await installation.service.start()
    accepted = await asyncio.gather(
        *(
            installation.request("client", "nix.cmd.flake.create", {"path": f"/srv/{number}"})
            for number in range(100)
        )
    )
    assert {answer["status"] for answer in accepted} == {"accepted"}


async def test_a_client_commands_asks_hears_and_discovers(installation: Installation) -> None:
    client = installation.connections["client"]
    events = await client.subscribe("nix.event.>")
    created = await installation.request("client", "nix.cmd.flake.create", {"path": "/srv/web"})
    event = await events.next_msg(timeout=10)
    assert event.subject == "nix.event.flake.created"
    reply = await client.request(
        "nix.query.flake.get",
        b'{"path": "/srv/web"}',
        headers={"X-Min-Sequence": str(created["sequence"])},
        timeout=10,
    )
    assert orjson.loads(reply.data)["path"] == "/srv/web"
    assert (await installation.request("client", "$SRV.PING"))["name"] == "cim-domain-nix"


async def test_the_kits_own_client_works_with_the_role_of_a_client(
    installation: Installation,
) -> None:
    async with DomainClient.open("nix", installation.settings("client")) as nix:
        created = await nix.send("flake.create", {"path": "/srv/web"})
        found = await nix.ask("flake.get", {"path": "/srv/web"}, min_sequence=created.sequence)
        assert found.json()["path"] == "/srv/web"
        assert (await nix.health())["status"] == "healthy"


async def test_a_client_has_commands_stored_scheduled_and_cancelled(
    installation: Installation,
) -> None:
    async with DomainClient.open("nix", installation.settings("client")) as nix:
        stored = await nix.submit("flake.create", {"path": "/srv/web"})
        assert (await nix.wait_for(stored.command_id, timeout=10)).state == "accepted"
        update = {"path": "/srv/web"}
        soon = await nix.schedule("flake.update", update, after=0.2)
        never = await nix.schedule("flake.update", update, after=3600)
        assert await nix.cancel(never.command_id)
        assert (await nix.wait_for(never.command_id, timeout=10)).state == "cancelled"
        assert (await nix.wait_for(soon.command_id, timeout=10)).state == "accepted"
        assert (await nix.status(stored.command_id)).attempts == 1


async def test_the_kits_own_client_reads_the_log_with_the_role_of_an_operator(
    installation: Installation,
) -> None:
    created = await installation.request("client", "nix.cmd.flake.create", {"path": "/srv/web"})
    async with DomainClient.open("nix", installation.settings("operator")) as nix:
        stored = [record.metadata.message_type async for record in nix.events()]
        history = await nix.history("flake", str(created["aggregate_id"]))
        async with aclosing(nix.follow()) as following:
            followed = await anext(following)
    assert stored == ["flake.created"]
    assert [*history, followed] == [followed, followed]


async def test_the_command_line_works_with_the_roles(
    installation: Installation, tmp_path: Path
) -> None:
    commands = [
        ("client", ["send", "nix.cmd.flake.create", '{"path": "/srv/web"}']),
        ("client", ["query", "nix.query.flake.list"]),
        ("client", ["health", "nix"]),
        ("operator", ["health", "nix"]),
        ("operator", ["events", "nix"]),
        ("operator", ["doctor", "nix"]),
    ]
    results = await asyncio.gather(
        *(run_cli(installation, tmp_path, role, command) for role, command in commands)
    )
    assert [said for code, said in results if code != 0] == []


async def run_cli(
    installation: Installation, home: Path, role: str, command: list[str]
) -> tuple[int | None, str]:
    """The exit code of ``cim-domain`` in a role, and what it says."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "cim-domain"),
        *command,
        env={
            "HOME": str(home),
            "NATS_URL": installation.url,
            "NATS_USER": role,
            "NATS_PASSWORD": password(role),
            "NATS_INBOX_PREFIX": INBOXES[role],
            "CIM_DOMAIN_VIEWS": "memory",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_reader_reads_the_log_through_the_consumer_that_an_operator_makes(
    installation: Installation,
) -> None:
    created = await installation.request("client", "nix.cmd.flake.create", {"path": "/srv/web"})
    operator = installation.connections["operator"].jetstream()
    await operator.add_consumer("NIX_EVENTS", durable_name="reader", ack_policy="explicit")
    reader = installation.connections["reader"].jetstream()
    reading = await reader.pull_subscribe_bind("reader", "NIX_EVENTS")
    (message,) = await reading.fetch(1, timeout=10)
    assert message.headers is not None
    assert message.headers["X-Correlation-ID"] == created["correlation_id"]
    await message.ack_sync(timeout=10)
    assert installation.denials["reader"].empty()


async def test_a_reader_cannot_steer_a_stored_event_onto_a_command(
    installation: Installation,
) -> None:
    flake = {"path": "/srv/web"}
    await installation.request("client", "nix.cmd.flake.create", flake)
    await installation.request("client", "nix.cmd.flake.update", flake)
    operator = installation.connections["operator"].jetstream()
    await operator.add_consumer(
        "NIX_EVENTS",
        durable_name="reader",
        ack_policy="explicit",
        deliver_policy="by_start_sequence",
        opt_start_seq=2,
    )
    # The server sends flake.updated where the reader says, whatever the reader may publish to.
    await installation.connections["reader"].publish(
        "$JS.API.CONSUMER.MSG.NEXT.NIX_EVENTS.reader", b"", reply="nix.cmd.flake.update"
    )
    async with asyncio.timeout(10):
        while await refused_commands(installation) == 0:
            pass
    assert (await installation.request("client", "nix.cmd.flake.update", flake))["version"] == 3


async def refused_commands(installation: Installation) -> int:
    """How many commands the service has refused, as its statistics say."""
    reply = await installation.connections["client"].request("$SRV.STATS", timeout=10)
    endpoints = orjson.loads(reply.data)["endpoints"]
    return next(int(one["num_errors"]) for one in endpoints if one["name"] == "commands")


async def test_an_operator_looks_after_streams_and_reads_dead_letters(
    installation: Installation,
) -> None:
    operator = installation.connections["operator"]
    streams = await operator.jetstream().streams_info()
    assert {stream.config.name for stream in streams} >= {"NIX_EVENTS", "NIX_DLQ"}
    await installation.connections["client"].publish("nix.cmd.flake.create", b"no JSON")
    # Commands are worked off side by side, so the next reply does not say that this one is done.
    letters = await operator.jetstream().pull_subscribe("nix.dlq.>", stream="NIX_DLQ")
    (letter,) = await letters.fetch(1, timeout=10)
    assert letter.data == b"no JSON"
    assert installation.denials["operator"].empty()


async def test_an_operator_has_dead_letters_replayed(installation: Installation) -> None:
    operator = installation.connections["operator"]
    await installation.connections["client"].publish("nix.cmd.flake.create", b"no JSON")
    letters = await operator.jetstream().pull_subscribe("nix.dlq.>", stream="NIX_DLQ")
    await letters.fetch(1, timeout=10)
    again = await installation.request("operator", "nix.replay.commands", {"sequence": 1})
    assert again["error"]["code"] == "invalid"  # type: ignore[index]
    # Nobody but the service writes there; this is as it would write the letter.
    headers = {"X-Dead-Subject": "nix.cmd.flake.create"}
    async with service_connection(installation.url) as service:
        await service.jetstream().publish("nix.dlq.commands", b'{"path": "/a"}', headers=headers)
    replayed = await installation.request("operator", "nix.replay.commands", {"sequence": 2})
    assert replayed["result"] == "handled"
    info = await operator.jetstream().stream_info("NIX_DLQ")
    assert info.state.messages == 1


@asynccontextmanager
async def service_connection(url: str) -> AsyncIterator[Client]:
    """A connection with the role of the service."""
    client = await nats.connect(url, user="service", password=password("service"))
    yield client
    await client.close()


DENIED_PUBLISHES = {
    "service": (
        "nix.cmd.flake.create",
        "nix.event.flake.created",
        "other.journal.3.flake.id.created",
        "_INBOX_client.guessed",
        "$JS.API.STREAM.DELETE.NIX_EVENTS",
        "$JS.API.STREAM.PURGE.NIX_EVENTS",
        "$JS.API.STREAM.UPDATE.NIX_EVENTS",
        "$JS.API.STREAM.MSG.DELETE.NIX_EVENTS",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.CONSUMER.CREATE.OTHER.reader",
    ),
    "client": (
        "nix.journal.3.flake.id.created",
        "nix.event.flake.created",
        "nix.dlq.commands",
        "nix.replay.commands",
        "_INBOX.guessed",
        "_INBOX_reader.guessed",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.NIX_EVENTS",
        "$JS.API.DIRECT.GET.NIX_EVENTS",
        "$JS.API.CONSUMER.CREATE.NIX_EVENTS.mine",
        "$JS.API.STREAM.PURGE.NIX_COMMANDS",
        "$JS.API.STREAM.MSG.GET.NIX_COMMANDS",
        "$JS.API.DIRECT.GET.KV_nix_outcomes",
        "$KV.nix_outcomes.guessed",
        "nix.outcome.guessed",
    ),
    "reader": (
        "nix.cmd.flake.create",
        "nix.query.flake.get",
        "nix.replay.commands",
        "nix.journal.3.flake.id.created",
        "nix.event.flake.created",
        "$JS.API.CONSUMER.CREATE.NIX_EVENTS.reader",
        "$JS.API.CONSUMER.DELETE.NIX_EVENTS.reader",
        "$JS.API.CONSUMER.MSG.NEXT.NIX_EVENTS.process-builder",
        "$JS.ACK.NIX_EVENTS.process-builder.1.1.1.1.0",
        "$JS.API.STREAM.UPDATE.NIX_EVENTS",
    ),
    "operator": (
        "nix.cmd.flake.create",
        "nix.journal.3.flake.id.created",
        "nix.event.flake.created",
        "$JS.API.STREAM.DELETE.NIX_EVENTS",
    ),
}
DENIED_SUBSCRIPTIONS = {
    "service": ("nix.event.>", "nix.journal.>", "_INBOX_client.>", ">"),
    "client": ("nix.cmd.>", "nix.query.>", "nix.journal.>", "_INBOX.>", "_INBOX_operator.>", ">"),
    "reader": ("nix.cmd.>", "nix.journal.>", "_INBOX.>", "_INBOX_client.>", ">"),
    "operator": ("nix.cmd.>", "nix.journal.>", "_INBOX.>", "_INBOX_client.>", ">"),
}


async def test_each_role_is_denied_the_rest(installation: Installation) -> None:
    wrongly_allowed = [
        f"{role} publishes to {subject}"
        for role, subjects in DENIED_PUBLISHES.items()
        for subject in subjects
        if await installation.may_publish(role, subject)
    ] + [
        f"{role} subscribes to {subject}"
        for role, subjects in DENIED_SUBSCRIPTIONS.items()
        for subject in subjects
        if await installation.may_subscribe(role, subject)
    ]
    assert wrongly_allowed == []


async def test_what_is_allowed_is_not_taken_for_denied(installation: Installation) -> None:
    assert await installation.may_publish("client", "nix.cmd.flake.create")
    assert await installation.may_subscribe("client", "nix.event.>")

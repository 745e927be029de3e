"""Starting and stopping a service: what it refuses to start with, and what it leaves behind."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from cim_domain import Domain
from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import call
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import event_stream
from tests.cim_domain.tallies import Tallies, Tally

NIX = Domain.find("nix")
BINARY = Path(sys.executable).parent / "nats-server"
MEMORY = load_service_settings(views="memory")


@pytest.fixture
def nats(subjects: Subjects, nats_url: str, tmp_path: Path) -> NatsSettings:
    return load_settings(
        subject_prefix=subjects.prefix, url=nats_url, data_directory=tmp_path / "data"
    )


def sums() -> Domain:
    return Domain("sums", aggregates=[Tally], projections=[Tallies()])


async def ask(link: Link, subject: str, body: Any, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await link.requests.one(subject, orjson.dumps(body), headers=named, timeout=5)
    found: dict[str, Any] = orjson.loads(reply.data)
    return found


# What it refuses to start with


@asynccontextmanager
async def server_that_says(info: dict[str, Any]) -> AsyncIterator[str]:
    """The URL of a server that greets with `info`, says PONG, and knows nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + orjson.dumps(info) + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


INFO = {"server_id": "x", "max_payload": 1048576, "proto": 1, "headers": True, "jetstream": True}


@pytest.mark.parametrize("version", ["2.14.9", "2.10.0", "1.4.1"])
async def test_a_server_too_old_is_refused_by_its_version(version: str) -> None:
    async with server_that_says({**INFO, "version": version}) as url:
        with pytest.raises(ConfigurationError, match=rf"{re.escape(version)} is too old: 2\.15\.0"):
            await Service(NIX, load_settings(), MEMORY, url=url).start()


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[Any]:
    """Starts a server with a configuration, and gives its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(config: str) -> str:
        file = tmp_path / "nats.conf"
        file.write_text(f'listen: "127.0.0.1:-1"\n{config}\n')
        process = subprocess.Popen(
            [BINARY, "-c", file], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        started.append(process)
        assert process.stderr is not None
        port = ""
        for line in process.stderr:
            if found := re.search(r"Listening for client connections on 127\.0\.0\.1:(\d+)", line):
                port = found[1]
            if "Server is ready" in line:
                return f"nats://127.0.0.1:{port}"
        raise AssertionError("the server did not start")

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_server_without_jetstream_is_refused(plain_server: Any) -> None:
    with pytest.raises(ConfigurationError, match="JetStream"):
        await Service(NIX, load_settings(), MEMORY, url=plain_server("")).start()


async def test_wrong_credentials_are_refused_and_not_repeated(plain_server: Any) -> None:
    url = plain_server('authorization: {user: "u", password: "right"}')
    settings = load_settings(user="u", password="wr0ng")
    with pytest.raises(Unavailable) as caught:
        await Service(NIX, settings, MEMORY, url=url).start()
    assert caught.value.code == "authorization"
    assert "wr0ng" not in str(caught.value)


async def test_nobody_there_is_unavailable() -> None:
    async with server_that_says({**INFO, "version": "2.15.1"}) as url:
        pass
    with pytest.raises(Unavailable):
        await Service(NIX, load_settings(connect_timeout=0.5), MEMORY, url=url).start()


async def test_a_stream_with_other_subjects_is_refused_by_name(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    stream = subjects.event_stream
    config = {"name": stream, "subjects": [f"{subjects.prefix}.other"], "storage": "memory"}
    await call(link.requests, f"STREAM.CREATE.{stream}", config)
    with pytest.raises(ConfigurationError, match=f"{stream} holds other subjects"):
        await Service(NIX, nats, MEMORY).start()


async def test_a_stream_that_cannot_be_made_fit_is_refused_with_the_differences(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    stream = subjects.event_stream
    config = {**event_stream(subjects).wanted, "storage": "memory"}
    await call(link.requests, f"STREAM.CREATE.{stream}", config)
    with pytest.raises(ConfigurationError, match="storage is 'memory', needed is 'file'"):
        await Service(NIX, nats, MEMORY).start()


async def test_a_data_directory_that_cannot_be_made_is_named(
    tmp_path: Path, nats_url: str, subjects: Subjects
) -> None:
    (tmp_path / "file").write_text("")
    settings = load_settings(
        url=nats_url, subject_prefix=subjects.prefix, data_directory=tmp_path / "file"
    )
    with pytest.raises(ConfigurationError, match="NATS_DATA_DIRECTORY"):
        await Service(NIX, settings, load_service_settings(views="sqlite")).start()


async def test_views_of_an_unknown_kind_are_refused_without_repeating_them(
    nats: NatsSettings,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await Service(NIX, nats, load_service_settings(views="mysql://user:secret@host")).start()
    assert "CIM_DOMAIN_VIEWS" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_what_could_not_start_leaves_no_connection(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    config = {"name": subjects.event_stream, "subjects": [f"{subjects.prefix}.x"]}
    await call(link.requests, f"STREAM.CREATE.{subjects.event_stream}", config)
    with pytest.raises(ConfigurationError):
        await Service(NIX, nats, MEMORY).start()
    with pytest.raises(NoAnswer) as caught:
        await link.requests.one(subjects.command("flake.create"), b"{}", timeout=5)
    assert caught.value.code == "no_responders"


# Its life


async def test_it_answers_from_the_end_of_start_to_the_beginning_of_stop(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    service = Service(NIX, nats, MEMORY)
    await service.start()
    made = await ask(link, subjects.command("flake.create"), {"path": "/srv/web"})
    assert made["status"] == "accepted"
    await service.stop()
    for subject in (subjects.command("flake.create"), subjects.query("flake.list")):
        with pytest.raises(NoAnswer) as caught:
            await link.requests.one(subject, b"{}", timeout=5)
        assert caught.value.code == "no_responders"


async def test_stopping_answers_what_is_in_flight(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    service = Service(NIX, nats, MEMORY)
    await service.start()
    asked = [
        asyncio.create_task(ask(link, subjects.command("flake.create"), {"path": f"/srv/{number}"}))
        for number in range(200)
    ]
    await asyncio.sleep(0)
    await round_trip(link.client)
    await service.stop()
    made = await asyncio.gather(*asked)
    assert {one["status"] for one in made} == {"accepted"}


async def test_after_a_restart_it_goes_on_and_knows_what_it_has_done(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    root = subjects.root.replace("nix", "sums")
    command, body = str(uuid4()), {"name": "a", "amounts": [1, 2]}
    replies, totals = [], []
    for _ in range(2):
        async with Service(sums(), nats, load_service_settings(views="sqlite")):
            first = await ask(link, f"{root}.cmd.tally.add", body, X_Command_ID=command)
            replies.append(first)
            totals.append(
                await ask(
                    link,
                    f"{root}.query.tally.get",
                    {"name": "a"},
                    X_Min_Sequence=str(first["sequence"]),
                )
            )
    assert replies[0] == replies[1]
    assert totals == [{"name": "a", "total": 3, "events": 2}] * 2


async def test_a_query_asked_by_its_alias_is_the_same_query(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    root = subjects.root.replace("nix", "sums")
    async with Service(sums(), nats, MEMORY):
        made = await ask(link, f"{root}.cmd.tally.add", {"name": "a"})
        answers = [
            await ask(
                link,
                f"{root}.query.{type_}",
                {"name": "a"},
                X_Min_Sequence=str(made["sequence"]),
            )
            for type_ in ("tally.get", "sum.get")
        ]
    assert answers[0] == answers[1] == {"name": "a", "total": 1, "events": 1}


async def test_a_query_for_what_nobody_has_written_yet_gives_up_in_time(
    link: Link, nats: NatsSettings, subjects: Subjects
) -> None:
    root = subjects.root.replace("nix", "sums")
    settings = load_service_settings(views="memory", query_wait=0.05)
    async with Service(sums(), nats, settings):
        found = await ask(link, f"{root}.query.tally.names", {}, X_Min_Sequence="99")
    assert found["error"]["code"] == "behind"
    assert found["error"]["details"] == {"sequence": 0, "min_sequence": 99}

"""`dlq`: dead letters listed, shown, replayed and thrown away, beside a service that runs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import orjson
import pytest

from cim_domain.cli.places import PACKAGES, find_code_in
from cim_domain.client import DomainClient
from cim_domain.dead_letters import DeadLetter
from cim_domain.model.metadata import Metadata, utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters
from cim_domain.nats.server.embedded import find_url
from cim_domain.testing.process import ServiceProcess, clean_environment, service_process
from cim_domain.wire.codec import event_headers

T = TypeVar("T")
NIX = Subjects("nix")


@asynccontextmanager
async def linked(directory: Path) -> AsyncIterator[Link]:
    link = await Link.open(load_settings(), name="test", url=find_url(directory))
    try:
        yield link
    finally:
        await link.close()


def put(directory: Path, *letters: DeadLetter, subjects: Subjects = NIX) -> None:
    async def work() -> None:
        async with linked(directory) as link:
            box = StreamDeadLetters(link, subjects.dead_letter_stream, subjects.dead_letter_root)
            for letter in letters:
                await box.put(letter)

    asyncio.run(work())


def command(path: str, **more: Any) -> DeadLetter:
    """The letter of a command that came while the store was away."""
    given = {
        "consumer": "commands",
        "subject": "nix.cmd.flake.create",
        "data": orjson.dumps({"path": path}),
        "code": "unavailable",
        "reason": "the store was away",
        **more,
    }
    return DeadLetter(**given)


@pytest.fixture
def letters(cli: Any, data_directory: Path) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Puts letters there, and gives all there are as the list shows them. None is left behind."""

    def keep(*made: DeadLetter) -> list[dict[str, Any]]:
        put(data_directory, *made)
        return cli("dlq", "list", "nix", "--json").document

    cli("dlq", "discard", "nix", "--all", "--yes")
    yield keep
    assert cli("dlq", "discard", "nix", "--all", "--yes").code == 0


def test_a_letter_is_listed_with_what_is_known_of_it(cli, letters):
    (one,) = letters(command("/srv/a", headers={"X-Command-ID": str(uuid4())}))
    assert one.pop("time").endswith("Z")
    assert one == {
        "sequence": one["sequence"],
        "consumer": "commands",
        "code": "unavailable",
        "reason": "the store was away",
        "deliveries": 1,
        "message": {"subject": "nix.cmd.flake.create", "sequence": None, "size": 17},
    }
    header, row = cli("dlq", "list", "nix").out.splitlines()
    assert header.split()[:3] == ["letter", "time", "consumer"]
    assert row.endswith("the store was away")
    narrow = cli("dlq", "list", "nix", COLUMNS="80").out.splitlines()
    assert max(map(len, narrow)) <= 80
    assert narrow[-1].strip() == "the store was away"


def test_without_letters_the_list_is_empty(cli, letters):
    assert letters() == []
    ran = cli("dlq", "list", "nix")
    assert (ran.code, ran.out) == (0, "")
    assert "none" in ran.err


def test_a_list_is_by_consumer_by_time_and_by_page(cli, letters):
    made = [command(f"/srv/{number}", reason=f"no. {number}") for number in range(5)]
    all_of_them = letters(*made[:4], command("/x", consumer="process.builder"))
    assert [one["consumer"] for one in all_of_them] == ["commands"] * 4 + ["process.builder"]
    listed = ("dlq", "list", "nix", "--json")
    assert len(cli(*listed, "--consumer", "process.builder").document) == 1
    assert len(cli(*listed, "--consumer", "process.nobody").document) == 0
    assert len(cli(*listed, "--since", "1h").document) == 5
    assert len(cli(*listed, "--since", "0s").document) == 0
    assert len(cli(*listed, "--since", all_of_them[3]["time"]).document) == 2
    first = cli(*listed, "--limit", "3")
    assert first.document == all_of_them[:3]
    assert f"--after {all_of_them[2]['sequence']}" in first.err
    rest = cli(*listed, "--after", str(all_of_them[2]["sequence"]), "--limit", "3")
    assert rest.document == all_of_them[3:]
    assert rest.err == ""


def test_a_letter_is_shown_whole(cli, letters):
    (one,) = letters(command("/srv/a", headers={"X-Organization-ID": "acme", "Nats-Msg-Id": "7"}))
    shown = cli("dlq", "show", "nix", str(one["sequence"]), "--json").document
    assert shown["message"]["headers"] == {"X-Organization-ID": "acme", "Nats-Msg-Id": "7"}
    assert shown["message"]["data"] == {"path": "/srv/a"}
    assert shown["message"]["cut"] is False
    assert "event" not in shown
    text = cli("dlq", "show", "nix", str(one["sequence"])).out
    assert "the store was away" in text
    assert '"path": "/srv/a"' in text


def test_what_is_in_a_letter_moves_no_cursor(cli, letters):
    (one,) = letters(command("", data=b"\x1b[2J\x9b\xff", reason="r"))
    text = cli("dlq", "show", "nix", str(one["sequence"])).out
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    shown = cli("dlq", "show", "nix", str(one["sequence"]), "--json").document
    assert shown["message"]["base64"] == "G1sySpv/"


def test_a_letter_that_is_replayed_is_handled_and_gone(cli, letters):
    path = f"/dlq/{uuid4()}"
    (one,) = letters(command(path))
    ran = cli("dlq", "replay", "nix", str(one["sequence"]), "--json")
    assert ran.code == 0
    assert ran.document == {
        "replayed": [
            {
                "consumer": "commands",
                "sequence": one["sequence"],
                "result": "handled",
                "message": "",
            }
        ],
        "failed": [],
    }
    assert cli("dlq", "list", "nix", "--json").document == []
    again = cli("send", "nix.cmd.flake.create", f'{{"path": "{path}"}}', "--json")
    assert again.document["error"]["code"] == "flake.exists"


def test_those_that_fail_again_stay_and_the_others_go_on(cli, letters):
    paths = [f"/dlq/{uuid4()}" for _ in range(2)]
    found = letters(command(paths[0]), command("", data=b"{"), command(paths[1]))
    ran = cli("dlq", "replay", "nix", "--all", "--json")
    assert ran.code == 1
    assert [one["sequence"] for one in ran.document["replayed"]] == [
        found[0]["sequence"],
        found[2]["sequence"],
    ]
    (failed,) = ran.document["failed"]
    assert (failed["sequence"], failed["error"]["code"]) == (found[1]["sequence"], "invalid")
    assert f"letter {found[1]['sequence']} (commands)" in ran.err
    assert cli("dlq", "list", "nix", "--json").document == [found[1]]


def test_the_letters_of_one_consumer_are_replayed_alone(cli, letters):
    found = letters(command(f"/dlq/{uuid4()}"), command("/x", consumer="process.builder"))
    ran = cli("dlq", "replay", "nix", "--consumer", "commands")
    assert (ran.code, ran.out) == (0, "")
    assert "handled" in ran.err
    assert cli("dlq", "list", "nix", "--json").document == found[1:]


def test_an_unknown_letter_is_not_found(cli, letters):
    for action in ("show", "replay", "discard"):
        arguments = ("--yes",) if action == "discard" else ()
        ran = cli("dlq", action, "nix", "999999", "--json", *arguments)
        assert ran.code == 1
        assert ran.document["error"]["code"] == "not_found"


def test_letters_are_thrown_away_one_by_one_by_consumer_or_all(cli, letters):
    found = letters(*(command(f"/{n}") for n in range(3)), command("/x", consumer="process.a"))
    numbers = [str(one["sequence"]) for one in found]
    discard = ("dlq", "discard", "nix", "--yes", "--json")
    assert cli(*discard, numbers[0]).document == {"discarded": 1}
    assert cli(*discard, "--consumer", "commands").document == {"discarded": 2}
    assert cli("dlq", "list", "nix", "--json").document == found[3:]
    assert cli(*discard, "--all").document == {"discarded": 1}
    assert cli(*discard, "--all").document == {"discarded": 0}


def test_nothing_is_thrown_away_without_a_yes(cli, letters):
    found = letters(command("/a"))
    ran = cli("dlq", "discard", "nix", "--all")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert cli("dlq", "list", "nix", "--json").document == found


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.parametrize(
    "which", [(), ("1", "--all"), ("--consumer", "a", "--all"), ("--consumer", "a.>")]
)
def test_it_must_be_plain_which_letters_are_meant(cli, action, which):
    assert cli("dlq", action, "nix", *which).code == 2


@pytest.mark.parametrize("since", ["yesterday", "5", "5y"])
def test_a_time_must_be_one(cli, since):
    assert cli("dlq", "list", "nix", "--since", since).code == 2


def test_a_domain_that_never_ran_has_no_dead_letters(cli):
    ran = cli("dlq", "list", "nobody")
    assert ran.code == 1
    assert "no service of this domain has run here" in ran.err


def test_an_event_is_shown_and_known_to_be_in_the_views(cli, letters, data_directory):
    path = f"/dlq/{uuid4()}"
    sent = cli("send", "nix.cmd.flake.create", f'{{"path": "{path}"}}', "--json").document
    listed = cli("query", "nix.query.flake.list", "--min-sequence", str(sent["sequence"]))
    assert listed.code == 0
    (one,) = letters(
        command(
            path,
            consumer="projection.flakes",
            subject=Subjects("nix").journal("flake.created", sent["aggregate_id"]),
            headers=event_headers(
                Metadata(
                    message_id=sent["events"][0]["id"],
                    message_type="flake.created",
                    correlation_id=sent["correlation_id"],
                    causation_id=sent["command_id"],
                    timestamp=utc_now(),
                    source="test",
                    aggregate_id=sent["aggregate_id"],
                    aggregate_version=1,
                )
            ),
            sequence=sent["sequence"],
        )
    )
    shown = cli("dlq", "show", "nix", str(one["sequence"]), "--json").document
    assert shown["event"]["data"]["path"] == path
    ran = cli("dlq", "replay", "nix", str(one["sequence"]), "--json")
    assert ran.document["replayed"][0]["result"] == "handled_before"


# A domain of one's own: versions, and a service that is killed


WORKS = '''
import os
from pathlib import Path
from time import sleep

from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Event, Process, decides, evolves, reacts, upcasts


class Start(Command, type="work.start"):
    name: str


class Finish(Command, type="work.finish"):
    name: str


class Started(Event, type="work.started", version=2):
    name: str
    size: int


@upcasts(Started, 1)
def sized(data):
    return {**data, "size": 1}


class Finished(Event, type="work.finished"):
    name: str


@frozen
class Work(Aggregate, key="name"):
    finished: int = 0

    @decides
    def start(self, command: Start) -> Started:
        return Started(name=command.name, size=2)

    @decides
    def finish(self, command: Finish) -> Finished:
        return Finished(name=command.name)

    @evolves
    def was_started(self, event: Started) -> "Work":
        return self

    @evolves
    def was_finished(self, event: Finished) -> "Work":
        return evolve(self, finished=self.finished + 1)


class Worker(Process):
    """Fails while the file `broken` is there; with `slow` it says that it began, and waits."""

    @reacts
    async def work(self, event: Started) -> Finish:
        if Path("broken").exists():
            raise RuntimeError("broken")
        if Path("slow").exists():
            os.mkfifo("begun")
            with open("begun", "w") as begun:
                begun.write("begun")
            sleep(60)
        return Finish(name=event.name)
'''


@pytest.fixture
def works(tmp_path: Path) -> Path:
    package = tmp_path / "aggregates" / "works"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(WORKS)
    return tmp_path


@pytest.fixture
def found_here(works: Path) -> Iterator[None]:
    """The domain is found, as in its directory."""
    path, packages = sys.path[:], {name: import_module(name).__path__ for name in PACKAGES}
    find_code_in(str(works))
    yield
    sys.path[:] = path
    for name, places in packages.items():
        import_module(name).__path__ = places
    for name in [one for one in sys.modules if one.startswith("aggregates.works")]:
        del sys.modules[name]


def test_an_event_of_an_older_version_is_shown_as_it_is_read_today(
    run, works, found_here, service, data_directory
):
    subjects = Subjects("works")
    data = works / "data"
    with service_process("works", data_directory=data, arguments=("--port", "0"), directory=works):
        headers = {
            "X-Event-ID": str(uuid4()),
            "X-Event-Type": "work.started",
            "X-Correlation-ID": "c",
            "X-Causation-ID": "c",
            "X-Aggregate-ID": "abc",
            "X-Aggregate-Version": "1",
            "X-Timestamp": "2026-11-21T08:30:00Z",
        }
        letter = command(
            "/x",
            consumer="process.worker",
            subject=subjects.journal("work.started", "abc"),
            data=b'{"name":"a"}',
            headers=headers,
            sequence=1,
        )
        put(data, letter, subjects=subjects)
        shown = run("dlq", "show", "works", "1", "--json", NATS_DATA_DIRECTORY=str(data)).document
        assert shown["message"]["data"] == {"name": "a"}
        assert shown["event"] == {"type": "work.started", "data": {"name": "a", "size": 1}}


def test_a_service_that_is_killed_within_a_replay_leaves_the_letter(works, service, data_directory):
    """It shares the other service's server, which outlives it."""
    url, subjects = find_url(data_directory), Subjects("works")
    arguments = ("--url", url)
    environment_of_one = {"CIM_DOMAIN_ATTEMPTS": "1", "CIM_DOMAIN_VIEWS": "memory"}
    (works / "broken").touch()

    def started() -> Any:
        return service_process(
            "works",
            data_directory=works / "data",
            arguments=arguments,
            environment=clean_environment(**environment_of_one),
            directory=works,
        )

    async def killed(one: ServiceProcess) -> None:
        async with linked(data_directory) as link:
            client = DomainClient(link, subjects, retry=5)
            await client.send("work.start", {"name": "a"})
            await letter_there(client)
            (works / "broken").unlink()
            (works / "slow").touch()
            replaying = asyncio.create_task(client.replay("process.worker", 1, timeout=2))
            await asyncio.to_thread(read_when_there, works / "begun")
            one.process.kill()
            with pytest.raises(NoAnswer):
                await replaying

    async def replayed() -> None:
        async with linked(data_directory) as link:
            client = DomainClient(link, subjects)
            assert (await client.dead_letters.overview()).counts == {"process.worker": 1}
            assert (await client.replay("process.worker", 1)).result == "handled"
            assert (await client.dead_letters.overview()).counts == {}
            types = [one.metadata.message_type async for one in client.events()]
            assert types == ["work.started", "work.finished"]

    with started() as one:
        asyncio.run(killed(one))
    (works / "slow").unlink()
    with started():
        asyncio.run(replayed())


async def letter_there(client: DomainClient) -> None:
    async with asyncio.timeout(10):
        while not (await client.dead_letters.overview()).counts:
            pass


def read_when_there(pipe: Path) -> str:
    while not pipe.exists():
        pass
    return pipe.read_text()

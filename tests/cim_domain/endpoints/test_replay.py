"""Dead letters are replayed to the consumer that failed, to it alone, and are gone once handled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from attrs import evolve

from cim_domain import Domain, Metadata, Process, Projection, answers, projects, reacts
from cim_domain.client import DomainClient
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import DeadLetter, MemoryDeadLetters
from cim_domain.endpoints.replay_by_kind import ProjectionReplay
from cim_domain.errors import Busy, Failed, Invalid, NotFound, RequestError, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.model.view import Views
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters
from cim_domain.nats.jetstream.reader import follow_stream
from cim_domain.projections.runner import OnPoison, ProjectionRunner
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.memory import MemoryEvents
from cim_domain.views.memory.database import MemoryViews
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.tallies import Add, Added, GetTally, ListNames, Tally, TallyView, request


class Copier(Process):
    """Copies a tally. What is wrong with it, `wrong` says; it may wait for a `gate`."""

    def __init__(self) -> None:
        self.wrong: Exception | None = None
        self.seen: list[str] = []
        self.gate: asyncio.Event | None = None
        self.begun = asyncio.Event()

    @reacts
    async def copy(self, event: Added) -> Add | None:
        if event.name.startswith("copy of "):
            return None
        self.seen.append(event.name)
        self.begun.set()
        if self.gate:
            await self.gate.wait()
        if self.wrong:
            raise self.wrong
        return Add(name=f"copy of {event.name}", amounts=(event.amount,))


class Watcher(Process):
    """Sees every event, and has no part in any of this."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._news = asyncio.Condition()

    @reacts
    async def watch(self, event: Added) -> None:
        async with self._news:
            self.seen.append(event.name)
            self._news.notify_all()

    async def has_seen(self, name: str) -> None:
        """Return once it has seen an event of the tally with this name."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: name in self.seen)


class Totals(Projection, name="totals"):
    """Totals in which the order shows. It cannot take in the names in `wrong`."""

    def __init__(self) -> None:
        self.wrong: set[str] = set()

    @projects(key=lambda event, _: "all")
    def added(self, view: TallyView | None, event: Added, _: Metadata) -> TallyView:
        if event.name in self.wrong:
            raise KeyError(event.name)
        before = view.name.split() if view else []
        return TallyView(
            name=" ".join([*before, event.name]),
            total=(view.total if view else 0) + event.amount,
            events=(view.events if view else 0) + 1,
        )

    @answers
    async def get(self, query: GetTally, views: Views) -> TallyView | None:
        return await views.get(TallyView, query.name)

    @answers
    async def names(self, query: ListNames, views: Views) -> list[str]:
        return []


class Bench:
    """A service with its parts at hand, and a client of it."""

    def __init__(self, nats_settings: NatsSettings, link: Link) -> None:
        self.nats_settings = nats_settings
        self.link = link
        self.subjects = Subjects("sums", nats_settings.subject_prefix)
        self.client = DomainClient(link, self.subjects)
        self._log: dict[str, Any] = {}
        self.box = self.client.dead_letters
        self.letters = StreamDeadLetters(
            link, self.subjects.dead_letter_stream, self.subjects.dead_letter_root
        )
        self.copier, self.watcher, self.totals = Copier(), Watcher(), Totals()
        self.processes: list[Process] = []

    @asynccontextmanager
    async def service(self, **settings: Any) -> AsyncIterator[Service]:
        domain = Domain(
            "sums", aggregates=[Tally], projections=[self.totals], processes=self.processes
        )
        wanted = {"views": "memory", "attempts": 1, "store_patience": 0.2, **settings}
        async with Service(domain, self.nats_settings, ServiceSettings(**wanted)) as service:
            yield service

    async def add(self, name: str, *amounts: int) -> int:
        outcome = await self.client.send(Add(name=name, amounts=amounts or (1,)))
        assert outcome.sequence is not None, outcome
        return outcome.sequence

    async def letter(self, after: int = 0) -> StoredLetter:
        """The next letter, as soon as it is there."""
        follow = follow_stream(self.link, self.subjects.dead_letter_stream, after)
        async with asyncio.timeout(10):
            async for part in follow:
                for message in part.messages:
                    await follow.aclose()
                    return await self.box.get(message.sequence)
        raise AssertionError("following ended")

    async def replay(self, letter: StoredLetter) -> str:
        replayed = await self.client.replay(letter.letter.consumer, letter.sequence)
        return replayed.result

    async def order(self, sequence: int) -> list[str]:
        """The names in the order in which the views have taken them in, up to an event at least."""
        answer = await self.client.ask(GetTally(name="all"), min_sequence=sequence)
        return answer.json()["name"].split() if answer.json() else []

    async def head(self) -> int:
        info = await call(self.link.requests, f"STREAM.INFO.{self.subjects.event_stream}")
        return int(info["state"]["last_seq"])

    async def without_store(self) -> None:
        """Take the log away, before anything is in it."""
        stream = self.subjects.event_stream
        self._log = (await call(self.link.requests, f"STREAM.INFO.{stream}"))["config"]
        await call(self.link.requests, f"STREAM.DELETE.{stream}")

    async def with_store(self) -> None:
        """The same log again, by its identity."""
        stream = self.subjects.event_stream
        await call(self.link.requests, f"STREAM.CREATE.{stream}", self._log)


@pytest.fixture
def bench(subjects: Subjects, nats_url: str, link: Link, tmp_path: Path) -> Bench:
    return Bench(
        load_settings(
            url=nats_url, subject_prefix=subjects.prefix, data_directory=tmp_path / "data"
        ),
        link,
    )


# Processes


async def test_a_process_that_was_mended_handles_the_event_and_nobody_else_does(
    bench: Bench,
) -> None:
    bench.processes = [bench.copier, bench.watcher]
    bench.copier.wrong = RuntimeError("a bug")
    async with bench.service() as service:
        await bench.add("a", 5)
        letter = await bench.letter()
        assert (letter.letter.consumer, letter.letter.code) == ("process.copier", "handler_failed")
        assert (await service.health())["checks"]["dead_letters"]["count"] == 1
        await bench.watcher.has_seen("a")
        bench.copier.wrong = None
        assert await bench.replay(letter) == "handled"
        assert bench.copier.seen == ["a", "a"]
        await bench.watcher.has_seen("copy of a")
        assert bench.watcher.seen == ["a", "copy of a"]
        assert await bench.order(2) == ["a", "copy", "of", "a"]
        with pytest.raises(NotFound):
            await bench.box.get(letter.sequence)
        assert (await service.health())["checks"]["dead_letters"]["count"] == 0


async def test_a_process_that_reacts_twice_has_one_effect(bench: Bench) -> None:
    bench.processes = [bench.copier]
    async with bench.service():
        await bench.add("a", 5)
        await bench.order(2)
        event, _ = [one async for one in bench.client.events()]
        subject = bench.subjects.journal("tally.added", event.metadata.aggregate_id or "")
        await bench.letters.put(letter_of("process.copier", subject, b"{}", sequence=1))
        assert await bench.replay(await bench.letter()) == "handled"
        assert bench.copier.seen == ["a", "a"]
        assert await bench.head() == 2


async def test_a_process_that_fails_again_keeps_its_letter_and_says_why(bench: Bench) -> None:
    bench.processes = [bench.copier]
    bench.copier.wrong = RuntimeError("a bug")
    async with bench.service():
        await bench.add("a")
        letter = await bench.letter()
        bench.copier.wrong = LookupError("another bug")
        with pytest.raises(Failed, match="LookupError") as failed:
            await bench.replay(letter)
        assert failed.value.code == "handler_failed"
        assert await bench.box.get(letter.sequence) == letter
        assert (await bench.box.overview()).counts == {"process.copier": 1}


async def test_a_letter_that_is_being_replayed_is_not_replayed_again(bench: Bench) -> None:
    bench.processes = [bench.copier]
    bench.copier.wrong = RuntimeError("a bug")
    async with bench.service():
        await bench.add("a")
        letter = await bench.letter()
        bench.copier.wrong, bench.copier.gate = None, asyncio.Event()
        bench.copier.begun.clear()
        first = asyncio.create_task(bench.replay(letter))
        await bench.copier.begun.wait()
        with pytest.raises(Busy):
            await bench.replay(letter)
        bench.copier.gate.set()
        assert await first == "handled"
    assert bench.copier.seen == ["a", "a"]


async def test_an_event_is_read_from_the_log_and_not_from_the_letter(bench: Bench) -> None:
    bench.processes = [bench.copier]
    async with bench.service():
        await bench.add("a")
        await bench.order(2)
        forged = letter_of("process.copier", "t.journal.3.tally.x.added", b"{}", sequence=1)
        await bench.letters.put(forged)
        letter = await bench.letter()
        with pytest.raises(Failed) as failed:
            await bench.replay(letter)
        assert failed.value.code == "event_gone"
    assert bench.copier.seen == ["a"]


async def test_a_letter_of_an_event_that_was_in_the_place_of_this_one_is_told_apart(
    bench: Bench,
) -> None:
    bench.processes = [bench.copier]
    async with bench.service():
        await bench.add("a")
        await bench.order(2)
        event = (await anext(bench.client.events())).metadata
        subject = bench.subjects.journal(event.message_type, event.aggregate_id or "")
        lost = letter_of("process.copier", subject, b"{}", sequence=1)
        await bench.letters.put(evolve(lost, headers={"X-Event-ID": str(uuid4())}))
        with pytest.raises(Failed) as failed:
            await bench.replay(await bench.letter())
        assert failed.value.code == "event_gone"
    assert bench.copier.seen == ["a"]


# Commands


async def test_a_command_without_a_reply_is_carried_out_once_when_the_store_is_back(
    bench: Bench,
) -> None:
    async with bench.service():
        await bench.without_store()
        subject = bench.subjects.command("tally.add")
        await bench.link.client.publish(subject, b'{"name":"a","amounts":[3]}')
        letter = await bench.letter()
        assert (letter.letter.consumer, letter.letter.subject) == ("commands", subject)
        assert letter.letter.data == b'{"name":"a","amounts":[3]}'
        with pytest.raises(RequestError):
            await bench.replay(letter)
        await bench.with_store()
        assert await bench.replay(letter) == "handled"
        # The id of its first attempt is in the letter: repeated, it changes nothing.
        await bench.letters.put(letter.letter)
        assert await bench.replay(await bench.letter(letter.sequence)) == "handled"
        (event,) = [one async for one in bench.client.events()]
        assert event.metadata.causation_id == letter.letter.headers["X-Command-ID"]


async def test_a_command_that_the_domain_rejects_is_settled(bench: Bench) -> None:
    async with bench.service():
        await bench.letters.put(command_letter(bench, b'{"name":"a","amounts":[-1]}'))
        letter = await bench.letter()
        replayed = await bench.client.replay("commands", letter.sequence)
        assert (replayed.result, replayed.message) == ("rejected", "a only grows")
        assert (await bench.box.overview()).counts == {}


async def test_a_command_that_cannot_be_read_stays(bench: Bench) -> None:
    async with bench.service():
        await bench.link.client.publish(bench.subjects.command("tally.add"), b"{")
        letter = await bench.letter()
        with pytest.raises(Invalid):
            await bench.replay(letter)
        assert await bench.box.get(letter.sequence) == letter


async def test_a_command_of_which_a_part_is_missing_is_not_replayed(bench: Bench) -> None:
    async with bench.service():
        note = "x" * (bench.link.client.max_payload - 40)
        await bench.letters.put(
            command_letter(bench, orjson.dumps({"name": "a", "amounts": [1], "note": note}))
        )
        letter = await bench.letter()
        assert letter.cut_from
        assert letter.cut_from > len(letter.letter.data)
        with pytest.raises(Failed, match="send it again") as failed:
            await bench.replay(letter)
        assert failed.value.code == "letter_cut"
        assert (await bench.box.get(letter.sequence)).cut_from == letter.cut_from


async def test_a_letter_whose_message_came_elsewhere_is_not_carried_out(bench: Bench) -> None:
    async with bench.service():
        await bench.letters.put(
            letter_of("commands", bench.subjects.query("tally.get"), b'{"name":"a"}')
        )
        with pytest.raises(Failed) as failed:
            await bench.replay(await bench.letter())
        assert failed.value.code == "bad_letter"


@pytest.mark.parametrize("header", ["X-Command-ID", "Nats-Msg-Id", None])
async def test_a_stored_command_keeps_its_id_when_it_is_replayed(
    bench: Bench, header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_id = str(uuid4())
    headers = {header: command_id} if header else None
    execute, problems = Executor.execute, [ZeroDivisionError("a bug")]

    async def at_first_with_a_bug(self: Executor, request: CommandRequest) -> Outcome:
        if problems:
            raise problems.pop()
        return await execute(self, request)

    monkeypatch.setattr(Executor, "execute", at_first_with_a_bug)
    async with bench.service():
        await bench.link.requests.one(
            bench.subjects.submit("tally.add"),
            b'{"name":"a","amounts":[3]}',
            headers=headers,
            timeout=5,
        )
        letter = await bench.letter()
        assert letter.letter.consumer == "submit"
        assert await bench.replay(letter) == "handled"
        (event,) = [one async for one in bench.client.events()]
        if header:
            assert event.metadata.causation_id == command_id
        status = await bench.client.ask(
            "command.status", {"command_id": event.metadata.causation_id}
        )
        assert status.json()["status"] == "accepted"


# Projections


async def test_a_stopped_projection_goes_on_from_the_event_in_order(bench: Bench) -> None:
    bench.totals.wrong = {"b"}
    async with bench.service() as service:
        for name in "abc":
            await bench.add(name)
        letter = await bench.letter()
        await state(service, "stopped")
        check = (await service.health())["checks"]["projection.totals"]
        assert (check["position"], check["lag"]) == (1, 2)
        bench.totals.wrong = set()
        assert await bench.replay(letter) == "handled"
        assert await bench.order(3) == ["a", "b", "c"]
        check = (await service.health())["checks"]["projection.totals"]
        assert (check["state"], check["lag"]) == ("live", 0)
        assert (await bench.box.overview()).counts == {}


async def test_a_projection_that_stops_at_the_event_again_says_so_with_one_letter(
    bench: Bench,
) -> None:
    bench.totals.wrong = {"b", "c"}
    async with bench.service() as service:
        for name in "abc":
            await bench.add(name)
        letter = await bench.letter()
        for _ in range(2):
            with pytest.raises(Failed, match="KeyError") as failed:
                await bench.replay(letter)
            assert failed.value.code == "cannot_project"
        assert await bench.box.page() == [letter]
        bench.totals.wrong = {"c"}
        assert await bench.replay(letter) == "handled"
        # It goes on, up to the next one.
        await bench.add("d")
        following = await bench.letter(letter.sequence)
        assert following.letter.sequence == 3
        await bench.letters.put(letter_of("projection.totals", letter.letter.subject, b"", 4))
        last = await bench.letter(following.sequence)
        with pytest.raises(Failed, match="replay that one first") as failed:
            await bench.replay(last)
        assert failed.value.details["sequence"] == 3
        await state(service, "stopped")


async def test_an_event_that_the_log_does_not_have_is_gone_whatever_the_views_have_read(
    bench: Bench,
) -> None:
    async with bench.service():
        await bench.add("a")
        await bench.order(1)
        (event,) = [one async for one in bench.client.events()]
        subject = bench.subjects.journal("tally.added", event.metadata.aggregate_id or "")
        beyond = letter_of("projection.totals", subject, b"{}", 9)
        other = letter_of("projection.totals", subject, b"{}", 1)
        other = evolve(other, headers={"X-Event-ID": str(uuid4())})
        for one in (beyond, other):
            await bench.letters.put(one)
        for letter in await bench.box.page():
            with pytest.raises(Failed, match="not the one that it came from") as failed:
                await bench.replay(letter)
            assert failed.value.code == "event_gone"
        assert await bench.order(1) == ["a"]


async def test_what_a_restart_has_taken_in_is_not_taken_in_again(bench: Bench) -> None:
    bench.totals.wrong = {"b"}
    async with bench.service(views="sqlite"):
        for name in "abc":
            await bench.add(name)
        letter = await bench.letter()
    bench.totals.wrong = set()
    async with bench.service(views="sqlite"):
        assert await bench.order(3) == ["a", "b", "c"]
        assert await bench.replay(letter) == "handled_before"
        assert await bench.order(3) == ["a", "b", "c"]
        assert (await bench.box.overview()).counts == {}


@pytest.mark.parametrize("views", ["memory", "sqlite"])
async def test_an_event_that_was_skipped_comes_to_its_place_in_the_order(
    bench: Bench, views: str
) -> None:
    bench.totals.wrong = {"b", "d"}
    async with bench.service(views=views, on_poison="skip") as service:
        for name in "abcde":
            await bench.add(name)
        first = await bench.letter()
        second = await bench.letter(first.sequence)
        assert await bench.order(5) == ["a", "c", "e"]
        with pytest.raises(Failed, match="KeyError"):
            await bench.replay(first)
        assert await bench.order(5) == ["a", "c", "e"]
        assert await bench.box.page() == [first, second]
        bench.totals.wrong = {"d"}
        assert await bench.replay(first) == "handled"
        assert await bench.order(5) == ["a", "b", "c", "e"]
        assert await bench.box.page() == [second]
        await bench.letters.put(DeadLetter(**{**fields(first.letter), "subject": "again"}))
        again = await bench.letter(second.sequence)
        assert await bench.replay(again) == "handled_before"
        assert await bench.order(5) == ["a", "b", "c", "e"]
        bench.totals.wrong = set()
        assert await bench.replay(second) == "handled"
        assert await bench.order(5) == ["a", "b", "c", "d", "e"]
        await bench.add("f")
        assert await bench.order(6) == ["a", "b", "c", "d", "e", "f"]
        assert (await service.health())["status"] == "healthy"


async def test_an_event_that_was_skipped_before_a_restart_is_missing_until_it_is_replayed(
    bench: Bench,
) -> None:
    bench.totals.wrong = {"b"}
    async with bench.service(views="sqlite", on_poison="skip"):
        for name in "abc":
            await bench.add(name)
        letter = await bench.letter()
        await bench.order(3)
    bench.totals.wrong = set()
    async with bench.service(views="sqlite"):
        assert await bench.order(3) == ["a", "c"]
        assert await bench.replay(letter) == "handled"
        assert await bench.order(3) == ["a", "b", "c"]


async def test_a_service_that_stops_gives_up_building_and_keeps_the_views(bench: Bench) -> None:
    domain = Domain("sums", aggregates=[Tally], projections=[bench.totals])
    model = domain.projections["totals"]
    log, database, letters = MemoryEvents(), MemoryViews(), MemoryDeadLetters()
    executor = Executor(domain, log, ReplayingRepository(domain, log), source="s")
    for name in "abc":
        await executor.execute(request(domain, Add(name=name)))
    parts = (domain, model, log, database, letters, bench.subjects, OnPoison.SKIP)
    bench.totals.wrong = {"b"}
    runner = ProjectionRunner(*parts)
    await runner.open()
    runner.start()
    await runner.reached(3, 5)
    bench.totals.wrong = set()
    replay = ProjectionReplay(domain, model, runner, *parts[2:])
    stored = StoredLetter(
        sequence=1, time=datetime.now(UTC), letter=letters.letters[0], cut_from=None
    )
    replay.close()
    with pytest.raises(Unavailable) as refused:
        await replay(stored)
    assert refused.value.code == "stopping"
    assert runner.status.generation == 1
    assert await runner.has_skipped(2)
    await runner.stop()


async def test_instances_with_shared_views_all_go_on(bench: Bench) -> None:
    bench.totals.wrong = {"b"}
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(bench.service(views="sqlite")) for _ in range(2)
        ]
        for name in "abc":
            await bench.add(name)
        letter = await bench.letter()
        for service in services:
            await state(service, "stopped")
        assert len(await bench.box.page()) == 1
        bench.totals.wrong = set()
        assert await bench.replay(letter) == "handled"
        await bench.add("d")
        for service in services:
            await state(service, "live")
        for _ in range(8):
            assert await bench.order(4) == ["a", "b", "c", "d"]


async def test_one_of_the_instances_replays_a_process(bench: Bench) -> None:
    bench.processes = [bench.copier]
    bench.copier.wrong = RuntimeError("a bug")
    async with bench.service(), bench.service():
        await bench.add("a")
        letter = await bench.letter()
        bench.copier.wrong = None
        assert await bench.replay(letter) == "handled"
        assert bench.copier.seen == ["a", "a"]


# Requests


async def test_there_is_nothing_to_replay_at_an_unknown_sequence(bench: Bench) -> None:
    async with bench.service():
        with pytest.raises(NotFound) as failed:
            await bench.client.replay("commands", 7)
    assert (failed.value.code, failed.value.details) == ("not_found", {"sequence": 7})


async def test_a_letter_goes_to_no_other_consumer(bench: Bench) -> None:
    bench.processes = [bench.copier]
    async with bench.service():
        await bench.letters.put(command_letter(bench, b'{"name":"a"}'))
        letter = await bench.letter()
        with pytest.raises(NotFound, match="one of commands"):
            await bench.client.replay("process.copier", letter.sequence)
        await bench.letters.put(letter_of("process.gone", "x", b""))
        gone = await bench.letter(letter.sequence)
        with pytest.raises(NotFound) as failed:
            await bench.replay(gone)
        assert failed.value.code == "unknown_consumer"
        assert await bench.box.page() == [letter, gone]
        assert bench.copier.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b"{}",
        b'{"sequence":0}',
        b'{"sequence":"1"}',
        b'{"sequence":1,"x":2}',
        b'{"sequence":9223372036854775808}',
        b'{"sequence":' + b"9" * 400 + b"}",
    ],
)
async def test_a_request_that_names_no_letter_is_invalid(bench: Bench, body: bytes) -> None:
    async with bench.service():
        reply = await bench.link.requests.one(bench.subjects.replay("commands"), body, timeout=5)
    assert orjson.loads(reply.data)["error"]["code"] == "invalid"
    assert reply.headers
    assert reply.headers["Nats-Service-Error-Code"] == "400"


@pytest.mark.parametrize("consumer", ["", "*", "a.>", "a b", "a..b"])
async def test_the_client_sends_no_name_that_is_a_pattern(bench: Bench, consumer: str) -> None:
    with pytest.raises(Invalid):
        await bench.client.replay(consumer, 1)


async def state(service: Service, wanted: str) -> None:
    """Until the projection is so."""
    async with asyncio.timeout(10):
        while (await service.health())["checks"]["projection.totals"]["state"] != wanted:
            pass


def letter_of(consumer: str, subject: str, data: bytes, sequence: int = 0) -> DeadLetter:
    return DeadLetter(
        consumer=consumer, subject=subject, data=data, code="c", reason="r", sequence=sequence
    )


def command_letter(bench: Bench, data: bytes) -> DeadLetter:
    return letter_of("commands", bench.subjects.command("tally.add"), data)


def fields(letter: DeadLetter) -> dict[str, Any]:
    names = (
        "consumer", "subject", "headers", "data", "code", "reason", "sequence", "deliveries"
    )  # fmt: skip
    return {name: getattr(letter, name) for name in names}

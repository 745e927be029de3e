"""Processes: at least once for each event, and one effect of what follows from it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cim_domain import Command, Domain, Metadata, Process, reacts
from cim_domain.backoff import Backoff
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.errors import (
    Busy,
    Conflict,
    Failed,
    NotFound,
    RequestError,
    Unavailable,
)
from cim_domain.identity import derived_id
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, answer_of, call
from cim_domain.nats.jetstream.buckets import bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.nats.jetstream.subscriber import Retries
from cim_domain.observability.health import HealthStatus
from cim_domain.processes.runner import Execute, OnRejected, ProcessRunner
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import all_of, event, new_id
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import Add, Added, Rename, Renamed, Tallies, Tally, numbered

Reaction = Callable[[Renamed, Metadata], Awaitable[Any]]


class Echo(Process):
    """Reacts to each title as it is told to; by default by adding 1 to the tally ``echo``."""

    def __init__(self, reaction: Reaction | None = None) -> None:
        self.reaction = reaction
        self.seen: list[tuple[str, Metadata]] = []

    @reacts
    async def renamed(self, event: Renamed, metadata: Metadata) -> Command | list[Command] | None:
        self.seen.append((event.title, metadata))
        if self.reaction is None:
            return Add(name="echo")
        answer: Command | list[Command] | None = await self.reaction(event, metadata)
        return answer


class Other(Echo):
    """Another one on the same events."""


class OldEcho(Echo, history=True):
    """One that reacts to what has been, too."""


class Both(Process):
    """Reacts to two types of events."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @reacts
    async def renamed(self, event: Renamed) -> None:
        self.seen.append(event.title)

    @reacts
    async def added(self, event: Added) -> None:
        self.seen.append(event.name)


class Town:
    """A domain's log, and the processes that react to it."""

    def __init__(self, link: Link, subjects: Subjects, stack: AsyncExitStack) -> None:
        self.link = link
        self.subjects = Subjects("sums", subjects.prefix)
        self.stack = stack
        self.store = JetStreamEvents(link, self.subjects)
        self.letters = MemoryDeadLetters()
        self.requests: list[CommandRequest] = []
        self.errors: list[RequestError] = []

    async def open(self) -> "Town":
        await ensure_log(self.link.requests, self.subjects)
        await ensure_stream(self.link.requests, bucket_stream(self.subjects.outcome_bucket))
        return self

    async def execute(self, request: CommandRequest) -> Outcome:
        """Refuse as the errors say, one after another; accept the rest."""
        self.requests.append(request)
        if self.errors:
            return Outcome.refused(self.errors.pop(0), request.metadata)
        return Outcome.done(request.metadata)

    def executor(self, domain: Domain) -> Executor:
        """One that really carries out commands."""
        return Executor(domain, self.store, ReplayingRepository(domain, self.store), source="test")

    async def run(
        self,
        process: Process,
        execute: Execute | None = None,
        *,
        link: Link | None = None,
        attempts: int = 3,
        ack_wait: float = 60.0,
        log_at_hand: Callable[[], Awaitable[object]] | None = None,
        on_rejected: OnRejected = lambda *_: None,
    ) -> ProcessRunner:
        domain = domain_with(process)
        (model,) = domain.processes.values()
        runner = ProcessRunner(
            domain,
            model,
            link or self.link,
            self.subjects,
            execute or self.execute,
            self.letters,
            Retries(
                attempts=attempts,
                between=Backoff(first_delay=0.02, ceiling=0.1),
                ack_wait=ack_wait,
            ),
            log_at_hand,
            on_rejected,
        )
        await runner.start()
        self.stack.push_async_callback(runner.stop)
        return runner

    async def rename(self, title: str, name: str = "", **metadata: Any) -> Metadata:
        """Store that a tally got a title; the event's metadata."""
        tally = name or new_id()
        record = event(tally, 1, "tally.renamed", b'{"title":"%s"}' % title.encode(), **metadata)
        (position,) = await self.store.append([Commit("tally", tally, START, (record,))])
        return record.stored_at(position.sequence).metadata

    async def settled(self, name: str = "echo") -> None:
        """Return once the process has nothing to do; asked at the server's own pace."""
        stream = self.subjects.event_stream
        async with asyncio.timeout(15):
            while True:
                info = await call(self.link.requests, f"CONSUMER.INFO.{stream}.process-{name}")
                wanted = info["config"].get("filter_subject", self.subjects.journals)
                # A consumer hears of a new message a little later than whoever sent it.
                reached = info["delivered"]["stream_seq"] >= await self._last(stream, wanted)
                if reached and info["num_pending"] == info["num_ack_pending"] == 0:
                    return

    async def _last(self, stream: str, subject: str) -> int:
        request = {"last_by_subj": subject}
        try:
            found = await call(self.link.requests, f"STREAM.MSG.GET.{stream}", request)
        except ApiError as error:
            if error.status_code != 404:
                raise
            return 0
        return int(found["message"]["seq"])

    async def log(self) -> list[str]:
        return [one.metadata.message_type for one in await all_of(self.store.read())]


def domain_with(*processes: Process) -> Domain:
    return Domain("sums", aggregates=[Tally], projections=[Tallies()], processes=processes)


@pytest.fixture
async def town(link: Link, subjects: Subjects) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield await Town(link, subjects, stack).open()


def answering(*commands: Any) -> Reaction:
    async def reaction(event: Renamed, metadata: Metadata) -> Any:
        return list(commands)

    return reaction


# What a command takes from its event


async def test_a_command_s_id_is_derived_from_the_event_s(town: Town) -> None:
    await town.run(Echo())
    await town.rename("a", message_id=numbered(7))
    await town.settled()
    (request,) = town.requests
    assert request.metadata.message_id == "d6d580bd-7bd8-5387-9018-347bcc917103"


async def test_a_command_is_caused_by_the_event_in_its_name_and_trace(town: Town) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await town.run(Echo())
    cause = await town.rename(
        "a", correlation_id=numbered(1), causation_id=numbered(2),
        organization_id="acme", trace_parent=trace,
    )  # fmt: skip
    await town.settled()
    (request,) = town.requests
    metadata = request.metadata
    assert metadata.correlation_id == numbered(1)
    assert metadata.causation_id == cause.message_id
    assert metadata.organization_id == "acme"
    assert metadata.trace_parent == trace
    assert metadata.message_type == "tally.add"
    assert metadata.source == "process.echo"
    assert metadata.aggregate_id == domain_with().id_for(Add(name="echo"), "acme")
    assert request.expected_version is None


async def test_several_commands_are_sent_in_order_and_each_has_its_own_id(town: Town) -> None:
    commands = [Add(name="x"), Rename(name="y", title="t"), Add(name="x")]
    await town.run(Echo(answering(*commands)))
    await town.rename("a", message_id=numbered(7))
    await town.settled()
    assert [one.command for one in town.requests] == commands
    assert [one.metadata.message_id for one in town.requests] == [
        "d6d580bd-7bd8-5387-9018-347bcc917103",
        "3b284259-8426-5d79-88df-4fdaedacf07c",
        "cde17700-11ef-5419-acde-d35bb6b564e9",
    ]


async def test_two_processes_send_different_commands_about_one_event(town: Town) -> None:
    await town.run(Echo())
    await town.run(Other())
    await town.rename("a", message_id=numbered(7))
    for name in ("echo", "other"):
        await town.settled(name)
    assert {one.metadata.message_id for one in town.requests} == {
        "d6d580bd-7bd8-5387-9018-347bcc917103",
        "2659c673-0af8-55a8-9bcf-af68ec337991",
    }


async def test_a_process_may_return_nothing(town: Town) -> None:
    async def nothing(event: Renamed, metadata: Metadata) -> None:
        return None

    echo = Echo(nothing)
    await town.run(echo)
    cause = await town.rename("a")
    await town.settled()
    ((_, metadata),) = echo.seen
    assert (metadata.message_id, metadata.sequence) == (cause.message_id, cause.sequence)
    assert town.requests == []
    assert town.letters.letters == []


# At least once, and one effect


async def test_a_reaction_that_failed_after_its_command_has_no_second_effect(town: Town) -> None:
    echo = Echo()
    executor = town.executor(domain_with(echo))
    outcomes: list[Outcome] = []

    async def interrupted(request: CommandRequest) -> Outcome:
        outcomes.append(await executor.execute(request))
        if len(outcomes) == 1:
            raise ConnectionError
        return outcomes[-1]

    await town.run(echo, interrupted)
    await town.rename("a")
    await town.settled()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].status == "accepted"
    assert await town.log() == ["tally.renamed", "tally.added"]


async def test_one_that_goes_between_its_command_and_the_acknowledgement_has_no_second_effect(
    town: Town, nats_url: str
) -> None:
    going = await Link.open(load_settings(), name="going", url=nats_url)
    echo = Echo()
    executor = town.executor(domain_with(echo))
    gone = asyncio.Event()

    async def execute_and_go(request: CommandRequest) -> Outcome:
        outcome = await executor.execute(request)
        await going.close()
        gone.set()
        return outcome

    await town.run(echo, execute_and_go, link=going, ack_wait=0.3)
    await town.rename("a")
    await gone.wait()
    await town.run(echo, executor.execute, ack_wait=0.3)
    await town.settled()
    assert len(echo.seen) == 2
    assert await town.log() == ["tally.renamed", "tally.added"]


async def test_a_reaction_that_turns_out_otherwise_the_second_time_is_a_dead_letter(
    town: Town,
) -> None:
    """Its command has the id of the first one, and says something else: nobody guesses which."""
    answers = [Add(name="echo", amounts=(1,)), Add(name="echo", amounts=(5,))]
    echo = Echo()

    async def answer(event: Renamed, metadata: Metadata) -> Command:
        return answers[len(echo.seen) - 1]

    echo.reaction = answer
    executor = town.executor(domain_with(echo))

    async def interrupted(request: CommandRequest) -> Outcome:
        outcome = await executor.execute(request)
        if len(echo.seen) == 1:
            raise ConnectionError
        return outcome

    await town.run(echo, interrupted)
    await town.rename("a")
    await town.settled()
    assert len(echo.seen) == 2
    (added,) = [one for one in await all_of(town.store.read()) if b"amount" in one.data]
    assert b'"amount":1' in added.data
    (letter,) = town.letters.letters
    assert letter.code == "command_id_taken"


async def test_while_the_log_at_hand_is_another_one_it_does_not_react(town: Town) -> None:
    looks: list[bool] = [False, False, False, False, False]

    async def log_at_hand() -> None:
        if looks:
            looks.pop()
            assert not echo.seen
            raise Unavailable("it is another one", code="other_log")

    echo = Echo()
    await town.run(echo, attempts=2, log_at_hand=log_at_hand)
    await town.rename("a")
    await town.settled()
    # It was never an attempt, however often it came.
    assert (looks, len(echo.seen), await town.letters.count()) == ([], 1, 0)


async def test_one_that_is_rejected_is_not_sent_again_and_is_told(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo(answering(Add(name="x", amounts=(-1,)), Add(name="y")))
    told: list[tuple[str, str]] = []
    execute = town.executor(domain_with(echo)).execute
    await town.run(echo, execute, on_rejected=lambda *one: told.append(one))
    renamed = await town.rename("a")
    await town.settled()
    (line,) = (one.message for one in caplog.records if "was rejected" in one.message)
    command_id = derived_id(renamed.message_id, "echo.0")
    for what in ("process echo", command_id, "tally.add", renamed.message_id, "tally.negative"):
        assert what in line
    assert told == [("echo", "tally.negative")]
    assert len(echo.seen) == 1
    assert await town.log() == ["tally.renamed", "tally.added"]
    assert town.letters.letters == []


@pytest.mark.parametrize(
    "error",
    [Conflict("quicker"), Failed("no"), Unavailable("away"), Busy("later")],
    ids=lambda one: one.code,
)
async def test_one_that_could_not_be_carried_out_is_sent_again(
    town: Town, error: RequestError
) -> None:
    town.errors = [error]
    await town.run(Echo())
    await town.rename("a")
    await town.settled()
    first, second = town.requests
    assert first.metadata.message_id == second.metadata.message_id
    assert town.letters.letters == []


@pytest.mark.parametrize("error", [Unavailable("away"), Busy("later")], ids=lambda one: one.code)
async def test_what_the_service_itself_could_not_do_uses_up_no_attempt(
    town: Town, error: RequestError
) -> None:
    town.errors = [error] * 7
    await town.run(Echo(), attempts=1)
    await town.rename("a")
    await town.settled()
    assert len(town.requests) == 8
    assert town.letters.letters == []


async def test_one_that_never_can_be_makes_its_event_a_dead_letter_with_the_reason(
    town: Town,
) -> None:
    town.errors = [Conflict("others are quicker", code="tally.busy")] * 3
    await town.run(Echo())
    cause = await town.rename("a")
    await town.settled()
    (letter,) = town.letters.letters
    assert (letter.consumer, letter.code) == ("process.echo", "tally.busy")
    assert letter.reason == "tally.add: others are quicker"
    assert letter.subject == town.subjects.journal("tally.renamed", cause.aggregate_id or "")
    assert (letter.sequence, letter.deliveries) == (cause.sequence, 3)
    assert letter.data == b'{"title":"a"}'


@pytest.mark.parametrize(
    ("returned", "code"), [("a text", "handler_failed"), (object(), "handler_failed")]
)
async def test_where_one_thing_returned_is_no_command_none_is_sent(
    town: Town, returned: object, code: str
) -> None:
    await town.run(Echo(answering(Add(name="x"), returned)), attempts=1)
    await town.rename("a")
    await town.settled()
    assert town.requests == []
    assert [one.code for one in town.letters.letters] == [code]


class Stray(Command, type="stray.add"):
    """Of no aggregate."""


async def test_where_one_command_is_of_no_aggregate_none_is_sent(town: Town) -> None:
    await town.run(Echo(answering(Add(name="x"), Stray())), attempts=1)
    await town.rename("a")
    await town.settled()
    assert town.requests == []
    (letter,) = town.letters.letters
    assert letter.code == "unknown_command"
    assert "Stray" in letter.reason


# Which events


async def test_a_new_process_reacts_to_what_happens_from_then_on(town: Town) -> None:
    await town.rename("before")
    echo = Echo()
    await town.run(echo)
    await town.rename("after")
    await town.settled()
    assert [title for title, _ in echo.seen] == ["after"]


async def test_one_with_history_reacts_to_all_that_has_happened(town: Town) -> None:
    await town.rename("before")
    echo = OldEcho()
    await town.run(echo)
    await town.rename("after")
    await town.settled("old_echo")
    assert {title for title, _ in echo.seen} == {"before", "after"}


async def test_events_of_other_types_are_passed_over_known_or_not(town: Town) -> None:
    both = Both()
    await town.run(both)
    tally = new_id()
    records = (
        event(tally, 1, "tally.added", b'{"name":"n","amount":1}'),
        event(tally, 2, "tally.exploded", b"whatever"),
        event(tally, 3, "tally.renamed", b'{"title":"t"}'),
    )
    await town.store.append([Commit("tally", tally, START, records)])
    await town.settled("both")
    assert both.seen == ["n", "t"]
    assert town.letters.letters == []


async def test_events_of_one_aggregate_come_one_after_another(town: Town) -> None:
    running: list[str] = []
    most: list[int] = []
    together = asyncio.Barrier(3)

    async def with_one_of_each(event: Renamed, metadata: Metadata) -> None:
        assert metadata.aggregate_id not in running
        running.append(metadata.aggregate_id or "")
        most.append(len(running))
        async with asyncio.timeout(10):
            await together.wait()
        running.remove(metadata.aggregate_id or "")

    tallies = [new_id() for _ in range(3)]
    ends = dict.fromkeys(tallies, START)
    for n in range(1, 9):
        for tally, end in ends.items():
            record = event(tally, n, "tally.renamed", b'{"title":"%d"}' % n)
            (ends[tally],) = await town.store.append([Commit("tally", tally, end, (record,))])
    echo = OldEcho(with_one_of_each)
    await town.run(echo)
    await town.settled("old_echo")
    for tally in tallies:
        of_tally = [title for title, metadata in echo.seen if metadata.aggregate_id == tally]
        assert of_tally == [str(n) for n in range(1, 9)]
    assert max(most) == 3
    assert town.letters.letters == []


async def test_an_event_that_cannot_be_read_is_a_dead_letter_after_all_attempts(
    town: Town,
) -> None:
    echo = Echo()
    await town.run(echo)
    tally, data = new_id(), b"no JSON"
    record = event(tally, 1, "tally.renamed", data)
    await town.store.append([Commit("tally", tally, START, (record,))])
    await town.rename("next")
    await town.settled()
    (letter,) = town.letters.letters
    assert (letter.code, letter.deliveries, letter.data) == ("corrupt_event", 3, data)
    assert [title for title, _ in echo.seen] == ["next"]


@pytest.mark.parametrize("headers", [None, {"X-Event-ID": "1"}, {"X-Event-Type": "tally.renamed"}])
async def test_a_message_that_is_no_event_of_the_kit_is_a_dead_letter_at_once(
    town: Town, headers: dict[str, str] | None
) -> None:
    echo = Echo()
    await town.run(echo)
    subject = town.subjects.journal("tally.renamed", new_id())
    reply = await town.link.requests.one(subject, b'{"title":"t"}', headers=headers, timeout=5)
    answer_of(subject, reply)
    await town.settled()
    (letter,) = town.letters.letters
    assert (letter.code, letter.deliveries) == ("foreign_event", 1)
    assert echo.seen == []


async def test_what_a_process_does_not_react_to_any_more_is_not_replayed(town: Town) -> None:
    runner = await town.run(Echo())
    with pytest.raises(NotFound) as caught:
        await runner.replay(event(new_id(), 1, "tally.added").stored_at(1))
    assert caught.value.code == "no_reaction"


async def test_a_replayed_event_has_no_second_effect(town: Town) -> None:
    echo = Echo()
    runner = await town.run(echo, town.executor(domain_with(echo)).execute)
    await town.rename("a")
    await town.settled()
    (record, _) = await all_of(town.store.read())
    await runner.replay(record)
    assert len(echo.seen) == 2
    assert await town.log() == ["tally.renamed", "tally.added"]


# Health


async def facts(runner: ProcessRunner, lag_allowed: int = 100) -> tuple[HealthStatus, Any]:
    check = await runner.look(lag_allowed)()
    return check.status, check.facts


async def test_one_with_nothing_to_do_is_healthy(town: Town) -> None:
    runner = await town.run(Echo())
    await town.rename("a")
    await town.settled()
    expected = {"pending": 0, "in_flight": 0, "retrying": 0}
    assert await facts(runner) == (HealthStatus.HEALTHY, expected)


class Narrow(Echo, concurrency=1):
    """One after another."""


async def test_one_that_is_far_behind_is_degraded(town: Town) -> None:
    gate = asyncio.Event()

    async def wait(event: Renamed, metadata: Metadata) -> None:
        await gate.wait()

    narrow = Narrow(wait)
    runner = await town.run(narrow)
    for _ in range(4):
        await town.rename("a")
    await until(lambda: len(narrow.seen) == 1)
    expected = {"pending": 3, "in_flight": 1, "retrying": 0}
    assert await facts(runner, 3) == (HealthStatus.HEALTHY, expected)
    assert await facts(runner, 2) == (HealthStatus.DEGRADED, expected)
    gate.set()
    await town.settled("narrow")
    assert (await facts(runner, 0))[0] is HealthStatus.HEALTHY


async def test_one_that_fails_again_and_again_is_degraded_until_it_does_not(town: Town) -> None:
    gate = asyncio.Event()
    echo = Echo()

    async def fail_and_wait(event: Renamed, metadata: Metadata) -> None:
        if len(echo.seen) > 1:
            await gate.wait()
        raise ZeroDivisionError

    echo.reaction = fail_and_wait
    runner = await town.run(echo, attempts=2)
    await town.rename("a")
    await until(lambda: len(echo.seen) == 2)
    expected = {"pending": 0, "in_flight": 1, "retrying": 1}
    assert await facts(runner) == (HealthStatus.DEGRADED, expected)
    gate.set()
    await town.settled()
    assert (await facts(runner))[0] is HealthStatus.HEALTHY


async def test_one_without_its_stream_has_no_health_to_tell(town: Town) -> None:
    runner = await town.run(Echo())
    await call(town.link.requests, f"STREAM.DELETE.{town.subjects.event_stream}")
    with pytest.raises(ApiError, match="not found"):
        await facts(runner)


async def test_one_that_gets_no_messages_is_degraded_and_says_why(town: Town) -> None:
    echo = Echo()
    runner = await town.run(echo)
    await town.rename("a")
    await until(lambda: bool(echo.seen))
    runner._subscriber._trouble = "the server is away"
    status, found = await facts(runner)
    assert (status, found["error"]) == (HealthStatus.DEGRADED, "the server is away")


@pytest.mark.parametrize(
    ("process", "expected"),
    [(Echo(), "sums.journal.*.tally.*.renamed"), (Both(), "sums.journal.*.tally.*.*")],
)
async def test_a_consumer_has_the_one_filter_that_all_its_events_pass(
    town: Town, process: Process, expected: str
) -> None:
    await town.run(process)
    name = type(process).process_name
    operation = f"CONSUMER.INFO.{town.subjects.event_stream}.process-{name}"
    config = (await call(town.link.requests, operation))["config"]
    assert config["filter_subject"] == f"{town.subjects.prefix}.{expected}"

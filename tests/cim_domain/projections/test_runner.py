"""Projections run from the log into their views: in order, once, on after each interruption."""

import asyncio
import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cim_domain import Domain, Metadata, Projection, View, projects
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import DeadLetter, MemoryDeadLetters
from cim_domain.errors import RequestError, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import (
    IDLE_CHECKPOINT,
    OnPoison,
    ProjectionRunner,
    RunnerState,
    rest_after,
)
from cim_domain.store.decorator import EventsAround
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit, EventStore, Slice
from cim_domain.testing.records import event, new_id
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.memory.database import MemoryStore, MemoryViews
from cim_domain.views.port import Checkpoint, Superseded, ViewDatabase
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.faulty import Calls, FaultyViews, away, until
from tests.cim_domain.tallies import (
    Add,
    Added,
    Rename,
    Tallies,
    Tally,
    TallyView,
    request,
    tally_domain,
)

DOMAIN = tally_domain()
SUBJECTS = Subjects("sums")


class Setting:
    """One log, and the views that a projection makes of it."""

    def __init__(self, domain: Domain = DOMAIN) -> None:
        self.domain = domain
        self.log = MemoryEvents()
        self.views: ViewDatabase = MemoryViews()
        self.letters = MemoryDeadLetters()
        repository = ReplayingRepository(DOMAIN, self.log)
        self.executor = Executor(DOMAIN, self.log, repository, source="s")

    def runner(
        self,
        *,
        on_poison: OnPoison = OnPoison.STOP,
        views: ViewDatabase | None = None,
        domain: Domain | None = None,
        letters: Any = None,
    ) -> ProjectionRunner:
        domain = domain or self.domain
        (model,) = domain.projections.values()
        return ProjectionRunner(
            domain,
            model,
            self.log,
            views or self.views,
            letters or self.letters,
            SUBJECTS,
            on_poison,
        )

    async def add(self, name: str, *amounts: int) -> None:
        command = Add(name=name, amounts=amounts or (1,))
        outcome = await self.executor.execute(request(DOMAIN, command))
        assert outcome.status == "accepted"

    async def rename(self, name: str, title: str) -> None:
        await self.executor.execute(request(DOMAIN, Rename(name=name, title=title)))

    async def put(self, message_type: str, data: bytes, **metadata: Any) -> int:
        """Store an event past the domain; its sequence."""
        identifier = new_id()
        record = event(identifier, 1, message_type, data, **metadata)
        (position,) = await self.log.append([Commit("tally", identifier, START, (record,))])
        return position.sequence

    async def totals(self, domain: Domain | None = None) -> dict[str, tuple[int, int]]:
        """Of each view: the total and the number of events, as queries see them."""
        (model,) = (domain or self.domain).projections.values()
        store = await self.views.open(model)
        page = await store.reader(None).find(model.views[0], limit=500)
        return {one.name: (one.total, one.events) for one in page.items}  # type: ignore[attr-defined]

    async def folded(self) -> dict[str, tuple[int, int]]:
        """What the views must be: a fold of the log that knows nothing of runners."""
        totals: Counter[str] = Counter()
        events: Counter[str] = Counter()
        async for part in self.log.read():
            for record in part.records:
                if record.metadata.message_type == "tally.added":
                    added = DOMAIN.read_event(record.metadata, record.data)
                    assert isinstance(added, Added)
                    totals[added.name] += added.amount
                    events[added.name] += 1
        return {name: (totals[name], events[name]) for name in totals}


@pytest.fixture
def setting() -> Setting:
    return Setting()


@contextlib.asynccontextmanager
async def running(runner: ProjectionRunner) -> Any:
    await runner.open()
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


async def caught_up(runner: ProjectionRunner, setting: Setting) -> None:
    await runner.reached(await setting.log.head(), 5)


class Slices:
    """The views it is around, with every commit noted."""

    def __init__(self, inner: ViewDatabase) -> None:
        self.inner = inner
        self.commits: list[tuple[int, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def open(self, model: Any) -> Any:
        store = await self.inner.open(model)
        commit, noted = store.commit, self.commits

        async def noting(changes: Sequence[Any], *, expected: int, checkpoint: Checkpoint) -> None:
            await commit(changes, expected=expected, checkpoint=checkpoint)
            noted.append((expected, checkpoint.sequence, len(changes)))

        class Noting:
            def __getattr__(self, name: str) -> Any:
                return noting if name == "commit" else getattr(store, name)

        return Noting()


# Reading along


async def test_the_views_are_a_fold_of_the_log(setting: Setting) -> None:
    await setting.add("a", 1, 2)
    async with running(setting.runner()) as runner:
        await setting.add("b", 5)
        await setting.add("a", 3)
        await caught_up(runner, setting)
        assert runner.status.state in {RunnerState.LIVE, RunnerState.CATCHING_UP}
    assert await setting.totals() == {"a": (6, 3), "b": (5, 1)} == await setting.folded()


async def test_it_goes_on_from_its_checkpoint(setting: Setting) -> None:
    await setting.add("a", 1, 2)
    async with running(setting.runner()) as runner:
        await caught_up(runner, setting)
    await setting.add("a", 3)
    async with running(setting.runner()) as runner:
        assert runner.position == 2
        await caught_up(runner, setting)
    assert await setting.totals() == {"a": (6, 3)}


async def test_many_events_are_one_transaction_that_holds_each_view_once(setting: Setting) -> None:
    for _ in range(100):
        await setting.add("a")
        await setting.add("b")
    noting = Slices(setting.views)
    async with running(setting.runner(views=noting)) as runner:
        await caught_up(runner, setting)
    assert noting.commits == [(0, 200, 2)]


@pytest.mark.parametrize(
    ("events", "seconds"), [(1, 0.01), (11, 0.02), (91, 0.1), (1000, 0.1), (100_000, 0.1)]
)
def test_the_more_events_come_the_longer_it_rests_up_to_a_bound(
    events: int, seconds: float
) -> None:
    assert rest_after(events) == pytest.approx(seconds)


async def test_events_it_has_no_use_for_move_it_on_without_a_transaction(setting: Setting) -> None:
    noting = Slices(setting.views)
    async with running(setting.runner(views=noting)) as runner:
        for number in range(5):
            await setting.rename("a", str(number))
        await caught_up(runner, setting)
        assert runner.position == 5
        assert noting.commits == []
    assert noting.commits == [(0, 5, 0)]


async def test_the_checkpoint_follows_after_so_many_idle_events(setting: Setting) -> None:
    for _ in range(IDLE_CHECKPOINT):
        await setting.put("tally.renamed", b'{"title":"x"}')
    noting = Slices(setting.views)
    async with running(setting.runner(views=noting)) as runner:
        await caught_up(runner, setting)
        assert noting.commits == [(0, IDLE_CHECKPOINT, 0)]


async def test_two_runners_on_one_database_apply_nothing_twice(setting: Setting) -> None:
    async with running(setting.runner()) as one, running(setting.runner()) as other:
        for number in range(100):
            await setting.add("ab"[number % 2], number) if number else None
            if number % 10 == 0:
                await caught_up(one, setting)
        await caught_up(one, setting)
        await caught_up(other, setting)
    assert await setting.totals() == await setting.folded()


# What cannot be projected


POISON: Mapping[str, tuple[str, bytes, dict[str, Any], str]] = {
    "not what its type declares": ("tally.added", b'{"name":1}', {}, "corrupt_event"),
    "no JSON": ("tally.added", b"{", {}, "corrupt_event"),
    "a value that views cannot hold": (
        "tally.added",
        b'{"name":"big","amount":170141183460469231731687303715884105728}',
        {},
        "cannot_project",
    ),
}


@pytest.mark.parametrize("poison", POISON)
async def test_at_an_event_that_cannot_be_projected_it_stops_and_says_why(
    setting: Setting, poison: str
) -> None:
    message_type, data, metadata, code = POISON[poison]
    await setting.add("a", 1)
    sequence = await setting.put(message_type, data, **metadata)
    await setting.add("a", 2)
    runner = setting.runner()
    await runner.run()
    assert runner.status.state is RunnerState.STOPPED
    assert runner.status.error
    assert f"sequence {sequence}" in runner.status.error
    assert runner.position == sequence - 1
    (letter,) = setting.letters.letters
    assert (letter.code, letter.sequence) == (code, sequence)
    assert (letter.consumer, letter.data) == ("projection.tallies", data)
    assert re.match(r"sums\.journal\.\d+\.tally\.", letter.subject)
    assert await setting.totals() == {"a": (1, 1)}


@pytest.mark.parametrize("poison", POISON)
async def test_skipping_goes_on_behind_it_and_leaves_one_dead_letter(
    setting: Setting, poison: str
) -> None:
    message_type, data, metadata, code = POISON[poison]
    await setting.add("a", 1)
    await setting.put(message_type, data, **metadata)
    await setting.add("a", 2)
    for _ in range(2):
        async with running(setting.runner(on_poison=OnPoison.SKIP)) as runner:
            await caught_up(runner, setting)
    assert [letter.code for letter in setting.letters.letters] == [code]
    assert await setting.totals() == {"a": (3, 2)}


async def test_stopped_again_at_the_same_event_it_is_one_dead_letter(setting: Setting) -> None:
    await setting.put("tally.added", b"{")
    await setting.runner().run()
    await setting.runner().run()
    assert len(setting.letters.letters) == 1


@pytest.mark.parametrize("on_poison", OnPoison)
async def test_at_an_event_of_newer_code_it_waits_and_says_so_whatever_is_set(
    setting: Setting, on_poison: OnPoison
) -> None:
    await setting.add("a", 1)
    newer = await setting.put("tally.added", b"{}", schema_version=7)
    await setting.add("a", 2)
    async with running(setting.runner(on_poison=on_poison)) as runner:
        await until(lambda: runner.status.state is RunnerState.WAITING)
        assert "tally.added in version 7" in (runner.status.error or "")
        assert runner.position == newer - 1
        assert await setting.totals() == {"a": (1, 1)}
        assert setting.letters.letters == []


async def test_where_newer_code_has_moved_the_views_over_it_it_goes_on(setting: Setting) -> None:
    newer = await setting.put("tally.added", b"{}", schema_version=7)
    async with running(setting.runner()) as runner:
        await until(lambda: runner.status.state is RunnerState.WAITING)
        views = await setting.views.open(setting.domain.projections["tallies"])
        await views.commit((), expected=await read_up_to(views), checkpoint=Checkpoint(newer))
        await setting.add("a", 2)
        await caught_up(runner, setting)
        assert runner.status.state is RunnerState.LIVE
    assert await setting.totals() == {"a": (2, 1)}


async def test_events_of_types_that_nobody_knows_are_passed_by(setting: Setting) -> None:
    await setting.put("tally.vanished", b"whatever")
    await setting.add("a", 1)
    async with running(setting.runner()) as runner:
        await caught_up(runner, setting)
    assert await setting.totals() == {"a": (1, 1)}
    assert setting.letters.letters == []


class Odd(View, name="odd"):
    name: str
    total: int
    events: int


class Wrongly(Projection, name="tallies"):
    """What it does for one name is a mistake."""

    @projects(key=lambda event, _: event.name)
    def added(self, view: TallyView | None, event: Added, metadata: Metadata) -> TallyView:
        if event.name == "mistake":
            raise KeyError(metadata.sequence)
        if event.name == "other":
            return Odd(name="other", total=1, events=1)  # type: ignore[return-value]
        if event.name == "unfit":
            return TallyView.model_construct(name=event.name, total="many", events=1)
        return TallyView(name=event.name, total=event.amount, events=1)


@pytest.mark.parametrize("name", ["mistake", "other", "unfit"])
async def test_a_mistake_of_the_projection_is_a_dead_letter_of_that_event(name: str) -> None:
    setting = Setting(Domain("sums", aggregates=[Tally], projections=[Wrongly()]))
    await setting.add("a", 1)
    await setting.add(name, 1)
    await setting.add("b", 1)
    async with running(setting.runner(on_poison=OnPoison.SKIP)) as runner:
        await caught_up(runner, setting)
    assert [letter.code for letter in setting.letters.letters] == ["cannot_project"]
    assert set(await setting.totals()) == {"a", "b"}


async def test_while_dead_letters_cannot_be_kept_it_waits_before_the_event(
    setting: Setting,
) -> None:
    class Away(MemoryDeadLetters):
        tries = 0
        tried = asyncio.Event()

        async def put(self, letter: DeadLetter) -> None:
            self.tries += 1
            if self.tries == 1:
                self.tried.set()
                raise away()
            await super().put(letter)

    letters = Away()
    await setting.put("tally.added", b"{")
    async with running(setting.runner(on_poison=OnPoison.SKIP, letters=letters)) as runner:
        await letters.tried.wait()
        assert runner.position == 0
        await caught_up(runner, setting)
    assert len(letters.letters) == 1


# Interruptions


async def test_while_the_views_are_away_it_waits_and_then_goes_on(setting: Setting) -> None:
    await setting.add("a", 1)
    calls = Calls(3, away(), afterwards=False)
    async with running(setting.runner(views=FaultyViews(setting.views, calls))) as runner:
        await caught_up(runner, setting)
        assert calls.failed
        await setting.add("a", 2)
        await caught_up(runner, setting)
    assert await setting.totals() == {"a": (3, 2)}


async def test_waiting_is_a_state_that_says_what_for(setting: Setting) -> None:
    await setting.add("a", 1)
    failing = Calls(3, away(), afterwards=False)
    runner = setting.runner(views=FaultyViews(setting.views, failing))
    await runner.open()
    runner.start()
    await until(lambda: runner.status.state is RunnerState.WAITING)
    assert runner.status.error == "the server is away"
    assert runner.status.lag == 1
    await caught_up(runner, setting)
    await until(lambda: runner.status.error is None)
    await runner.stop()


class Crash(BaseException):
    """The end of the process, as far as a runner can tell."""


async def interrupted(
    setting: Setting, calls: Calls, *, on_poison: OnPoison = OnPoison.SKIP
) -> None:
    """Run until the views' nth call ends it, or until all is read."""
    runner = setting.runner(views=FaultyViews(setting.views, calls), on_poison=on_poison)
    task = asyncio.create_task(runner.run())
    reached = asyncio.create_task(runner.reached(await setting.log.head(), 5))
    await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
    for one in (task, reached):
        one.cancel()
        with contextlib.suppress(Crash, asyncio.CancelledError):
            await one


@pytest.fixture(params=["memory", "sqlite"])
async def database(request: Any, tmp_path: Any) -> Any:
    if request.param == "memory":
        made: ViewDatabase = MemoryViews()
    else:
        made = SqlViews.sqlite(tmp_path / "views.sqlite3", "sums", "log")
    yield made
    await made.close()


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("error", [Crash, away])
async def test_ended_at_any_step_it_neither_repeats_nor_drops_an_event(
    database: ViewDatabase, error: Callable[[], BaseException], *, afterwards: bool
) -> None:
    for step in range(1, 100):
        setting = Setting(
            Domain("sums", aggregates=[Tally], projections=[_named(f"t{step}{afterwards}".lower())])
        )
        setting.views = database
        await setting.add("a", 1, 2)
        await setting.put("tally.added", b"{")
        await setting.rename("a", "x")
        await setting.add("b", 3)
        calls = Calls(step, error(), afterwards=afterwards)
        await interrupted(setting, calls)
        await setting.add("a", 4)
        async with running(setting.runner(on_poison=OnPoison.SKIP)) as runner:
            await caught_up(runner, setting)
        assert await setting.totals() == {"a": (7, 3), "b": (3, 1)}
        assert len(setting.letters.letters) == 1
        if not calls.failed:
            break
    assert step > 4


def _named(name: str, version: int = 1) -> Projection:
    """The projection under another name or in another version, so that its views are others."""
    made = type("Named", (Tallies,), {}, name=name, version=version)
    projection: Projection = made()
    return projection


# Rebuilding


def version(number: int) -> Domain:
    return Domain("sums", aggregates=[Tally], projections=[_named("tallies", number)])


async def test_a_new_version_is_built_beside_the_old_one_and_switched_to(setting: Setting) -> None:
    await setting.add("a", 1)
    async with running(setting.runner(domain=version(1))) as old:
        await caught_up(old, setting)
        new = setting.runner(domain=version(2))
        await new.open()
        with pytest.raises(Unavailable) as caught:
            new.reader(None)
        assert caught.value.code == "rebuilding"
        assert await old.reader(None).count(TallyView) == 1
        new.start()
        await caught_up(new, setting)
        await until(lambda: new.status.state is RunnerState.LIVE)
        assert await new.reader(None).get(TallyView, "a") == TallyView(name="a", total=1, events=1)
        await new.stop()


async def test_it_is_switched_to_although_the_last_events_changed_nothing(setting: Setting) -> None:
    await setting.add("a", 1)
    # More than are read at once, so that the new views' last transaction ends before them.
    for _ in range(1005):
        await setting.put("tally.renamed", b'{"title":"x"}')
    async with running(setting.runner(domain=version(1))) as old:
        await caught_up(old, setting)
    async with running(setting.runner(domain=version(2))) as new:
        await caught_up(new, setting)
        await until(lambda: new.status.state is RunnerState.LIVE)
        assert await new.reader(None).count(TallyView) == 1


async def test_views_that_were_dropped_are_built_again_from_the_start(setting: Setting) -> None:
    await setting.add("a", 1)
    old = setting.runner(domain=version(1))
    await old.open()
    old.start()
    await caught_up(old, setting)
    for later in (2, 3):
        async with running(setting.runner(domain=version(later))) as new:
            await caught_up(new, setting)
            await until(lambda: new.status.state is RunnerState.LIVE)
    # Superseded with its next event, the old code begins anew, and must not begin where it was.
    await setting.add("b", 2)
    await caught_up(old, setting)
    await until(lambda: old.status.state is RunnerState.LIVE and old.status.generation == 4)
    await old.reached(2, 5)
    assert await old.reader(None).get(TallyView, "a") == TallyView(name="a", total=1, events=1)
    assert await old.reader(None).get(TallyView, "b") == TallyView(name="b", total=2, events=1)
    await old.stop()


async def test_two_versions_run_side_by_side_and_neither_takes_the_others_views(
    setting: Setting,
) -> None:
    async with (
        running(setting.runner(domain=version(1))) as old,
        running(setting.runner(domain=version(2))) as new,
    ):
        for number in range(1, 6):
            await setting.add("a", number)
            await caught_up(old, setting)
            await caught_up(new, setting)
            await until(lambda: new.status.answers_from == 2)
            for runner in (old, new):
                found = await runner.reader(None).get(TallyView, "a")
                assert found == TallyView(name="a", total=sum(range(number + 1)), events=number)
        assert (old.status.generation, new.status.generation) == (1, 2)
    # And back again, from where the first version was.
    await setting.add("a", 1)
    async with running(setting.runner(domain=version(1))) as back:
        assert (back.position, back.status.answers_from) == (5, 1)
        await caught_up(back, setting)
        found = await back.reader(None).get(TallyView, "a")
        assert found == TallyView(name="a", total=16, events=6)


# Waiting for it


async def test_reached_returns_as_soon_as_the_event_is_in_the_views(setting: Setting) -> None:
    async with running(setting.runner()) as runner:
        waiting = asyncio.create_task(runner.reached(2, 5))
        await setting.add("a", 1)
        await runner.reached(1, 5)
        assert not waiting.done()
        await setting.add("a", 1)
        await waiting
        assert await setting.totals() == {"a": (2, 2)}


async def test_reached_gives_up_in_time_and_says_how_far_it_is(setting: Setting) -> None:
    await setting.add("a", 1)
    async with running(setting.runner()) as runner:
        await caught_up(runner, setting)
        with pytest.raises(Unavailable) as caught:
            await runner.reached(9, 0.01)
    assert caught.value.code == "behind"
    assert caught.value.details == {"sequence": 1, "min_sequence": 9}


async def test_nobody_waits_for_a_runner_that_was_told_to_stop(setting: Setting) -> None:
    runner = setting.runner()
    await runner.open()
    runner.start()
    await runner.stop()
    await runner.stop()
    assert runner.status.position == 0


def test_superseded_is_no_answer_to_a_client() -> None:
    assert not issubclass(Superseded, RequestError)


# Views that were lost, or set back


def reading_code(runner: ProjectionRunner) -> str:
    try:
        runner.reader(None)
    except Unavailable as error:
        return error.code
    return "read"


class Held(EventsAround):
    """A log of which no more than so many records are read for now."""

    def __init__(self, inner: EventStore, limit: int) -> None:
        super().__init__(inner)
        self.limit = limit
        self.let_go = asyncio.Event()

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        async with contextlib.aclosing(self.inner.follow(after)) as slices:
            async for part in slices:
                yield Slice(part.records[: self.limit], part.head)
                if part.records:
                    await self.let_go.wait()
                    yield Slice(part.records[self.limit :], part.head)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_views_that_were_lost_are_rebuilding_up_to_where_the_log_ended_at_the_opening(
    setting: Setting, kind: str, tmp_path: Path
) -> None:
    for number in range(1, 6):
        await setting.add("a", number)
    setting.views = (
        MemoryViews() if kind == "memory" else SqlViews.sqlite(tmp_path / "v", "sums", "log")
    )
    setting.log = held = Held(setting.log, 3)  # type: ignore[assignment]
    runner = setting.runner()
    await runner.open()
    assert reading_code(runner) == "rebuilding"
    runner.start()
    await runner.reached(3, 5)
    assert reading_code(runner) == "rebuilding"
    assert runner.status.answers_from is None
    with pytest.raises(Unavailable) as caught:
        await runner.reading(None, 0, 5)
    assert caught.value.code == "rebuilding"
    await runner.stop()
    # Also after a restart, which finds them half read.
    again = setting.runner()
    await again.open()
    if kind == "sqlite":
        assert again.position == 3
    assert reading_code(again) == "rebuilding"
    again.start()
    waiting = asyncio.create_task(again.reading(None, 5, 5))
    held.limit = 100
    held.let_go.set()
    assert (await waiting).sequence == 5
    assert reading_code(again) == "read"
    await again.stop()
    # Complete, they are read at once, wherever the log is by now.
    await setting.add("a", 6)
    once_more = setting.runner()
    await once_more.open()
    assert reading_code(once_more) == "read"
    await setting.views.close()


async def test_views_of_a_log_without_events_are_read_at_once(setting: Setting) -> None:
    runner = setting.runner()
    await runner.open()
    assert reading_code(runner) == "read"


Rows = dict[str, list[tuple[Any, ...]]]


def rows_in(path: Path) -> Rows:
    """All that a database holds, as a replica of it that has not heard more."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def set_back(path: Path, rows: Rows) -> None:
    """Have the replica take the place of the database."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for name, held in rows.items():
            connection.execute(f"DELETE FROM {name}")
            for row in held:
                places = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {name} VALUES ({places})", row)


@pytest.mark.parametrize("idle", [False, True])
async def test_views_that_are_set_back_are_read_on_from_there(
    setting: Setting, tmp_path: Path, idle: bool
) -> None:
    setting.views = database = SqlViews.sqlite(tmp_path / "views", "sums", "log")
    for number in range(1, 4):
        await setting.add("a", number)
    async with running(setting.runner()) as runner:
        await caught_up(runner, setting)
    copy = rows_in(tmp_path / "views")
    async with running(setting.runner()) as runner:
        await setting.add("a", 4)
        await setting.add("b", 5)
        await caught_up(runner, setting)
        set_back(tmp_path / "views", copy)
        if not idle:
            await setting.add("b", 6)
            await caught_up(runner, setting)
        expected = await setting.folded()

        async def views() -> dict[str, tuple[int, int]]:
            page = await runner.reader(None).find(TallyView, limit=500)
            return {one.name: (one.total, one.events) for one in page.items}

        async with asyncio.timeout(10):
            # The position follows the views.
            while (await views(), runner.position) != (expected, 6 - idle):  # noqa: ASYNC110
                await asyncio.sleep(0)
    await database.close()


async def test_a_stop_ends_also_while_the_views_do_not_answer(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cim_domain.projections.runner.STOPPING", 0.1)
    runner = setting.runner()
    await runner.open()
    runner.start()
    silent = asyncio.Event()

    async def commit(*_: Any, **__: Any) -> None:
        silent.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(MemoryStore, "commit", commit)
    await setting.add("a", 1)
    await silent.wait()
    async with asyncio.timeout(5):
        await runner.stop()


async def test_events_it_has_no_use_for_are_stored_by_time_too(setting: Setting) -> None:
    async with running(setting.runner()) as runner:
        await setting.add("a", 1)
        await caught_up(runner, setting)
        await setting.rename("a", "x")
        (model,) = setting.domain.projections.values()
        store = await setting.views.open(model)
        async with asyncio.timeout(10):
            while await read_up_to(store) < 2:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0)

"""Queries to a new version, while its views are being built for the first time."""

import asyncio

import pytest

from cim_domain import Domain, Projection, Query, View, Views, answers, projects
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.endpoints.queries import Answerer, Reply
from cim_domain.model.subjects import Subjects
from cim_domain.observability.health import look_at_projection
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.store.memory import MemoryEvents
from cim_domain.views.port import ViewDatabase
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import Add, Added, Rename, Tallies, Tally, request


class TallyDetail(View, name="tally", indexed=("name",)):
    """Another layout of the view."""

    name: str


class GetDetail(Query, type="tally.get"):
    name: str


class Relaid(Projection, name="tallies", version=2):
    @projects(key=lambda event, _: event.name)
    def added(self, view: TallyDetail | None, event: Added) -> TallyDetail:
        return TallyDetail(name=event.name)

    @answers
    async def get(self, query: GetDetail, views: Views) -> str:
        return query.name


def domain_of(version: int) -> Domain:
    here = {"__module__": Tallies.__module__}
    made = type("Versioned", (Tallies,), here, name="tallies", version=version)
    return Domain("sums", aggregates=[Tally], projections=[made()])


class Instance:
    """One instance of a version of the service, as far as queries and views go."""

    def __init__(self, domain: Domain, log: MemoryEvents, views: ViewDatabase) -> None:
        (model,) = domain.projections.values()
        letters = MemoryDeadLetters()
        self.runner = ProjectionRunner(domain, model, log, views, letters, Subjects("sums"))
        self.answerer = Answerer(domain, {model.name: self.runner}, wait=2)

    async def ask(self, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.answerer.answer("tally.get", named, b'{"name": "a"}')


@pytest.fixture
def log() -> MemoryEvents:
    return MemoryEvents()


@pytest.fixture
async def databases(tmp_path):
    """The same file twice, as two processes have it open."""
    both = [SqlViews.sqlite(tmp_path / "views.sqlite3", "sums", "log") for _ in range(2)]
    yield both
    for one in both:
        await one.close()


@pytest.fixture
async def old(log, databases):
    """The version before, which runs and has read one event."""
    await add(log, 7)
    old = Instance(domain_of(1), log, databases[0])
    await old.runner.open()
    old.runner.start()
    await old.runner.reached(1, 5)
    yield old
    await old.runner.stop()


async def add(log: MemoryEvents, amount: int) -> None:
    domain = domain_of(1)
    executor = Executor(domain, log, ReplayingRepository(domain, log), source="s")
    await executor.execute(request(domain, Add(name="a", amounts=(amount,))))


async def test_they_are_answered_from_the_version_before(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    reply = await new.ask()
    assert (reply.data, reply.headers) == (
        b'{"name":"a","total":7,"events":1}', {"X-Sequence": "1"},
    )  # fmt: skip
    assert (new.runner.status.generation, new.runner.status.answers_from) == (2, 1)


async def test_health_says_which_views_they_are_answered_from(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    look = look_at_projection(lambda: new.runner.status, log.head, 10)
    assert (await look()).facts["answers_from"] == 1
    new.runner.start()
    await until(lambda: new.runner.status.answers_from == 2)
    assert "answers_from" not in (await look()).facts
    await new.runner.stop()


async def test_from_the_switch_on_they_are_answered_from_its_own(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    new.runner.start()
    await until(lambda: new.runner.status.answers_from == 2)
    await old.runner.stop()
    await add(log, 1)
    reply = await new.ask(X_Min_Sequence="2")
    assert (reply.data, reply.headers) == (
        b'{"name":"a","total":8,"events":2}', {"X-Sequence": "2"},
    )  # fmt: skip
    await new.runner.stop()


async def test_who_reads_their_writes_waits_for_the_version_before(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    asked = asyncio.create_task(new.ask(X_Min_Sequence="2"))
    await asyncio.sleep(0)
    await add(log, 1)
    reply = await asked
    assert (reply.problem, reply.headers) == (None, {"X-Sequence": "2"})


async def test_a_stand_in_that_has_read_what_changed_nothing_is_not_behind(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    domain = domain_of(1)
    executor = Executor(domain, log, ReplayingRepository(domain, log), source="s")
    await executor.execute(request(domain, Rename(name="a", title="x")))
    reply = await new.ask(X_Min_Sequence="2")
    assert (reply.problem, reply.headers) == (None, {"X-Sequence": "2"})


async def test_where_nobody_writes_the_version_before_it_is_behind(log, databases, old):
    await old.runner.stop()
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    reply = await new.ask(X_Min_Sequence="2")
    assert b'"behind"' in reply.data
    assert b'{"sequence":1,"min_sequence":2}' in reply.data


async def test_the_version_before_may_be_rebuilt_meanwhile(log, databases, old):
    new = Instance(domain_of(2), log, databases[1])
    await new.runner.open()
    (model,) = domain_of(1).projections.values()
    for _ in range(2):
        builder = Instance(domain_of(1), log, databases[0]).runner
        async for _ in builder.build(await databases[0].rebuild(model)):
            pass
    reply = await new.ask()
    assert (reply.problem, reply.headers) == (None, {"X-Sequence": "1"})
    assert new.runner.status.answers_from == 4


async def test_nothing_stands_in_for_another_layout(log, databases, old):
    new = Instance(
        Domain("sums", aggregates=[Tally], projections=[Relaid()]), log, databases[1]
    )  # fmt: skip
    await new.runner.open()
    reply = await new.ask()
    assert b'"rebuilding"' in reply.data
    assert new.runner.status.answers_from is None


async def test_who_goes_back_to_views_that_were_dropped_is_answered_from_the_newer(log, databases):
    await add(log, 7)
    for version in (1, 2, 3):
        instance = Instance(domain_of(version), log, databases[0])
        await instance.runner.open()
        instance.runner.start()
        await until(lambda one=instance, own=version: one.runner.status.answers_from == own)
        await instance.runner.stop()
    back = Instance(domain_of(1), log, databases[1])
    await back.runner.open()
    reply = await back.ask()
    assert (reply.problem, reply.headers) == (None, {"X-Sequence": "1"})
    assert back.runner.status.answers_from == 3

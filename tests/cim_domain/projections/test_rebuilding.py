"""Building views anew beside the live ones, in another process than the one that reads them."""

import asyncio
from contextlib import aclosing

import pytest

from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.endpoints.queries import Answerer
from cim_domain.errors import Failed
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import OnPoison, ProjectionRunner, RunnerState
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import event, new_id
from cim_domain.views.port import Superseded, ViewDatabase
from cim_domain.views.sql.database import SqlViews
from tests.cim_domain.tallies import Add, request, tally_domain

DOMAIN = tally_domain()
(MODEL,) = DOMAIN.projections.values()


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


def runner_on(
    log: MemoryEvents, views: ViewDatabase, on_poison: OnPoison = OnPoison.STOP
) -> ProjectionRunner:
    letters = MemoryDeadLetters()
    return ProjectionRunner(DOMAIN, MODEL, log, views, letters, Subjects("sums"), on_poison)


async def add(log: MemoryEvents, name: str, amount: int) -> None:
    executor = Executor(DOMAIN, log, ReplayingRepository(DOMAIN, log), source="s")
    outcome = await executor.execute(request(DOMAIN, Add(name=name, amounts=(amount,))))
    assert outcome.status == "accepted"


async def rebuild(log: MemoryEvents, views: ViewDatabase) -> ProjectionRunner:
    runner = runner_on(log, views)
    async with aclosing(runner.build(await views.rebuild(MODEL))) as steps:
        async for _ in steps:
            pass
    return runner


async def total(answerer: Answerer) -> tuple[bytes, int]:
    reply = await answerer.answer("tally.get", {}, b'{"name": "a"}')
    assert reply.problem is None
    return reply.data, int(reply.headers["X-Sequence"])


async def test_each_step_tells_how_far_it_is_and_the_last_one_that_it_is_live(log, databases):
    for number in range(3):
        await add(log, f"t{number}", 1)
    runner = runner_on(log, databases[0])
    async with aclosing(runner.build(await databases[0].rebuild(MODEL))) as steps:
        statuses = [status async for status in steps]
    assert statuses[0].head == 3
    assert (statuses[-1].position, statuses[-1].state) == (3, RunnerState.LIVE)
    assert (await databases[0].open(MODEL)).generation == statuses[-1].generation


async def test_without_any_event_it_is_live_at_once(log, databases):
    assert (await rebuild(log, databases[0])).status.position == 0


async def test_a_service_takes_up_what_another_process_built_without_an_event(log, databases):
    await add(log, "a", 7)
    service = runner_on(log, databases[0])
    await service.open()
    service.start()
    await service.reached(1, 5)
    rebuilt = await rebuild(log, databases[1])
    assert await service.reopened(10)
    assert service.status.generation == rebuilt.status.generation == 2
    assert (service.status.position, service.status.state) == (1, RunnerState.LIVE)
    await add(log, "a", 1)
    await service.reached(2, 5)
    await service.stop()


async def test_queries_are_answered_however_often_the_views_are_replaced(log, databases):
    await add(log, "a", 7)
    service = runner_on(log, databases[0])
    answerer = Answerer(DOMAIN, {MODEL.name: service}, wait=10)
    await service.open()
    service.start()
    await service.reached(1, 5)
    before = await total(answerer)
    for _ in range(4):
        await rebuild(log, databases[1])
        assert await total(answerer) == before
    await service.stop()


async def test_until_it_has_opened_others_it_reads_what_it_has(log, databases):
    await add(log, "a", 7)
    service = runner_on(log, databases[0])
    answerer = Answerer(DOMAIN, {MODEL.name: service})
    await service.open()
    service.start()
    await service.reached(1, 5)
    await service.stop()
    before = await total(answerer)
    await rebuild(log, databases[1])
    # As its own opening does, on the way: the database knows of the others, the runner not yet.
    await databases[0].open(MODEL)
    assert await total(answerer) == before


async def test_nothing_was_replaced_where_nobody_did(log, databases):
    service = runner_on(log, databases[0])
    await service.open()
    service.start()
    assert not await service.reopened(0.2)
    assert service.status.generation == 1
    await service.stop()


async def test_an_event_that_cannot_be_projected_ends_it_and_leaves_the_live_views(log, databases):
    await add(log, "a", 7)
    live = runner_on(log, databases[0])
    await live.open()
    identifier = new_id()
    poison = event(identifier, 1, "tally.added", b"{}")
    await log.append([Commit("tally", identifier, START, (poison,))])
    with pytest.raises(Failed) as raised:
        await rebuild(log, databases[1])
    assert raised.value.code == "corrupt_event"
    assert (await databases[1].open(MODEL)).generation == 1


async def test_somebody_else_who_begins_anew_ends_it(log, databases):
    await add(log, "a", 7)
    await databases[0].open(MODEL)
    runner = runner_on(log, databases[0])
    steps = runner.build(await databases[0].rebuild(MODEL))
    await anext(steps)
    await databases[1].rebuild(MODEL)
    with pytest.raises(Superseded):
        await asyncio.wait_for(anext(steps), 10)

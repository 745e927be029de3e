"""A projection that waits: it tries again later and later, until it can go on."""

import asyncio
from collections.abc import AsyncGenerator

from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.errors import Failed
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import ProjectionRunner, ProjectionStatus, RunnerState
from cim_domain.store.decorator import EventsAround
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import Slice
from cim_domain.views.memory import MemoryViews
from tests.cim_domain.tallies import Add, request, tally_domain

DOMAIN = tally_domain()
(MODEL,) = DOMAIN.projections.values()


class BrokenLog(EventsAround):
    """A log that can be followed up to where nothing comes of it."""

    broken = True

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        async for part in self.inner.follow(after):
            if self.broken and part.records:
                raise Failed("an event cannot be read")
            yield part


class Waits:
    """When a runner began to wait, and every status."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.states: list[RunnerState] = []

    def __call__(self, status: ProjectionStatus) -> None:
        self.states.append(status.state)
        if status.state is RunnerState.WAITING and status.error == "an event cannot be read":
            now = asyncio.get_running_loop().time()
            # Told once more while it looks around.
            if not self.times or now - self.times[-1] > 0.05:
                self.times.append(now)

    async def become(self, number: int) -> list[float]:
        """The pauses, once it has waited so often."""
        async with asyncio.timeout(20):
            while len(self.times) < number:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


async def test_the_pauses_grow_until_it_has_gone_on_and_are_short_again_then() -> None:
    store = MemoryEvents()
    log, waits = BrokenLog(store), Waits()
    executor = Executor(DOMAIN, store, ReplayingRepository(DOMAIN, store), source="s")
    runner = ProjectionRunner(
        DOMAIN, MODEL, log, MemoryViews(), MemoryDeadLetters(), Subjects("sums"), on_status=waits
    )
    await executor.execute(request(DOMAIN, Add(name="a")))
    runner.start()
    pauses = await waits.become(5)
    assert pauses[-1] > 2 * pauses[0]
    assert {*waits.states[1:]} == {RunnerState.WAITING}
    log.broken = False
    await runner.reached(1, 10)
    assert runner.status.state is RunnerState.LIVE
    log.broken = True
    waits.times.clear()
    await executor.execute(request(DOMAIN, Add(name="a")))
    again = await waits.become(2)
    assert again[0] < pauses[-1]
    await runner.stop()

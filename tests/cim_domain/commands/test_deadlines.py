"""When the time of commands has run out: for each its own, with one timer for all."""

import asyncio

from cim_domain.commands.executor import Executor
from cim_domain.commands.lanes import Deadlines, Work
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.store.memory import MemoryEvents
from tests.cim_domain.counting import calls
from tests.cim_domain.tallies import Add, request, tally_domain

DOMAIN = tally_domain()


async def code(one: Work) -> str | None:
    outcome = await one.outcome
    return outcome.error.code if outcome.error else None


def work(deadline: float) -> Work:
    """A command that is due in so many seconds."""
    loop = asyncio.get_running_loop()
    return Work(
        request(DOMAIN, Add(name="t", amounts=(1,))), loop.create_future(), loop.time() + deadline
    )


async def test_each_expires_when_it_is_due_and_none_before() -> None:
    clock = asyncio.get_running_loop().time
    deadlines = Deadlines()
    answered, first, second = work(0.01), work(0.02), work(1.0)
    for one in (answered, first, second):
        deadlines.add(one)
    deadlines.remove(answered)
    assert await code(first) == "busy"
    assert not second.outcome.done()
    deadlines.remove(first)
    assert await code(second) == "busy"
    assert clock() >= second.deadline
    assert not answered.outcome.done()


async def test_what_comes_when_all_others_have_expired_expires_too() -> None:
    deadlines = Deadlines()
    for _ in range(2):
        one = work(0.01)
        deadlines.add(one)
        assert await code(one) == "busy"


async def test_commands_share_a_timer() -> None:
    store = MemoryEvents()
    executor = Executor(DOMAIN, store, ReplayingRepository(DOMAIN, store), source="sums")
    with calls() as counted:
        for number in range(50):
            await executor.execute(request(DOMAIN, Add(name=str(number), amounts=(1,))))
    assert counted["execute"] >= 50
    assert counted["call_at"] + counted["call_later"] <= 1

"""Instances that keep refusals for each other: what each of them hears, and which answer counts."""

import asyncio
from uuid import uuid4

import pytest

from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.idempotency import MemoryIdempotencyStore
from cim_domain.errors import Unavailable
from cim_domain.model.metadata import Metadata
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.idempotency.doors import (
    DOORS,
    Close,
    Enter,
    Open,
    instance,
    instance_on,
)
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import request

ENTERING = str(uuid4())


def entering(name: str = "front") -> CommandRequest:
    return request(DOORS, Enter(name=name), ENTERING)


class GatedRefusals(MemoryIdempotencyStore):
    """Keeps nothing until the gate is opened; fails then, if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.error: Unavailable | None = None

    async def keep(self, command: Metadata, outcome: Outcome) -> Outcome:
        self.arrived.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        return await super().keep(command, outcome)


@pytest.fixture
async def log(link: Link, subjects: Subjects) -> None:
    await ensure_log(link.requests, subjects)


@pytest.mark.usefixtures("log")
async def test_another_instance_hears_of_it_and_answers_the_same(
    settings: NatsSettings, subjects: Subjects
) -> None:
    async with (
        instance_on(settings, subjects) as (first, _),
        instance_on(settings, subjects) as (
            other,
            heard,
        ),
    ):
        assert not heard.may_have(entering().metadata)
        refused = await first.execute(entering())
        async with asyncio.timeout(20):
            await until(lambda: heard.may_have(entering().metadata))
        assert (await other.execute(request(DOORS, Open()))).version == 1
        assert (await other.execute(entering())).as_dict() == refused.as_dict()
        assert refused.status == "rejected"


@pytest.mark.usefixtures("log")
async def test_an_instance_that_starts_knows_all_before_it_answers(
    settings: NatsSettings, subjects: Subjects
) -> None:
    async with instance_on(settings, subjects) as (first, _):
        await asyncio.gather(
            *(first.execute(request(DOORS, Enter(name=str(n)))) for n in range(300))
        )
        refused = await first.execute(entering())
    async with instance_on(settings, subjects) as (other, heard):
        assert heard.may_have(entering().metadata)
        assert (await other.execute(request(DOORS, Open()))).version == 1
        assert (await other.execute(entering())).as_dict() == refused.as_dict()


@pytest.mark.usefixtures("log")
async def test_of_a_new_command_nothing_is_asked(
    settings: NatsSettings, subjects: Subjects
) -> None:
    async with instance_on(settings, subjects) as (one, refusals):
        await one.execute(entering())
        assert refusals.may_have(entering().metadata)
        assert not refusals.may_have(request(DOORS, Enter()).metadata)


async def test_the_answer_that_was_kept_first_counts() -> None:
    events, refusals = MemoryEvents(), MemoryIdempotencyStore()
    first, other = instance(events, refusals), instance(events, refusals)
    conflict = await first.execute(request(DOORS, Enter(), ENTERING, expected_version=3))
    assert conflict.status == "conflict"
    assert await other.execute(entering()) == conflict


async def test_where_another_instance_has_accepted_it_meanwhile_that_counts() -> None:
    events, gated = MemoryEvents(), GatedRefusals()
    slow, quick = instance(events, gated), instance(events, gated)
    refused = asyncio.create_task(slow.execute(entering()))
    await gated.arrived.wait()
    await quick.execute(request(DOORS, Open()))
    accepted = await quick.execute(entering())
    gated.gate.set()
    assert accepted.status == "accepted"
    assert await refused == accepted
    assert await slow.execute(entering()) == accepted
    assert await quick.execute(entering()) == accepted
    assert await events.head() == 2


async def test_nobody_is_answered_before_it_is_kept_but_those_with_events() -> None:
    events, gated = MemoryEvents(), GatedRefusals()
    one = instance(events, gated)
    opened, closed, nothing = [
        asyncio.create_task(one.execute(request(DOORS, command)))
        for command in (Open(), Close(), Close())
    ]
    await gated.arrived.wait()
    assert opened.done()
    assert closed.done()
    assert not nothing.done()
    gated.gate.set()
    assert (await nothing).events == ()


async def test_copies_that_wait_together_get_one_answer_and_one_failure() -> None:
    events, gated = MemoryEvents(), GatedRefusals()
    one = instance(events, gated)
    gated.error = Unavailable("the server is away")
    gated.gate.set()
    failed = await asyncio.gather(*(one.execute(entering()) for _ in range(5)))
    assert {outcome.error.code for outcome in failed if outcome.error} == {"unavailable"}
    gated.error = None
    refused = await asyncio.gather(*(one.execute(entering()) for _ in range(5)))
    assert {str(outcome) for outcome in refused} == {str(refused[0])}
    assert refused[0].status == "rejected"


async def test_memory_keeps_so_many_and_forgets_the_oldest() -> None:
    refusals = MemoryIdempotencyStore(2)
    one = instance(MemoryEvents(), refusals)
    requests = [request(DOORS, Enter()) for _ in range(3)]
    for each in requests:
        await one.execute(each)
    assert [refusals.may_have(each.metadata) for each in requests] == [False, True, True]

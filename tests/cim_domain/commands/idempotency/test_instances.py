"""Instances that keep refusals for each other: what each of them hears, and which answer counts."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.idempotency import MemoryIdempotencyStore
from cim_domain.commands.results import Answer
from cim_domain.errors import Unavailable
from cim_domain.model.metadata import Metadata
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.store.decorator import EventsAround
from cim_domain.store.jetstream import ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import Commit, EventStore, Position
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

    async def keep(self, command: Metadata, answer: Answer) -> Answer:
        self.arrived.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        return await super().keep(command, answer)


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


class SlowRefusals(MemoryIdempotencyStore):
    """Keeps at once, and says so when the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def keep(self, command: Metadata, answer: Answer) -> Answer:
        kept = await super().keep(command, answer)
        self.arrived.set()
        await self.gate.wait()
        return kept


async def test_what_another_instance_has_told_of_a_refusal_counts() -> None:
    events, slow_refusals = MemoryEvents(), SlowRefusals()
    slow, quick = instance(events, slow_refusals), instance(events, slow_refusals)
    refused = asyncio.create_task(slow.execute(entering()))
    await slow_refusals.arrived.wait()
    await quick.execute(request(DOORS, Open()))
    told = await quick.execute(entering())
    slow_refusals.gate.set()
    assert told.status == "rejected"
    assert await refused == told
    assert await slow.execute(entering()) == told
    assert await events.head() == 1


async def test_a_refusal_that_nobody_was_told_is_taken_back_where_it_may_be_accepted() -> None:
    events, slow_refusals = MemoryEvents(), SlowRefusals()
    slow, quick = instance(events, slow_refusals), instance(events, slow_refusals)
    first = asyncio.create_task(slow.execute(entering()))
    await slow_refusals.arrived.wait()
    await quick.execute(request(DOORS, Open()))
    slow_refusals.gate.set()
    accepted = await first
    assert accepted.status == "accepted"
    assert not slow_refusals.may_have(entering().metadata)
    assert await quick.execute(entering()) == accepted
    assert await events.head() == 2


class LateEvents(EventsAround):
    """Stores nothing before the gate is opened."""

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        self.arrived.set()
        await self.gate.wait()
        return await self.inner.append(commits)


async def test_a_copy_that_another_instance_is_about_to_accept_is_not_refused() -> None:
    events, refusals = MemoryEvents(), GatedRefusals()
    late = LateEvents(events)
    slow, quick = instance(events, refusals), instance(late, refusals)
    first = asyncio.create_task(slow.execute(entering()))
    await refusals.arrived.wait()
    await instance(events, None).execute(request(DOORS, Open()))
    copy = asyncio.create_task(quick.execute(entering()))
    await late.arrived.wait()
    # The copy was decided about before anything was kept, and is stored after it was.
    refusals.gate.set()
    accepted = await first
    late.gate.set()
    assert accepted.status == "accepted"
    assert await copy == accepted
    assert await events.head() == 2


@pytest.mark.usefixtures("log")
async def test_of_a_bucket_that_was_made_anew_an_instance_knows_what_others_keep(
    settings: NatsSettings, subjects: Subjects, link: Link
) -> None:
    async with instance_on(settings, subjects) as (first, refusals):
        await first.execute(request(DOORS, Enter()))
        await call(link.requests, f"STREAM.DELETE.KV_{subjects.outcome_bucket}")
        async with instance_on(settings, subjects) as (other, _):
            refused = await other.execute(entering())
            await other.execute(request(DOORS, Open()))
            async with asyncio.timeout(20):
                await until(lambda: refusals.may_have(entering().metadata))
                await until(lambda: not refusals.may_have(request(DOORS, Enter()).metadata))
            assert refused.status == "rejected"
            assert (await first.execute(entering())).as_dict() == refused.as_dict()


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("entry", ["deleted", "unreadable", "another kind"])
async def test_an_entry_that_is_spoiled_concerns_its_command_alone(
    settings: NatsSettings, subjects: Subjects, link: Link, entry: str
) -> None:
    bucket = Bucket(link, subjects.outcome_bucket)
    key = entering().metadata.message_id
    sound = request(DOORS, Enter())
    async with instance_on(settings, subjects) as (one, _):
        refused = await one.execute(sound)
        assert (await one.execute(entering())).status == "rejected"
        _, revision = await bucket.newest(key)
        if entry == "deleted":
            assert await bucket.delete(key, revision)
        else:
            await bucket.put(key, b"no JSON" if entry == "unreadable" else b'{"status": 7}')
        # In one run: one that was refused, one whose entry is spoiled, and one that is new.
        outcomes = await asyncio.gather(
            *(one.execute(each) for each in (sound, entering(), request(DOORS, Open())))
        )
        assert [outcome.status for outcome in outcomes] == ["rejected", "rejected", "accepted"]
        assert outcomes[0].as_dict() == refused.as_dict()
        # It was decided about anew, and that is what is kept.
        assert (await one.execute(entering())).as_dict() == outcomes[1].as_dict()


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

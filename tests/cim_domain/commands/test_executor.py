"""Carrying out commands, with other writers, lost acknowledgements and a server that is away."""

import asyncio
from typing import Any

import pytest

from cim_domain.commands.executor import ATTEMPTS, Executor
from cim_domain.commands.lanes import RUN
from cim_domain.commands.repository import CachingRepository, ReplayingRepository
from cim_domain.model.messages import Command
from cim_domain.model.records import EventRecord
from cim_domain.store.decorator import EventsAround
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, EventStore, Limits, Position
from cim_domain.testing.records import all_of
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.faulty import FaultyEvents, away, conflict, until
from tests.cim_domain.tallies import Add, Rename, numbered, request, tally_domain

DOMAIN = tally_domain()


def executor(store: EventStore, *, cache: int = 100, **settings: Any) -> Executor:
    """An instance of its own, with its own cache."""
    repository = CachingRepository(ReplayingRepository(DOMAIN, store), cache)
    return Executor(DOMAIN, store, repository, source="cim-domain-sums", **settings)


def add(name: str = "t", amount: int = 1, **fields: Any) -> Add:
    return Add(name=name, amounts=(amount,), **fields)


async def send(
    instance: Executor, command: Command, id_: int | None = None, expected: int | None = None
) -> Outcome:
    command_id = None if id_ is None else numbered(id_)
    return await instance.execute(request(DOMAIN, command, command_id, expected_version=expected))


def code(outcome: Outcome) -> str | None:
    return outcome.error.code if outcome.error else None


@pytest.fixture
def events() -> MemoryEvents:
    return MemoryEvents()


@pytest.fixture
def store(events: MemoryEvents) -> FaultyEvents:
    return FaultyEvents(events)


# What comes of a command


async def test_an_accepted_command_tells_where_its_events_are(store: FaultyEvents) -> None:
    instance = executor(store)
    await send(instance, add("another"))
    outcome = await send(instance, Add(name="t", amounts=(1, 2)), id_=7)
    stored = await all_of(store.read())
    assert (outcome.status, outcome.version, outcome.sequence) == ("accepted", 2, 3)
    assert outcome.command_id == outcome.correlation_id == numbered(7)
    assert [event.id for event in outcome.events] == [one.metadata.message_id for one in stored[1:]]
    assert [event.type for event in outcome.events] == ["tally.added"] * 2


async def test_a_command_without_events_tells_where_the_aggregate_is(store: FaultyEvents) -> None:
    instance = executor(store)
    await send(instance, Rename(name="t", title="a"))
    outcome = await send(instance, Rename(name="t", title="a"))
    assert (outcome.status, outcome.version, outcome.sequence) == ("accepted", 1, 1)
    assert outcome.events == ()
    assert await store.head() == 1


async def test_a_rejection_stores_nothing_and_carries_the_models_words(store: FaultyEvents) -> None:
    outcome = await send(executor(store), add(amount=2_000_000))
    assert outcome.error is not None
    assert (outcome.status, outcome.error.code) == ("rejected", "tally.full")
    assert outcome.error.details == {"total": 0}
    assert store.appended == []


# Others write, too


async def test_after_conflicts_it_decides_again_on_what_is_there(store: FaultyEvents) -> None:
    instance, other = executor(store), executor(store.inner)
    await send(instance, add(amount=600_000))
    await send(other, add(amount=300_000))
    outcome = await send(instance, add(amount=200_000))
    assert code(outcome) == "tally.full"
    assert outcome.error
    assert outcome.error.details == {"total": 900_000}
    accepted = await send(instance, add(amount=100_000))
    assert (accepted.status, accepted.version) == ("accepted", 3)


async def test_a_few_conflicts_are_survived(store: FaultyEvents) -> None:
    store.before = [conflict()] * 3
    outcome = await send(executor(store), add())
    assert outcome.status == "accepted"
    assert len(store.appended) == 4


async def test_after_a_bounded_number_of_conflicts_that_is_the_answer(store: FaultyEvents) -> None:
    instance = executor(store)
    store.always = conflict()
    outcome = await send(instance, add())
    assert (outcome.status, code(outcome)) == ("conflict", "conflict")
    assert len(store.appended) == ATTEMPTS
    store.always = None
    assert (await send(instance, add())).version == 1


async def test_a_rejection_is_never_answered_from_a_stale_cache(events: MemoryEvents) -> None:
    instance, other = executor(events), executor(events)
    await send(instance, Rename(name="t", title="a"))
    await send(other, Rename(name="t", title="b"))
    # As far as the first instance remembers, the title is "a", and there would be nothing to do.
    outcome = await send(instance, Rename(name="t", title="a"))
    assert (outcome.version, len(outcome.events)) == (3, 1)


async def test_an_expected_version_is_never_refused_from_a_stale_cache(
    events: MemoryEvents,
) -> None:
    instance, other = executor(events), executor(events)
    await send(instance, add())
    await send(other, add())
    assert (await send(instance, add(), expected=2)).status == "accepted"
    assert (await send(instance, add(), expected=2)).status == "conflict"


async def test_two_instances_on_one_aggregate_lose_nothing(events: MemoryEvents) -> None:
    instances = [executor(events), executor(events)]
    outcomes = await asyncio.gather(
        *(send(instances[number % 2], add(amount=number)) for number in range(1, 61))
    )
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    assert sorted(outcome.version or 0 for outcome in outcomes) == list(range(1, 61))
    full = await send(instances[0], add(amount=1_000_000))
    assert full.error
    assert full.error.details == {"total": sum(range(1, 61))}


# Once and no more


async def test_a_repeated_command_gets_its_first_outcome_and_stores_nothing_more(
    events: MemoryEvents,
) -> None:
    instance = executor(events)
    first = await send(instance, Add(name="t", amounts=(1, 2)), id_=1)
    await send(instance, add(), id_=2)
    again = await send(instance, Add(name="t", amounts=(1, 2)), id_=1)
    elsewhere = await send(executor(events), Add(name="t", amounts=(1, 2)), id_=1)
    assert first == again == elsewhere
    assert await events.head() == 3


async def test_a_command_sent_many_times_at_once_has_one_effect_and_one_outcome(
    events: MemoryEvents,
) -> None:
    instances = [executor(events), executor(events), executor(events)]
    outcomes = await asyncio.gather(
        *(send(instances[number % 3], add(), id_=1) for number in range(30))
    )
    assert await events.head() == 1
    assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
    assert outcomes[0].status == "accepted"


async def test_a_repeated_command_is_known_also_where_it_would_be_rejected_now(
    events: MemoryEvents,
) -> None:
    instance = executor(events)
    first = await send(instance, add(amount=1_000_000), id_=1)
    assert await send(instance, add(amount=1_000_000), id_=1) == first
    assert code(await send(instance, add(amount=1_000_000), id_=2)) == "tally.full"


async def test_an_id_that_another_aggregate_has_seen_is_refused_alone(events: MemoryEvents) -> None:
    instance = executor(events)
    await send(instance, add("first"), id_=1)
    taken, other = await asyncio.gather(
        send(instance, add("second"), id_=1), send(instance, add("second"), id_=2)
    )
    assert (taken.status, code(taken)) == ("conflict", "command_id_taken")
    assert (other.status, other.version) == ("accepted", 1)


# The server is away


async def test_a_lost_acknowledgement_fails_and_the_same_command_finds_its_effect(
    store: FaultyEvents,
) -> None:
    instance = executor(store)
    store.after = [away()]
    lost = await send(instance, add(), id_=1)
    assert (lost.status, code(lost)) == ("failed", "unavailable")
    found = await send(instance, add(), id_=1)
    assert (found.status, found.version, len(found.events)) == ("accepted", 1, 1)
    assert await store.head() == 1


async def test_a_command_that_was_not_stored_is_when_it_comes_again(store: FaultyEvents) -> None:
    instance = executor(store)
    store.before = [away()]
    assert code(await send(instance, add(), id_=1)) == "unavailable"
    assert (await send(instance, add(), id_=1)).version == 1
    assert await store.head() == 1


async def test_what_is_remembered_after_a_lost_acknowledgement_is_what_the_log_says(
    store: FaultyEvents,
) -> None:
    instance = executor(store)
    await send(instance, add())
    store.after = [away()]
    await send(instance, add(amount=900_000), id_=1)
    # The same id with other contents: the first one was stored, and that is what counts.
    assert code(await send(instance, add(amount=1), id_=1)) == "command_id_taken"
    full = await send(instance, add(amount=200_000))
    assert code(full) == "tally.full"


async def test_a_copy_decided_elsewhere_does_not_change_what_is_remembered(
    events: MemoryEvents,
) -> None:
    instance, other = executor(events), executor(events)
    await send(instance, add())
    await send(other, add(amount=900_000), id_=1)
    again = await send(instance, add(amount=900_000), id_=1)
    assert (again.status, again.version) == ("accepted", 2)
    assert code(await send(instance, add(amount=200_000))) == "tally.full"


@pytest.mark.parametrize(
    "other",
    [add(amount=2), add(note="another"), Rename(name="t", title="a"), add("elsewhere")],
    ids=["amount", "note", "type", "aggregate"],
)
async def test_an_id_stands_for_one_command(events: MemoryEvents, other: Command) -> None:
    instance = executor(events)
    first = await send(instance, add(), id_=1)
    for one in (instance, executor(events)):
        taken = await send(one, other, id_=1)
        assert (taken.status, code(taken)) == ("conflict", "command_id_taken")
        assert await send(one, add(), id_=1) == first
    assert await events.head() == 1


async def test_of_two_commands_with_one_id_at_once_one_is_carried_out(events: MemoryEvents) -> None:
    instance = executor(events)
    first, taken, again = await asyncio.gather(
        *(send(instance, add(amount=amount), id_=1) for amount in (1, 2, 1))
    )
    assert (first.status, first) == ("accepted", again)
    assert code(taken) == "command_id_taken"


async def test_what_was_left_out_and_its_default_are_the_same_command(events: MemoryEvents) -> None:
    instance = executor(events)
    first = await send(instance, Add(name="t"), id_=1)
    assert await send(instance, Add(note="", amounts=(1,), name="t"), id_=1) == first


async def test_one_taken_id_among_many_is_found_in_a_few_tries(store: FaultyEvents) -> None:
    instance = executor(store)
    await send(instance, add("first"), id_=77)
    store.appended.clear()
    outcomes = await asyncio.gather(
        *(send(instance, add("second"), number) for number in range(1, 151))
    )
    assert [code(one) for one in outcomes if one.error] == ["command_id_taken"]
    assert code(outcomes[76]) == "command_id_taken"
    assert await store.head() == 150
    assert len(store.appended) < 30


async def test_what_is_known_of_another_log_is_forgotten(events: MemoryEvents) -> None:
    other = MemoryEvents()
    log = Exchanged(events)
    instance = executor(log)
    await send(instance, add(amount=5), id_=1)
    await send(executor(other), add("another"), id_=2)
    await send(executor(other), add(amount=7), id_=3)
    log.inner = other
    # The aggregate has one event here, too, and yet another one, in another place.
    outcome = await send(instance, add(), id_=4)
    assert (outcome.status, outcome.version, outcome.sequence) == ("accepted", 2, 3)
    full = await send(instance, add(amount=1_000_000))
    assert full.error
    assert full.error.details == {"total": 8}


async def test_a_command_that_another_log_does_not_have_is_carried_out(
    events: MemoryEvents,
) -> None:
    log = Exchanged(events)
    instance = executor(log)
    for number in range(3):
        await send(instance, add(), id_=number)
    log.inner = MemoryEvents()
    outcomes = await asyncio.gather(*(send(instance, add(), id_=number) for number in (2, 9)))
    assert [(one.status, one.version) for one in outcomes] == [("accepted", 1), ("accepted", 2)]


class Exchanged(EventsAround):
    """A store in whose place another one may come."""


async def test_all_commands_of_a_run_hear_that_the_server_is_away(store: FaultyEvents) -> None:
    instance = executor(store)
    store.before = [away()]
    outcomes = await asyncio.gather(*(send(instance, add()) for _ in range(5)))
    assert {code(outcome) for outcome in outcomes} == {"unavailable"}
    assert instance.in_flight == 0


async def test_a_cancellation_out_of_nowhere_is_answered_and_the_next_command_goes_on(
    store: FaultyEvents,
) -> None:
    instance = executor(store)
    store.before = [asyncio.CancelledError()]
    outcomes = await asyncio.gather(*(send(instance, add(), number) for number in range(3)))
    assert {code(outcome) for outcome in outcomes} == {"unavailable"}
    assert (await send(instance, add(), 0)).status == "accepted"
    assert instance.in_flight == 0


async def test_when_the_lane_is_cancelled_all_that_wait_in_it_are_answered(
    store: FaultyEvents,
) -> None:
    instance = executor(store)
    store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    others = asyncio.all_tasks()
    first = asyncio.create_task(send(instance, add()))
    await store.arrived.get()
    (lane,) = asyncio.all_tasks() - others - {first}
    second = asyncio.create_task(send(instance, add()))
    await until(lambda: instance.in_flight == 2)
    lane.cancel()
    assert [code(one) for one in await asyncio.gather(first, second)] == ["unavailable"] * 2
    store.gates.clear()
    assert (await send(instance, add())).status == "accepted"


# Order, and side by side


async def test_commands_to_one_aggregate_keep_their_order(store: FaultyEvents) -> None:
    instance = executor(store)
    await asyncio.gather(*(send(instance, add(note=str(number))) for number in range(500)))
    notes = [DOMAIN.read_event(one.metadata, one.data) for one in await all_of(store.read())]
    assert [event.note for event in notes] == [str(number) for number in range(500)]  # type: ignore[attr-defined]
    assert len(store.appended) < 10


async def test_aggregates_are_worked_on_side_by_side(store: FaultyEvents) -> None:
    instance = executor(store)
    slow, quick = add("slow"), add("quick")
    gate = store.gates[DOMAIN.id_for(slow)] = asyncio.Event()
    waiting = asyncio.create_task(send(instance, slow))
    assert await store.arrived.get() == DOMAIN.id_for(slow)
    assert (await send(instance, quick)).status == "accepted"
    assert not waiting.done()
    gate.set()
    assert (await waiting).status == "accepted"


async def test_commands_that_arrive_during_a_commit_share_the_next_one(store: FaultyEvents) -> None:
    instance = executor(store)
    gate = store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    first = asyncio.create_task(send(instance, add()))
    await store.arrived.get()
    others = [asyncio.create_task(send(instance, add())) for _ in range(5)]
    await until(lambda: instance.in_flight == 6)
    gate.set()
    await asyncio.gather(first, *others)
    assert [len(commit.events) for commit in store.appended] == [1, 5]


async def test_past_the_limit_the_answer_is_busy_at_once(store: FaultyEvents) -> None:
    instance = executor(store, limit=2)
    gate = store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    inside = [asyncio.create_task(send(instance, add())) for _ in range(2)]
    await store.arrived.get()
    refused = await send(instance, add("another"))
    assert (refused.status, code(refused)) == ("failed", "busy")
    gate.set()
    assert {one.status for one in await asyncio.gather(*inside)} == {"accepted"}
    assert (await send(instance, add("another"))).status == "accepted"


async def test_what_nobody_waits_for_any_more_counts_as_well(store: FaultyEvents) -> None:
    instance = executor(store, limit=3)
    gate = store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    callers = [asyncio.create_task(send(instance, add())) for _ in range(3)]
    await store.arrived.get()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert instance.in_flight == 3
    assert code(await send(instance, add("another"))) == "busy"
    gate.set()
    await instance.idle()
    assert instance.in_flight == 0
    assert await store.head() == 3


async def test_each_command_is_answered_in_its_time_however_many_wait_before_it(
    store: FaultyEvents,
) -> None:
    instance = executor(store, patience=1.0)
    store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    outcomes = await asyncio.gather(*(send(instance, add(), number) for number in range(3 * RUN)))
    codes = [code(one) for one in outcomes]
    assert codes == ["unavailable"] * RUN + ["busy"] * 2 * RUN
    store.gates.popitem()[1].set()
    await instance.idle()
    # What was begun was carried out; of what was told to be sent again nothing was.
    assert await store.head() == RUN
    assert (await send(instance, add(), 5)).version == 6
    assert (await send(instance, add(), 3 * RUN - 1)).version == RUN + 1


async def test_a_caller_who_gives_up_does_not_lose_the_command(store: FaultyEvents) -> None:
    instance = executor(store)
    gate = store.gates[DOMAIN.id_for(add())] = asyncio.Event()
    caller = asyncio.create_task(send(instance, add(), id_=1))
    await store.arrived.get()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await instance.idle()
    assert await store.head() == 1
    assert (await send(instance, add(), id_=1)).version == 1


async def test_a_mistake_of_the_model_fails_its_command_and_no_other(events: MemoryEvents) -> None:
    instance = executor(events)
    broken, fine = await asyncio.gather(
        send(instance, Add(name="t", amounts=(1, 0))), send(instance, add())
    )
    assert (broken.status, code(broken)) == ("failed", "failed")
    assert (fine.status, fine.version) == ("accepted", 1)


# Memory


async def test_names_that_do_not_exist_take_no_room_from_those_that_do(
    events: MemoryEvents,
) -> None:
    counted = CountingLoads(events)
    instance = executor(counted, cache=3)
    for name in "abc":
        await send(instance, add(name))
    for number in range(20):
        assert code(await send(instance, add(f"none{number}", amount=-1))) == "tally.negative"
    counted.loads.clear()
    for name in "abc":
        assert (await send(instance, add(name))).version == 2
    assert counted.loads == []


class CountingLoads(EventsAround):
    """A store on another one that notes what is loaded."""

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.loads: list[str] = []

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        self.loads.append(aggregate_id)
        return await self.inner.load(aggregate, aggregate_id, after)


async def test_a_cache_of_one_aggregate_is_enough(events: MemoryEvents) -> None:
    instance = executor(events, cache=1)
    for _ in range(3):
        await asyncio.gather(*(send(instance, add(name)) for name in "abcdef"))
    outcome = await send(instance, add("a", amount=1_000_000))
    assert outcome.error
    assert outcome.error.details == {"total": 3}
    assert await events.head() == 18


async def test_a_run_longer_than_a_commit_is_stored_in_several() -> None:
    store = FaultyEvents(MemoryEvents(Limits(events=7)))
    instance = executor(store)
    outcomes = await asyncio.gather(
        *(send(instance, Add(name="t", amounts=(1, 1, 1))) for _ in range(9))
    )
    assert [outcome.version for outcome in outcomes] == list(range(3, 30, 3))
    assert {len(commit.events) for commit in store.appended} == {6, 3}


async def test_when_idle_nothing_is_in_flight(store: FaultyEvents) -> None:
    instance = executor(store)
    tasks = [asyncio.create_task(send(instance, add(name))) for name in "abc"]
    await store.arrived.get()
    await instance.idle()
    assert {task.result().status for task in tasks if task.done()} <= {"accepted"}
    assert await store.head() == 3
    await asyncio.gather(*tasks)
    assert instance.in_flight == 0

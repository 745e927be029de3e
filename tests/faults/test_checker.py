"""The checker finds what is wrong: histories, logs and views that break each promise in turn."""

from collections.abc import Callable

import pytest
from attrs import evolve

from cim_domain.commands.decoding import request_for
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.model.metadata import Metadata, utc_now
from cim_domain.model.records import EventRecord
from cim_domain.store.memory import MemoryEvents
from cim_domain.testing.records import all_of
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import Change, Checkpoint
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.tallies import TallyView, numbered
from tests.faults.domain import faults_domain
from tests.faults.verdict.checker import check
from tests.faults.verdict.folding import check_views, fold
from tests.faults.verdict.history import Attempt, History, Reply, Sent

DOMAIN = faults_domain()


class Played:
    """A short and faultless history, to be spoilt."""

    def __init__(self) -> None:
        self.history = History()
        self.store = MemoryEvents()
        self.log: tuple[EventRecord, ...] = ()
        self.time = 0.0

    async def send(self, number: int, message_type: str, data: bytes) -> Sent:
        """Carry a command out, within the next second of the history."""
        command = DOMAIN.commands[message_type].from_wire(data)
        sent = self.history.sent.get(numbered(number)) or self.history.add(
            Sent(numbered(number), message_type, data, aggregate_id=DOMAIN.id_for(command))
        )
        metadata = Metadata.root(sent.command_id, message_type, utc_now(), "test")
        executor = Executor(DOMAIN, self.store, ReplayingRepository(DOMAIN, self.store), source="s")
        outcome = await executor.execute(request_for(DOMAIN, command, metadata))
        self.time += 1
        sent.attempts.append(Attempt("request", self.time, [reply_of(outcome, self.time + 0.5)]))
        self.log = await all_of(self.store.read())
        return sent

    def kinds(self) -> set[str]:
        return {one.kind for one in check(DOMAIN, self.history, self.log)}


def reply_of(outcome: Outcome, at: float) -> Reply:
    return Reply(
        at=at,
        status=outcome.status,
        code=outcome.error.code if outcome.error else "",
        http=outcome.error.http if outcome.error else 0,
        version=outcome.version,
        sequence=outcome.sequence,
        events=tuple(event.id for event in outcome.events),
    )


CREATE = "flake.create"
FLAKE = b'{"path": "/a"}'


@pytest.fixture
async def played() -> Played:
    played = Played()
    await played.send(1, CREATE, FLAKE)
    await played.send(2, "tally.add", b'{"name": "t", "amounts": [1, 2, 3]}')
    await played.send(3, CREATE, FLAKE)
    await played.send(4, "flake.update", FLAKE)
    await played.send(1, CREATE, FLAKE)
    await played.send(5, "tally.add", b'{"name": "t", "amounts": []}')
    return played


def test_nothing_is_found_where_nothing_is_wrong(played: Played) -> None:
    assert len(played.log) == 5
    assert played.kinds() == set()


def without(log: tuple[EventRecord, ...], index: int) -> tuple[EventRecord, ...]:
    """As if the event had never been stored."""
    left = [one for place, one in enumerate(log) if place != index]
    return tuple(one.stored_at(sequence) for sequence, one in enumerate(left, 1))


def doubled(log: tuple[EventRecord, ...]) -> tuple[EventRecord, ...]:
    """As if the last event had been stored twice."""
    last = log[-1].metadata
    again = evolve(last, sequence=len(log) + 1, aggregate_version=last.aggregate_version + 1)
    return (*log, EventRecord(again, log[-1].data))


def test_an_accepted_event_that_is_gone_is_lost(played: Played) -> None:
    played.log = without(played.log, 4)
    assert "lost" in played.kinds()


def test_part_of_a_commit_that_is_gone_is_lost_and_a_gap(played: Played) -> None:
    played.log = without(played.log, 2)
    assert {"lost", "gap"} <= played.kinds()


def test_a_sequence_that_is_missing_is_a_gap(played: Played) -> None:
    played.log = tuple(
        one.stored_at(sequence + (sequence > 3)) for sequence, one in enumerate(played.log, 1)
    )
    assert "gap" in played.kinds()


def test_the_same_event_twice_is_doubled(played: Played) -> None:
    played.log = doubled(played.log)
    assert "doubled" in played.kinds()


def test_the_effect_of_a_command_twice_under_other_ids_is_doubled(played: Played) -> None:
    first = played.log[0].metadata
    again = evolve(first, message_id=numbered(99), aggregate_version=3, sequence=6)
    played.log = (*played.log, EventRecord(again, played.log[0].data))
    assert "doubled" in played.kinds()


def test_events_in_another_order_than_replied_are_found(played: Played) -> None:
    one, two, *others = played.log[1:4]
    swapped = [
        EventRecord(evolve(two.metadata, aggregate_version=1, sequence=2), two.data),
        EventRecord(evolve(one.metadata, aggregate_version=2, sequence=3), one.data),
    ]
    played.log = (played.log[0], *swapped, *others, played.log[4])
    assert "order" in played.kinds()


def test_events_of_a_command_that_nobody_sent_are_found(played: Played) -> None:
    del played.history.sent[numbered(4)]
    assert "phantom" in played.kinds()


@pytest.mark.parametrize("status", ["rejected", "conflict", "invalid", "failed"])
def test_what_a_refused_command_left_is_found(played: Played, status: str) -> None:
    (attempt,) = played.history.sent[numbered(4)].attempts
    attempt.replies = [evolve(attempt.replies[0], status=status, http=500, events=())]
    assert "phantom" in played.kinds()


def test_a_command_whose_outcome_stays_unknown_is_found(played: Played) -> None:
    played.history.sent[numbered(4)].attempts[0].replies = []
    assert played.kinds() == {"reply"}


def test_where_the_store_was_away_the_outcome_is_unknown(played: Played) -> None:
    (attempt,) = played.history.sent[numbered(4)].attempts
    attempt.replies = [Reply(at=attempt.sent, status="failed", http=503)]
    assert played.kinds() == {"reply"}


def test_a_second_reply_is_found(played: Played) -> None:
    (attempt,) = played.history.sent[numbered(4)].attempts
    attempt.replies *= 2
    assert played.kinds() == {"reply"}


def test_servers_may_tell_more_than_once_what_they_stored(played: Played) -> None:
    (attempt,) = played.history.sent[numbered(4)].attempts
    played.history.sent[numbered(4)].attempts.insert(
        0,
        Attempt(
            "submit",
            attempt.sent,
            [Reply(at=9, status="stored"), Reply(at=9, status="refused", http=503)],
        ),
    )
    assert played.kinds() == set()


def other_version(reply: Reply) -> Reply:
    return evolve(reply, version=9)


def other_sequence(reply: Reply) -> Reply:
    return evolve(reply, sequence=2)


def fewer_events(reply: Reply) -> Reply:
    return evolve(reply, events=reply.events[:1])


@pytest.mark.parametrize("change", [other_version, other_sequence, fewer_events])
def test_a_reply_that_does_not_tell_what_was_stored_is_found(
    played: Played, change: Callable[[Reply], Reply]
) -> None:
    (attempt,) = played.history.sent[numbered(2)].attempts
    attempt.replies = [change(attempt.replies[0])]
    assert "order" in played.kinds()


def test_a_command_that_was_forgotten_is_found(played: Played) -> None:
    again = played.history.sent[numbered(1)].attempts[1]
    again.replies = [evolve(again.replies[0], events=(), version=2)]
    assert "reply" in played.kinds()


def test_a_command_that_is_refused_when_it_comes_again_is_found(played: Played) -> None:
    again = played.history.sent[numbered(1)].attempts[1]
    again.replies = [evolve(again.replies[0], events=(), status="rejected", http=422)]
    assert played.kinds() == {"reply"}


def test_an_event_that_does_not_follow_from_its_command_is_found(played: Played) -> None:
    first = played.log[0]
    played.log = (EventRecord(first.metadata, b'{"path": "/b"}'), *played.log[1:])
    assert "decision" in played.kinds()


def test_a_rejection_that_no_state_since_then_explains_is_found(played: Played) -> None:
    sent = played.history.sent[numbered(3)]
    assert sent.attempts[0].replies[0].status == "rejected"
    sent.attempts[0].replies = [evolve(sent.attempts[0].replies[0], code="flake.unknown")]
    assert played.kinds() == {"stale"}


async def test_a_rejection_on_a_state_of_the_past_is_found(played: Played) -> None:
    stale = await played.send(
        6, "flake.add_input", b'{"path": "/c", "name": "n", "url": "path:/x"}'
    )
    await played.send(7, CREATE, b'{"path": "/c"}')
    assert played.kinds() == set()
    (attempt,) = stale.attempts
    attempt.sent += 10
    attempt.replies = [evolve(attempt.replies[0], at=attempt.sent + 1)]
    assert played.kinds() == {"stale"}


def test_an_acceptance_on_a_state_of_the_past_is_found(played: Played) -> None:
    (attempt,) = played.history.sent[numbered(2)].attempts
    attempt.sent += 10
    attempt.replies = [evolve(attempt.replies[0], at=attempt.sent + 1)]
    assert "stale" in played.kinds()


async def kept(played: Played) -> MemoryViews:
    """Views as they should be."""
    database = MemoryViews()
    for model in DOMAIN.projections.values():
        store = await database.open(model)
        changes = [
            Change(view, row, value)
            for view, rows in fold(DOMAIN, model, played.log).items()
            for row, value in rows.items()
        ]
        await store.commit(changes, expected=0, checkpoint=Checkpoint(5))
    return database


async def test_views_that_equal_the_fold_of_the_log_are_good(played: Played) -> None:
    assert await check_views(DOMAIN, await kept(played), played.log) == []


WRONG = TallyView(name="t", total=7, events=3)


@pytest.mark.parametrize(
    "change",
    [
        Change(TallyView, ("", "t"), WRONG),
        Change(TallyView, ("", "t"), None),
        Change(TallyView, ("", "u"), WRONG),
    ],
    ids=["another", "missing", "too many"],
)
async def test_views_that_do_not_are_found(played: Played, change: Change) -> None:
    database = await kept(played)
    store = await database.open(DOMAIN.projections["tallies"])
    await store.commit([change], expected=5, checkpoint=Checkpoint(5))
    found = await check_views(DOMAIN, database, played.log)
    assert {one.kind for one in found} == {"view"}


async def test_views_that_stay_behind_are_found(played: Played) -> None:
    found = await check_views(DOMAIN, MemoryViews(), played.log)
    assert "flakes is at 0 of 5" in {one.text for one in found}

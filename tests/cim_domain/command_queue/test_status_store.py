"""Of what several instances write about one command, what settles it stays."""

import asyncio

import pytest

from cim_domain.command_queue.status_store import StatusStore
from cim_domain.errors import Busy, Failed, Rejected
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome

ID = "3c6e0b8a-9c15-524a-8d7f-3a1d5d2f1c11"
DONE = CommandStatus.done(
    Outcome(status="accepted", command_id=ID, correlation_id=ID, version=1, sequence=2), ID, 2
)
REJECTED = CommandStatus.done(
    Outcome(status="rejected", command_id=ID, correlation_id=ID, error=Rejected("a.b", "no")), ID, 1
)


def failed(attempts: int, *, dead: bool = False) -> CommandStatus:
    error = Failed("broken") if dead else Busy("later")
    outcome = Outcome(status="failed", command_id=ID, correlation_id=ID, error=error)
    state = "failed" if dead else "retrying"
    return CommandStatus(
        state=state, command_id=ID, outcome=outcome, attempts=attempts, dead_letter=dead
    )


@pytest.fixture
async def standings(link: Link, subjects: Subjects) -> StatusStore:
    await ensure_stream(link.requests, bucket_stream(subjects.outcome_bucket))
    return StatusStore(Bucket(link, subjects.outcome_bucket))


async def state(standings: StatusStore) -> tuple[str, int]:
    found = await standings.get(ID, None)
    assert found is not None
    return found.state, found.attempts


async def test_attempts_that_fail_are_kept_one_after_another(standings: StatusStore) -> None:
    for attempt in (1, 2):
        await standings.put_unless_settled(failed(attempt), None)
        assert await state(standings) == ("retrying", attempt)
    await standings.put_unless_settled(failed(3, dead=True), None)
    assert await state(standings) == ("failed", 3)


@pytest.mark.parametrize(
    "settled", [DONE, REJECTED, CommandStatus(state="cancelled", command_id=ID)]
)
@pytest.mark.parametrize("dead", [False, True])
async def test_an_attempt_that_ends_too_late_changes_nothing(
    standings: StatusStore, settled: CommandStatus, *, dead: bool
) -> None:
    await standings.put(settled, None)
    await standings.put_unless_settled(failed(1, dead=dead), None)
    assert await state(standings) == (settled.state, settled.attempts)


async def test_what_succeeds_replaces_what_failed(standings: StatusStore) -> None:
    await standings.put_unless_settled(failed(5, dead=True), None)
    await standings.put(DONE, None)
    assert await state(standings) == ("accepted", 2)


async def test_side_by_side_the_settled_one_stays(standings: StatusStore) -> None:
    for _ in range(20):
        await standings.put_unless_settled(failed(1), "a")
        await asyncio.gather(standings.put(DONE, "a"), standings.put_unless_settled(failed(2), "a"))
        found = await standings.get(ID, "a")
        assert found is not None
        assert found.state == "accepted"
        await standings.put(failed(1), "a")


async def test_what_cannot_be_read_is_nothing_and_is_replaced(standings: StatusStore) -> None:
    await standings.bucket.put(ID, b"no JSON")
    assert await standings.get(ID, None) is None
    await standings.put_unless_settled(failed(1), None)
    assert await state(standings) == ("retrying", 1)
    await standings.bucket.put(ID, b"no JSON")
    waiting = CommandStatus(state="waiting", command_id=ID)
    assert await standings.begin(waiting, None)
    assert not await standings.begin(waiting, None)

"""With and without cache, snapshots, grouping and guessing, commands have the same outcomes."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain import Command
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.snapshots import BucketSnapshots, MemorySnapshots
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.testing.records import all_of
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.snapshots.instances import DOMAIN
from tests.cim_domain.stacks import Stack
from tests.cim_domain.tallies import Add, Rename, numbered, request

COMBINATIONS = [
    Stack(cache=cache, snapshot_every=every, grouping=grouping, guessing=guessing)
    for cache in (0, 2)
    for every in (0, 3)
    for grouping in (False, True)
    for guessing in (False, True)
]

commands = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.builds(
                Add,
                name=st.sampled_from("abc"),
                amounts=st.lists(st.sampled_from([1, 2, 400_000, -1, 0]), max_size=4).map(tuple),
                note=st.sampled_from(["", "ü"]),
            ),
            st.builds(Rename, name=st.sampled_from("abc"), title=st.sampled_from("xy")),
        ),
        st.integers(1, 12),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    max_size=25,
)


def told(outcome: Outcome) -> tuple[Outcome, dict[str, Any] | None]:
    """The outcome, comparable: errors are not."""
    return evolve(outcome, error=None), outcome.error.as_dict() if outcome.error else None


@pytest.mark.parametrize("stack", COMBINATIONS, ids=str)
@given(commands)
@settings(max_examples=12, deadline=None)
async def test_with_and_without_each_of_them_the_outcomes_are_the_same(
    stack: Stack, sent: list[tuple[int, Command, int, int | None]]
) -> None:
    log, expected_log, kept = MemoryEvents(), MemoryEvents(), MemorySnapshots()
    expected = Stack().executor(DOMAIN, expected_log)
    instances = [stack.executor(DOMAIN, log, kept) for _ in range(2)]
    for which, command, number, version in sent:
        one = request(DOMAIN, command, numbered(number), expected_version=version)
        outcome = await instances[which].execute(one)
        assert told(outcome) == told(await expected.execute(one))
    assert [record.data for record in await all_of(log.read())] == [
        record.data for record in await all_of(expected_log.read())
    ]


@pytest.mark.parametrize("stack", COMBINATIONS, ids=str)
async def test_with_and_without_each_of_them_nothing_is_lost_or_doubled_on_a_server(
    link: Link, bucket: Bucket, stack: Stack
) -> None:
    subjects = Subjects("sums", prefix=f"t{uuid4().hex[:12]}")
    await ensure_log(link.requests, subjects)
    store = JetStreamEvents(link, subjects)
    instances = [stack.executor(DOMAIN, store, BucketSnapshots(bucket)) for _ in range(2)]
    requests: list[CommandRequest] = [
        request(DOMAIN, Add(name=f"t{number % 40}"), numbered(number)) for number in range(120)
    ]
    # Each is sent to both, as by a client that did not hear in time.
    outcomes = await asyncio.gather(
        *(instance.execute(one) for one in requests for instance in instances)
    )
    assert {one.status for one in outcomes} == {"accepted"}
    assert outcomes[::2] == outcomes[1::2]
    log = await all_of(store.read())
    assert sorted(one.metadata.causation_id for one in log) == [
        numbered(number) for number in range(120)
    ]

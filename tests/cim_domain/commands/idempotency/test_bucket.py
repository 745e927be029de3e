"""The bucket of refusals itself, with a server that falls silent."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from cim_domain.command_queue.status_store import StatusStore
from cim_domain.commands.idempotency_bucket import (
    UNDER_WAY,
    BucketIdempotencyStore,
    open_idempotency_store,
)
from cim_domain.commands.results import Answer
from cim_domain.errors import Conflict, RequestError
from cim_domain.model.metadata import Metadata
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.testing.server import frozen, throwaway_server
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.idempotency.doors import DOORS, Enter
from tests.cim_domain.tallies import request

PATIENCE = 0.2
SUBJECTS = Subjects("doors")


def refused(metadata: Metadata) -> Answer:
    return Answer(Outcome.refused(Conflict("no"), metadata), "digest")


async def error_of(refusals: BucketIdempotencyStore) -> str:
    """The code of the error that keeping one more ends with."""
    metadata = request(DOORS, Enter(), str(uuid4())).metadata
    try:
        await refusals.keep(metadata, refused(metadata))
    except RequestError as error:
        return error.code
    return "none"


async def test_while_the_server_is_silent_all_hear_so_in_bounded_time() -> None:
    async with throwaway_server() as server, AsyncExitStack() as stack:
        link = await Link.open(load_settings(url=server.url), name="test")
        stack.push_async_callback(link.close)
        refusals = await open_idempotency_store(stack, link, SUBJECTS, kept=600, patience=PATIENCE)
        with frozen(server):
            async with asyncio.timeout(10):
                codes = await asyncio.gather(*(error_of(refusals) for _ in range(5 * UNDER_WAY)))
        assert codes.count("unavailable") == UNDER_WAY
        assert codes.count("busy") == 4 * UNDER_WAY
        assert await error_of(refusals) == "none"


async def test_what_an_instance_keeps_itself_it_knows_before_the_server_tells_of_it() -> None:
    async with throwaway_server() as server, AsyncExitStack() as stack:
        link = await Link.open(load_settings(url=server.url), name="test")
        stack.push_async_callback(link.close)
        refusals = await open_idempotency_store(stack, link, SUBJECTS, kept=600, patience=10)
        metadata = request(DOORS, Enter()).metadata
        answer = refused(metadata)
        with frozen(server):
            keeping = asyncio.create_task(refusals.keep(metadata, answer))
            assert not refusals.may_have(metadata)
            await asyncio.sleep(0)
            assert refusals.may_have(metadata)
            assert not refusals.may_have(request(DOORS, Enter()).metadata)
        assert (await keeping).outcome == answer.outcome


async def opened(stack: AsyncExitStack, link: Link, subjects: Subjects) -> BucketIdempotencyStore:
    return await open_idempotency_store(stack, link, subjects, kept=600, patience=10)


async def test_what_was_kept_is_taken_back_unless_somebody_was_told(
    link: Link, subjects: Subjects
) -> None:
    async with AsyncExitStack() as stack:
        refusals = await opened(stack, link, subjects)
        metadata = request(DOORS, Enter()).metadata
        answer = refused(metadata)
        first = await refusals.keep(metadata, answer)
        assert await refusals.take_back(metadata, first.revision or 0)
        assert await refusals.find(metadata) is None
        second = await refusals.keep(metadata, answer)
        assert await refusals.find(metadata) is not None
        assert not await refusals.take_back(metadata, second.revision or 0)
        third = await refusals.keep(metadata, Answer(answer.outcome, "another"))
        assert (third.digest, third.revision) == (answer.digest, None)


async def test_what_is_taken_back_twice_for_want_of_an_answer_is_taken_back(
    link: Link, subjects: Subjects
) -> None:
    async with AsyncExitStack() as stack:
        refusals = await opened(stack, link, subjects)
        metadata = request(DOORS, Enter()).metadata
        kept = await refusals.keep(metadata, refused(metadata))
        assert await refusals.take_back(metadata, kept.revision or 0)
        assert await refusals.take_back(metadata, kept.revision or 0)


async def test_how_a_stored_command_stands_is_no_answer_before_it_is_settled(
    link: Link, subjects: Subjects
) -> None:
    async with AsyncExitStack() as stack:
        refusals = await opened(stack, link, subjects)
        statuses = StatusStore(Bucket(link, subjects.outcome_bucket))
        metadata = request(DOORS, Enter()).metadata
        waiting = CommandStatus(state="waiting", command_id=metadata.message_id)
        assert await statuses.begin(waiting, None)
        assert await refusals.find(metadata) is None
        kept = await refusals.keep(metadata, refused(metadata))
        assert kept.revision
        standing = await statuses.get(metadata.message_id, None)
        assert standing is not None
        assert (standing.state, standing.digest) == ("conflict", "digest")
        assert "digest" not in standing.as_dict()

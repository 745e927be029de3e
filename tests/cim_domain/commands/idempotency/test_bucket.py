"""The bucket of refusals itself, with a server that falls silent."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from cim_domain.commands.idempotency_bucket import (
    UNDER_WAY,
    BucketIdempotencyStore,
    open_idempotency_store,
)
from cim_domain.errors import Conflict, RequestError
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.testing.server import frozen, throwaway_server
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.commands.idempotency.doors import DOORS, Enter
from tests.cim_domain.tallies import request

PATIENCE = 0.2


async def error_of(refusals: BucketIdempotencyStore) -> str:
    """The code of the error that keeping one more ends with."""
    metadata = request(DOORS, Enter(), str(uuid4())).metadata
    try:
        await refusals.keep(metadata, Outcome.refused(Conflict("no"), metadata))
    except RequestError as error:
        return error.code
    return "none"


async def test_while_the_server_is_silent_all_hear_so_in_bounded_time() -> None:
    async with throwaway_server() as server, AsyncExitStack() as stack:
        link = await Link.open(load_settings(url=server.url), name="test")
        stack.push_async_callback(link.close)
        refusals = await open_idempotency_store(
            stack, link, "refusals", kept=600, patience=PATIENCE
        )
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
        refusals = await open_idempotency_store(stack, link, "refusals", kept=600, patience=10)
        metadata = request(DOORS, Enter()).metadata
        outcome = Outcome.refused(Conflict("no"), metadata)
        with frozen(server):
            keeping = asyncio.create_task(refusals.keep(metadata, outcome))
            assert not refusals.may_have(metadata)
            await asyncio.sleep(0)
            assert refusals.may_have(metadata)
            assert not refusals.may_have(request(DOORS, Enter()).metadata)
        assert await keeping == outcome

"""Finding out what came of every command, once the faults are over."""

import asyncio

from cim_domain.client import DomainClient
from cim_domain.errors import RequestError, Unavailable
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.wire.command_status import CommandStatus
from tests.faults.verdict.history import UNAVAILABLE, Attempt, History, Reply, Sent
from tests.faults.wire import Wire
from tests.faults.workload import PATIENCE, PAUSE

REST = 60.0
"""Seconds within which everything is known, and read by all views, once the faults are over."""


async def resolve(history: History, wire: Wire) -> None:
    """Send again what nobody knows the outcome of, and ask what came of what was stored.

    Raises `TimeoutError` where that takes longer than `REST`.
    """
    commands = [*history.sent.values()]
    async with asyncio.timeout(REST):
        await asyncio.gather(*(_resolve(sent, wire) for sent in commands))


async def _resolve(sent: Sent, wire: Wire) -> None:
    stored = [one for one in sent.attempts if one.kind == "submit"]
    while stored and not any(one.status == "stored" for at in stored for one in at.replies):
        stored.append(await wire.send(sent, "submit", PATIENCE))
        await asyncio.sleep(PAUSE)
    if stored:
        standing = await _standing(sent, wire)
        sent.attempts.append(standing)
        if not standing.is_definite:
            # To ask in another way would hide that this did not come.
            return
    # A refusal says nothing about an earlier attempt that was still under way somewhere.
    doubtful = sent.was_unknown and not sent.accepted
    while doubtful or not sent.is_settled:
        await wire.send(sent, "request", PATIENCE * 8)
        doubtful = False
        if not sent.is_settled:
            await asyncio.sleep(PAUSE)


async def _standing(sent: Sent, wire: Wire) -> Attempt:
    clock = asyncio.get_running_loop().time
    attempt = Attempt("standing", clock())
    client = DomainClient(wire.link, wire.subjects)
    while clock() < attempt.sent + REST / 2:
        try:
            standing = await client.wait_for(sent.command_id, timeout=REST / 2)
        except Unavailable:
            # Nobody answers yet, or a service whom the server does not answer yet.
            await asyncio.sleep(PAUSE)
        else:
            attempt.replies.append(_reply(standing, clock()))
            return attempt
    attempt.replies.append(Reply(at=clock(), status=await _unsaid(wire, sent), http=UNAVAILABLE))
    return attempt


async def _unsaid(wire: Wire, sent: Sent) -> str:
    """How a command stands whose outcome did not come in time: for whoever looks into that."""
    places = [one.sequence for at in sent.attempts for one in at.replies if one.status == "stored"]
    try:
        client = DomainClient(wire.link, wire.subjects)
        standing = await client.status(sent.command_id, sequence=places[-1])
        listed = await call(wire.link.requests, f"CONSUMER.LIST.{wire.subjects.command_stream}")
    except (RequestError, ApiError) as error:
        return f"not told: {error}"
    consumers = [
        {part: one[part] for part in ("name", "delivered", "ack_floor", "num_ack_pending")}
        for one in listed["consumers"]
    ]
    return f"not told: {standing.state}; of the consumers {consumers}"


def _reply(standing: CommandStatus, at: float) -> Reply:
    outcome = standing.outcome
    assert outcome is not None
    return Reply(
        at=at,
        status=outcome.status,
        code=outcome.error.code if outcome.error else "",
        version=outcome.version,
        sequence=outcome.sequence,
        events=tuple(event.id for event in outcome.events),
    )

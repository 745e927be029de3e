"""Rows 4 to 6: commands a second, beside a library that has no network to cross."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from statistics import median

from nats.aio.client import Client

from benchmarks.commands import COMMAND
from benchmarks.figures import Aim, Row, at_least, ratios
from benchmarks.load import Send, accepted, create_flake, rate
from benchmarks.stage import Stage

IN_FLIGHT = 64
UPDATE = "nix.cmd.flake.update"

DURABLE = Aim(
    "4", f"commands/s, durable, {IN_FLIGHT} in flight ÷ eventsourcing on SQLite", at_least(3)
)
DEFAULT = Aim(
    "5", f"commands/s, default sync, {IN_FLIGHT} in flight ÷ eventsourcing on SQLite", at_least(5)
)
HOT = Aim("6", "commands/s on one hot aggregate ÷ on distinct ones (row 4)", at_least(0.7))


async def durable(stage: Stage) -> list[Row]:
    """Rows 4 and 6."""
    distinct, hot, peers = [], [], []
    commands = stage.size(2500, 400)
    async with stage.running() as at, _peer(stage) as peer:
        creates = _Creates(at.client)
        hot_flake = create_flake("/srv/hot")
        await accepted(at.client, COMMAND, hot_flake)
        update: Send = partial(accepted, at.client, UPDATE, b'{"path":"/srv/hot"}')
        # Until the committer has learnt which way is the faster, and the processor is warm.
        await rate(creates.next(commands), IN_FLIGHT)
        for _ in range(stage.rounds):
            await at.settle()
            distinct.append(await rate(creates.next(commands), IN_FLIGHT))
            await at.settle()
            hot.append(await rate([update] * commands, IN_FLIGHT))
            if peer:
                await at.settle()
                peers.append(await peer(commands // 2))
    row_hot = HOT.measured(
        ratios(hot, distinct), {"hot /s": median(hot), "distinct /s": median(distinct)}
    )
    return [_against(DURABLE, stage, distinct, peers), row_hot]


async def default_sync(stage: Stage) -> list[Row]:
    """Row 5."""
    if stage.no_peer:
        return [DEFAULT.skipped(stage.no_peer)]
    distinct, peers = [], []
    commands = stage.size(4000, 400)
    async with stage.running(durable=False) as at, _peer(stage) as peer:
        creates = _Creates(at.client)
        await rate(creates.next(commands), IN_FLIGHT)
        for _ in range(stage.rounds):
            await at.settle()
            distinct.append(await rate(creates.next(commands), IN_FLIGHT))
            if peer:
                await at.settle()
                peers.append(await peer(commands // 3))
    return [_against(DEFAULT, stage, distinct, peers)]


class _Creates:
    """Commands that each make an aggregate of their own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = count()

    def next(self, number: int) -> list[Send]:
        """So many more of them."""
        return [
            partial(
                accepted, self._client, COMMAND, create_flake(f"/srv/many-{next(self._numbers)}")
            )
            for _ in range(number)
        ]


class _Peer:
    """The peer's rate, measured in a thread while nothing else is asked for."""

    def __init__(self, stage: Stage) -> None:
        from benchmarks.peers.eventsourcing import Commands  # noqa: PLC0415 - it may not be installed

        self._commands = Commands(stage.new_directory("peer"))

    async def __call__(self, commands: int) -> float:
        return await asyncio.to_thread(self._commands.rate, commands)

    def close(self) -> None:
        self._commands.close()


@asynccontextmanager
async def _peer(stage: Stage) -> AsyncIterator[_Peer | None]:
    if stage.no_peer:
        yield None
        return
    peer = _Peer(stage)
    try:
        await peer(stage.size(1000, 100))
        yield peer
    finally:
        peer.close()


def _against(aim: Aim, stage: Stage, distinct: list[float], peers: list[float]) -> Row:
    if stage.no_peer:
        return aim.skipped(stage.no_peer)
    figures = {"ours /s": median(distinct), "eventsourcing /s": median(peers)}
    return aim.measured(ratios(distinct, peers), figures)

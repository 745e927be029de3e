"""Rows 3, 9 and 10: how fast events get into views, and how soon a write can be read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from benchmarks.figures import Aim, Row, at_least, at_most, ratios
from benchmarks.filling import fill
from benchmarks.histories import Histories
from benchmarks.load import took
from benchmarks.processes import result_of
from benchmarks.stage import DOMAIN, EVENTS_EACH, Stage
from cim_domain.client import DomainClient
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings

SQLITE = Aim("3a", "events/s from JetStream into SQLite views", at_least(10_000), "/s")
MEMORY = Aim(
    "3b", "events/s into views in memory ÷ nats-py's bare callback on the same log", at_least(0.5)
)
FOLLOWER = Aim(
    "9", "events/s of a rebuild into SQLite ÷ eventsourcing's follower on SQLite", at_least(10)
)
OWN_WRITES = Aim(
    "10", "write, then read it in a query ÷ eventsourcing's write, wait and read", at_most(1 / 20)
)


async def catching_up(stage: Stage) -> list[Row]:
    """Row 3."""
    sqlite, memory, bare = [], [], []
    async with _log(stage) as url:
        for _ in range(stage.size(3, 1)):
            sqlite.append(await _rate(stage, url, "sqlite"))
            memory.append(await _rate(stage, url, "memory"))
            bare.append(await _rate(stage, url, "bare"))
    figures = {"memory /s": median(memory), "bare /s": median(bare)}
    return [SQLITE.measured(sqlite, {}), MEMORY.measured(ratios(memory, bare), figures)]


async def rebuild(stage: Stage) -> list[Row]:
    """Row 9."""
    if stage.no_peer:
        return [FOLLOWER.skipped(stage.no_peer)]
    from benchmarks.peers.eventsourcing_projections import (  # noqa: PLC0415 - may be absent
        FollowedLog,
    )

    ours, theirs = [], []
    log = FollowedLog(stage.new_directory("peer"), stage.size(200, 20), EVENTS_EACH)
    try:
        async with _log(stage) as url:
            for _ in range(stage.size(3, 1)):
                ours.append(await _rate(stage, url, "sqlite"))
                theirs.append(await asyncio.to_thread(log.rate))
    finally:
        log.close()
    figures = {"ours /s": median(ours), "eventsourcing /s": median(theirs)}
    return [FOLLOWER.measured(ratios(ours, theirs), figures)]


async def own_writes(stage: Stage) -> list[Row]:
    """Row 10."""
    if stage.no_peer:
        return [OWN_WRITES.skipped(stage.no_peer)]
    from benchmarks.peers import eventsourcing_projections  # noqa: PLC0415 - may be absent

    ours, theirs = [], []
    per_round = stage.size(200, 20)
    with eventsourcing_projections.running(stage.new_directory("peer")) as runner:
        async with (
            stage.running() as at,
            DomainClient.open(DOMAIN, load_settings(), url=at.url) as client,
        ):
            for number in range(-1, stage.rounds):
                seconds = [
                    await took(_write_and_read(client, f"/srv/own-{number}-{place}"))
                    for place in range(per_round)
                ]
                waits = [
                    await asyncio.to_thread(runner.write_and_read) for _ in range(per_round // 20)
                ]
                if number >= 0:
                    ours.append(median(seconds) * 1e3)
                    theirs.append(median(waits) * 1e3)
    figures = {"ours (ms)": median(ours), "eventsourcing (ms)": median(theirs)}
    return [OWN_WRITES.measured(ratios(ours, theirs), figures)]


async def _write_and_read(client: DomainClient, path: str) -> None:
    outcome = await client.send("flake.create", {"path": path})
    answer = await client.ask("flake.get", {"path": path}, min_sequence=outcome.sequence)
    if answer.json()["path"] != path:
        raise LookupError(f"read {answer.json()} after writing {path}")


async def _rate(stage: Stage, url: str, kind: str) -> float:
    directory = str(stage.new_directory("views"))
    result = await result_of("benchmarks.rebuilding", url, kind, directory)
    return float(result["events"]) / float(result["seconds"])


@asynccontextmanager
async def _log(stage: Stage) -> AsyncIterator[str]:
    """The URL of a server with a log of flakes' events."""
    flakes = stage.size(50_000, 5_000) // EVENTS_EACH
    async with stage.server(durable=False) as url:
        await fill(url, Histories(Subjects(DOMAIN), flakes, EVENTS_EACH))
        yield url

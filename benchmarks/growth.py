"""Rows 11 and 12: what does not get slower, or larger, as the log and the aggregates grow."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.figures import Aim, Row, at_least, at_most, ratios
from benchmarks.histories import Histories
from benchmarks.load import Send, accepted, create_flake, rate
from benchmarks.processes import resident_megabytes
from benchmarks.stage import DOMAIN, LARGE, SMALL, Stage, connected
from benchmarks.throughput import IN_FLIGHT
from cim_domain import Domain
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.adapters import open_views
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.views.port import Checkpoint

GROWTH = Aim("11", "commands/s with 1,000,000 events stored ÷ with 10,000", at_least(0.9))
MEMORY = Aim(
    "12",
    "service's memory after 100,000 aggregates ÷ after 50,000, 10,000 of them cached",
    at_most(1.1),
)


async def growth(stage: Stage) -> list[Row]:
    """Row 11: two services on one server, each on a log of its own."""
    filled = await stage.filled()
    rates: dict[str, list[float]] = {LARGE: [], SMALL: []}
    commands = stage.size(1500, 300)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(stage.server(filled.directory))
        for histories in (filled.large, filled.small):
            views = stage.new_directory("views")
            await _skip_to_the_end(url, views, histories)
            service = stage.service(url, prefix=histories.subjects.prefix, directory=views)
            await stack.enter_async_context(service)
        client = await stack.enter_async_context(connected(url))
        for number in range(-1, stage.rounds):
            for histories in (filled.large, filled.small):
                subject = histories.subjects.command("flake.create")
                sends = _creates(partial(accepted, client, subject), f"{number}", commands)
                found = await rate(sends, IN_FLIGHT)
                if number >= 0:
                    rates[histories.subjects.prefix].append(found)
    return [
        GROWTH.measured(
            ratios(rates[LARGE], rates[SMALL]),
            {f"{name} /s": median(values) for name, values in rates.items()},
        )
    ]


async def memory(stage: Stage) -> list[Row]:
    """Row 12: one round, for a service is new only once."""
    half = stage.size(50_000, 11_000)
    async with stage.running(durable=False) as at:
        create = partial(accepted, at.client, "nix.cmd.flake.create")
        resident = [resident_megabytes(at.service.pid)]
        for part in range(2):
            await rate(_creates(create, f"{part}", half), IN_FLIGHT)
            resident.append(resident_megabytes(at.service.pid))
    begin, middle, end = resident
    figures = {"start (MB)": begin, f"{half:,} (MB)": middle, f"{2 * half:,} (MB)": end}
    return [MEMORY.measured([end / middle], figures)]


def _creates(create: Callable[[bytes], Awaitable[None]], group: str, number: int) -> list[Send]:
    return [partial(create, create_flake(f"/srv/grown-{group}-{place}")) for place in range(number)]


async def _skip_to_the_end(url: str, directory: Path, histories: Histories) -> None:
    """Have the views begin behind what fills the log: reading that is not what is measured."""
    domain = Domain.find(DOMAIN)
    nats = load_settings(data_directory=directory)
    link = await Link.open(nats, name="skipping", url=url)
    log = JetStreamEvents(link, histories.subjects)
    database = open_views(ServiceSettings(), nats, domain, await log.identity())
    try:
        end = Checkpoint(histories.events, await log.event_at(histories.events) or "")
        for model in domain.projections.values():
            views = await database.open(model)
            await views.commit((), expected=0, checkpoint=end)
    finally:
        await database.close()
        await link.drain()

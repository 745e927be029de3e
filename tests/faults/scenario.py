"""A scenario: a workload, faults while it runs, and then the question whether all promises hold."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from cim_domain.model.records import EventRecord
from cim_domain.service.runner import ENDED
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.testing.records import all_of
from tests.faults.faults import Fault
from tests.faults.verdict.checker import Violation, check
from tests.faults.verdict.folding import check_views
from tests.faults.verdict.history import History
from tests.faults.verdict.resolving import REST, resolve
from tests.faults.wire import Progress, Wire
from tests.faults.workload import Workload
from tests.faults.world import Plan, World, at_rest, named_points, world

RECOVERY = 60.0
"""Seconds within which commands are carried out again after a fault."""


@frozen(kw_only=True)
class Scenario:
    """Faults, again and again, while clients work."""

    name: str
    plan: Plan
    faults: tuple[Fault, ...]
    rounds: int = 3
    """In the short form."""
    clients: int = 10
    between: int = 40
    """Accepted commands from one fault to the next."""


@define
class Report:
    """What came of it."""

    name: str
    seed: int
    commands: int = 0
    accepted: int = 0
    faults: int = 0
    resolved: int = 0
    """Commands of which it was unknown what came of them, until they were sent again."""
    events: int = 0
    violations: list[Violation] = field(factory=list)

    def row(self) -> dict[str, int | str]:
        """As the table has it."""
        kinds = Counter(one.kind for one in self.violations)
        return {
            "scenario": self.name,
            "seed": self.seed,
            "commands": self.commands,
            "accepted": self.accepted,
            "events": self.events,
            "faults": self.faults,
            "unknown, resolved": self.resolved,
            "lost": kinds["lost"],
            "doubled": kinds["doubled"],
            "other": sum(kinds.values()) - kinds["lost"] - kinds["doubled"],
        }


async def play(scenario: Scenario, directory: Path, seed: int, rounds: int) -> Report:
    """Have it happen, and check everything. Raises `TimeoutError` where nothing goes on."""
    draw = random.Random(seed)
    async with world(scenario.plan, directory, draw) as made:
        try:
            return await _play(made, scenario, seed, rounds)
        except BaseException as error:
            error.add_note(made.story())
            raise


async def _play(made: World, scenario: Scenario, seed: int, rounds: int) -> Report:
    report = Report(scenario.name, seed)
    progress = Progress()
    wires = [Wire(link, made.subjects, progress) for link in made.links]
    for wire in wires:
        await wire.start()
    workload = Workload(made.domain, wires, made.draw)
    working = asyncio.create_task(workload.run(scenario.clients))
    try:
        report.faults = await _hurt(made, scenario, rounds, working, progress)
    finally:
        workload.enough.set()
        await asyncio.wait([working])
    await working
    await made.ready()
    await resolve(workload.history, wires[0])
    log = await all_of(JetStreamEvents(made.links[0], made.subjects).read())
    await at_rest(made, log, REST)
    codes = await asyncio.gather(*(instance.stop() for instance in made.instances))
    report.violations += check(made.domain, workload.history, log)
    report.violations += _ends(made, codes)
    for database in made.databases:
        report.violations += await check_views(made.domain, database, log)
    _count(report, workload.history)
    report.events = len(log)
    if report.violations:
        _tell(made, workload.history, log, report.violations)
    return report


async def _hurt(
    made: World, scenario: Scenario, rounds: int, working: asyncio.Task[None], progress: Progress
) -> int:
    """The faults, one after another, each while commands are carried out again."""
    if scenario.plan.points:
        await _die_at_points(made, rounds, progress)
        await _further(progress, scenario.between, working)
        return sum(one.kills for one in made.instances)
    for turn in range(rounds):
        await _further(progress, scenario.between, working)
        await scenario.faults[turn % len(scenario.faults)](made)
    await _further(progress, scenario.between, working)
    return rounds


async def _die_at_points(made: World, rounds: int, progress: Progress) -> None:
    """Each start has the next point, until all of them have been died at."""
    # The first start was without one.
    made.points = named_points(made.draw, rounds)
    due = len(made.points) + len(made.instances)
    for instance in made.instances:
        instance.signal(signal.SIGKILL)
    async with asyncio.timeout(RECOVERY * (1 + due / 4)):
        while sum(one.kills for one in made.instances) < due:
            await progress.further(5)


async def _further(progress: Progress, by: int, working: asyncio.Task[None]) -> None:
    going_on = asyncio.create_task(progress.further(by))
    async with asyncio.timeout(RECOVERY):
        await asyncio.wait([going_on, working], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await working


def _ends(made: World, codes: Sequence[int | None]) -> list[Violation]:
    found = [
        Violation("reply", f"{instance.name} ended by itself with {instance.unexpected}")
        for instance in made.instances
        if any(code != ENDED for code in instance.unexpected)
    ]
    if any(code != ENDED for code in codes):
        found.append(Violation("reply", f"after SIGTERM services ended with {codes}"))
    return found


def _tell(
    made: World,
    history: History,
    log: Sequence[EventRecord],
    violations: Sequence[Violation],
) -> None:
    """Leave what helps to find out why: violations, with the history and events of each command."""
    lines = [f"{one.kind}: {one.text}" for one in violations]
    lines += [
        "\n".join(
            [
                str(sent),
                *map(str, sent.attempts),
                *(str(one) for one in log if one.metadata.causation_id == command_id),
            ]
        )
        for command_id, sent in history.sent.items()
        if any(command_id in one.text for one in violations)
    ]
    (made.directory / "story.txt").write_text("\n".join([*lines, made.story()]))


def _count(report: Report, history: History) -> None:
    commands = history.sent.values()
    report.commands = len(commands)
    report.accepted = sum(1 for one in commands if one.accepted)
    report.resolved = sum(1 for one in commands if one.was_unknown and one.is_settled)

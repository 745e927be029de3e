"""A scenario: a workload, faults while it runs, and then the question whether all promises hold."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from cim_domain.client import DomainClient
from cim_domain.nats.requests import NoAnswer
from cim_domain.running import ENDED
from cim_domain.standing import Standing
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.testing.records import all_of
from tests.faults.checker import Violation, check
from tests.faults.faults import Fault
from tests.faults.folding import check_views
from tests.faults.history import Attempt, History, Reply, Sent
from tests.faults.wire import Progress, Wire
from tests.faults.workload import PATIENCE, Workload
from tests.faults.world import Plan, World, at_rest, named_points, world

RECOVERY = 60.0
"""Seconds within which commands are carried out again after a fault."""

REST = 60.0
"""Seconds within which everything is known, and read by all views, once the faults are over."""


@frozen(kw_only=True)
class Scenario:
    """Faults, again and again, while clients work."""

    name: str
    plan: Plan
    faults: tuple[Fault, ...]
    rounds: int = 3
    """In the short form."""
    clients: int = 10
    between: int = 60
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
        report.faults += await _hurt(made, scenario, rounds, working, progress)
    finally:
        workload.enough.set()
        await asyncio.wait([working])
    await working
    await made.ready()
    await _resolve(made, workload.history, wires[0])
    log = await all_of(JetStreamEvents(made.links[0], made.subjects).read())
    await at_rest(made, log, REST)
    codes = [await instance.stop() for instance in made.instances]
    report.faults += sum(one.kills for one in made.instances) if scenario.plan.points else 0
    report.violations += check(made.domain, workload.history, log)
    report.violations += _ends(made, codes)
    for database in made.databases:
        report.violations += await check_views(made.domain, database, log)
    _count(report, workload.history)
    report.events = len(log)
    if report.violations:
        _tell(made, workload.history, report.violations)
    return report


async def _hurt(
    made: World, scenario: Scenario, rounds: int, working: asyncio.Task[None], progress: Progress
) -> int:
    """The faults, one after another, each while commands are carried out again."""
    if scenario.plan.points:
        # The first start was without; from now on each start has the next one.
        made.points = named_points(made.draw, rounds)
        for instance in made.instances:
            instance.signal(9)
        async with asyncio.timeout(RECOVERY * (1 + len(made.points) / 4)):
            while made.points:
                await progress.further(10)
        await _further(progress, scenario.between, working)
        return 0
    for turn in range(rounds):
        await _further(progress, scenario.between, working)
        await scenario.faults[turn % len(scenario.faults)](made)
    await _further(progress, scenario.between, working)
    return rounds


async def _further(progress: Progress, by: int, working: asyncio.Task[None]) -> None:
    going_on = asyncio.create_task(progress.further(by))
    async with asyncio.timeout(RECOVERY):
        await asyncio.wait([going_on, working], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await working


async def _resolve(made: World, history: History, wire: Wire) -> None:
    """Send again what nobody knows the outcome of, and ask what came of what was stored."""
    commands = [*history.sent.values()]
    async with asyncio.timeout(REST):
        await asyncio.gather(*(_resolve_one(made, sent, wire) for sent in commands))


async def _resolve_one(made: World, sent: Sent, wire: Wire) -> None:
    stored = [one for one in sent.attempts if one.kind == "submit"]
    while stored and not any(one.status == "stored" for at in stored for one in at.replies):
        stored.append(await wire.send(sent, "submit", PATIENCE))
    if stored:
        sent.attempts.append(await _standing(made, sent))
        # Where that did not come, to ask in another way would hide it.
        return
    # A refusal says nothing about an earlier attempt that was still under way somewhere.
    doubtful = sent.was_unknown and not sent.accepted
    while doubtful or not sent.is_settled:
        await wire.send(sent, "request", PATIENCE * 8)
        doubtful = False


async def _standing(made: World, sent: Sent) -> Attempt:
    clock = asyncio.get_running_loop().time
    attempt = Attempt("standing", clock())
    client = DomainClient(made.links[0], made.subjects)
    try:
        standing = await client.wait_for(sent.command_id, timeout=REST / 2)
    except NoAnswer:
        return attempt
    attempt.replies.append(_reply(standing, clock()))
    return attempt


def _reply(standing: Standing, at: float) -> Reply:
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


def _ends(made: World, codes: Sequence[int | None]) -> list[Violation]:
    found = [
        Violation("reply", f"{instance.name} ended by itself with {instance.unexpected}")
        for instance in made.instances
        if any(code != ENDED for code in instance.unexpected)
    ]
    if any(code != ENDED for code in codes):
        found.append(Violation("reply", f"after SIGTERM services ended with {codes}"))
    return found


def _tell(made: World, history: History, violations: Sequence[Violation]) -> None:
    """Leave what helps to find out why: every violation, and the whole history of its command."""
    lines = [f"{one.kind}: {one.text}" for one in violations]
    lines += [
        "\n".join([str(sent), *map(str, sent.attempts)])
        for command_id, sent in history.sent.items()
        if any(command_id in one.text for one in violations)
    ]
    (made.directory / "story.txt").write_text("\n".join([*lines, made.story()]))


def _count(report: Report, history: History) -> None:
    commands = history.sent.values()
    report.commands = len(commands)
    report.accepted = sum(1 for one in commands if one.accepted)
    report.resolved = sum(1 for one in commands if one.was_unknown and one.is_settled)

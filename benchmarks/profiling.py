"""Where the time goes: the service under rows 1 and 4, a rebuild, each sampled: ``--profile``."""

from pathlib import Path

import orjson
from attrs import evolve, frozen
from rich.console import Console
from rich.table import Table

from benchmarks.commands import alone
from benchmarks.filling import fill
from benchmarks.histories import Histories
from benchmarks.processes import ROOT, running
from benchmarks.stage import DOMAIN, EVENTS_EACH, Stage
from benchmarks.throughput import durable
from cim_domain.model.subjects import Subjects

SHOWN = 40


@frozen
class Function:
    """A function, and its share of the time: by itself, and with all that it calls."""

    name: str
    own: float
    cumulative: float


async def profile(stage: Stage, console: Console) -> None:
    """Print two tables for each path; not the figures of a sampled run, which is slower."""
    for title, measure in (
        ("the service, one command after another (row 1)", alone),
        ("the service, commands in flight (row 4)", durable),
    ):
        output = stage.new_directory("samples")
        await measure(evolve(stage, samples=output))
        _show(console, title, read(output))
    _show(console, "a rebuild into SQLite views (rows 3 and 9)", await _rebuild(stage))


def read(output: Path) -> list[Function]:
    """What the sampling left behind, as shares of the processor time of all threads."""
    content = orjson.loads(output.read_bytes())
    total = content["total"] or 1
    return [
        Function(_short(name), own / total * 100, cumulative / total * 100)
        for name, own, cumulative in content["functions"]
    ]


async def _rebuild(stage: Stage) -> list[Function]:
    output = stage.new_directory("samples")
    flakes = stage.size(50_000, 10_000) // EVENTS_EACH
    async with stage.server(durable=False) as url:
        await fill(url, Histories(Subjects(DOMAIN), flakes, EVENTS_EACH))
        arguments = (url, "sqlite", str(stage.new_directory("views")))
        module = "benchmarks.rebuilding"
        async with running(
            "benchmarks.sampling", str(output), module, *arguments, ready='"seconds"'
        ) as process:
            await process.wait()
    return read(output)


def _show(console: Console, title: str, functions: list[Function]) -> None:
    for order, key in (("own", _own), ("cumulative", _cumulative)):
        table = Table(title=f"{title}: most {order} time, % of all processor time")
        for name in ("own", "cumulative", "function"):
            table.add_column(name, justify="left" if name == "function" else "right")
        for one in sorted(functions, key=key, reverse=True)[:SHOWN]:
            table.add_row(f"{one.own:.1f}", f"{one.cumulative:.1f}", one.name)
        console.print(table)


def _own(function: Function) -> float:
    return function.own


def _cumulative(function: Function) -> float:
    return function.cumulative


def _short(name: str) -> str:
    return name.removeprefix(f"{ROOT}/").rpartition("/site-packages/")[2]

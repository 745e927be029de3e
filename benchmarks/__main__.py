"""``python -m benchmarks``: measure, and print one table. Exit code 1 where a measurement failed.

Missing a target is a finding, not a failure of the program.
"""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import print_exc

from rich.console import Console

from benchmarks.catalogue import CATALOGUE
from benchmarks.figures import Row
from benchmarks.profiling import profile
from benchmarks.stage import Stage
from benchmarks.table import document, show
from cim_domain.service.runner import run


def main() -> int:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=list(CATALOGUE),
        help=", ".join(CATALOGUE),
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument(
        "--quick", action="store_true", help="small and short: shows that it works, not how fast"
    )
    parser.add_argument(
        "--profile", action="store_true", help="print where the time goes, and no table"
    )
    return run(_main(parser.parse_args()))


async def _main(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    if task is not None:
        # Children and directories are left behind by nothing but SIGKILL.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with TemporaryDirectory(prefix="cim-domain-bench-") as directory:
        stage = Stage(Path(directory), quick=arguments.quick)
        console = Console(width=None if sys.stdout.isatty() else 240)
        if arguments.profile:
            await profile(stage, console)
            return 0
        rows = await _measure(stage, arguments.only or list(CATALOGUE))
    if arguments.json:
        sys.stdout.buffer.write(document(rows, quick=arguments.quick) + b"\n")
    else:
        show(rows, console, quick=arguments.quick)
    return 1 if any(row.broken for row in rows) else 0


async def _measure(stage: Stage, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for name, benchmark in CATALOGUE.items():
        if name not in names:
            continue
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        gc.collect()
        try:
            rows += await benchmark.measure(stage)
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            print_exc()
            rows += [aim.failed(error) for aim in benchmark.aims]
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""Children of the benchmarks: each program in a process of its own, as its users have it."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from cim_domain.testing.process import clean_environment

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0
"""Seconds for a child to end."""
_TAIL = 40


class ChildFailed(Exception):
    """A child ended before it was to; the message holds the end of what it wrote."""


@asynccontextmanager
async def running(
    module: str, *arguments: str, ready: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """``python -m module arguments``, from when it has written `ready` until the block ends."""
    process = await _start(module, arguments, environment, stderr=STDOUT)
    tail: deque[str] = deque(maxlen=_TAIL)
    reading: asyncio.Task[None] | None = None
    try:
        while ready not in (line := await _line(process)):
            tail.append(line)
            if not line:
                raise ChildFailed(f"{module} did not start:\n{''.join(tail)}")
        reading = asyncio.create_task(_drain(process))
        yield process
    finally:
        await _end(process)
        if reading is not None:
            await reading


async def result_of(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON object that ``python -m module arguments`` writes before it ends with 0."""
    process = await _start(module, arguments, None, stderr=PIPE)
    try:
        output, errors = await process.communicate()
    finally:
        await _end(process)
    if process.returncode != 0:
        raise ChildFailed(f"{module} ended with {process.returncode}:\n{errors.decode()}")
    result: dict[str, Any] = orjson.loads(output)
    return result


def resident_megabytes(pid: int) -> float:
    """How much memory a process has in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ChildFailed(f"the process {pid} is gone")


async def _start(
    module: str, arguments: tuple[str, ...], environment: Mapping[str, str] | None, stderr: int
) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=stderr,
        env=clean_environment(**(environment or {})),
        cwd=ROOT,
    )


async def _line(process: Process) -> str:
    return (await process.stdout.readline()).decode() if process.stdout else ""


async def _drain(process: Process) -> None:
    while await _line(process):
        pass


async def _end(process: Process) -> None:
    """End a child by its own id."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

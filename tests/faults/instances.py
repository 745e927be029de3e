"""Service processes that are started again whenever they end, as by a supervisor."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from cim_domain.service.runner import LOST
from cim_domain.testing.process import READY, clean_environment
from tests.faults import bound

_BETWEEN = 0.1
_ENDING = 45.0
_EXPECTED = {-signal.SIGKILL, LOST}

ROOT = Path(__file__).parents[2]


@define(eq=False)
class Instance:
    """One service, by its command; `environment` is asked anew at every start."""

    name: str
    command: Sequence[str]
    data_directory: Path
    environment: Callable[[], Mapping[str, str]]
    starts: int = 0
    kills: int = 0
    """How often it has died by SIGKILL, whoever sent it."""
    unexpected: list[int] = field(factory=list)
    """The exit codes of ends that nothing explains."""
    log: deque[str] = field(factory=lambda: deque(maxlen=400))
    _process: Process | None = None
    _ready: asyncio.Event = field(factory=asyncio.Event)
    _keeping: asyncio.Task[None] | None = None
    _awaited: list[tuple[str, asyncio.Event]] = field(factory=list)

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Run from now on."""
        self._keeping = asyncio.create_task(self._keep())

    async def ready(self) -> None:
        """Return once it answers."""
        await self._ready.wait()

    async def says(self, text: str) -> None:
        """Return once it logs a line, from now on, that has this text in it."""
        said = asyncio.Event()
        self._awaited.append((text, said))
        await said.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid is not None:
            os.kill(self.pid, number)

    async def stop(self) -> int | None:
        """End it in order; its exit code."""
        if self._keeping is None or self._process is None:
            return None
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        self._keeping = None
        self.signal(signal.SIGTERM)
        return await self._ended(self._process)

    async def _ended(self, process: Process) -> int:
        try:
            async with asyncio.timeout(_ENDING):
                return await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            return await process.wait()

    async def _keep(self) -> None:
        while True:
            self._ready.clear()
            self.starts += 1
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",
                bound.__file__,
                str(os.getpid()),
                *self.command,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=PIPE,
                env=clean_environment(**self.environment()),
            )
            reading = asyncio.create_task(self._read_log(process))
            code = await process.wait()
            self.log.append(f"--- {self.name} ended with {code}\n")
            self.kills += code == -signal.SIGKILL
            if code not in _EXPECTED:
                self.unexpected.append(code)
            await asyncio.wait([reading])
            await asyncio.sleep(_BETWEEN)

    async def _read_log(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace")
            self.log.append(text)
            if READY in text:
                self._ready.set()
            for awaited, said in self._awaited:
                if awaited in text:
                    said.set()

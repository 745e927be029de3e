"""The embedded server: nats-server as a child on loopback, kept alive and never left behind.

    async with EmbeddedServer(ServerOptions(data_directory=Path("data"))) as server:
        client = await nats.connect(server.url)

Other commands find it by the data directory: ``find_url(Path("data"))``. A server that dies by
itself is started again on the same port; when that happens too often, `status()` says dead.
"""

import asyncio
import logging
import os
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from attrs import evolve, frozen

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server.binary import server_binary, server_version
from cim_domain.nats.server.config import RestartPolicy, ServerOptions, render_config
from cim_domain.nats.server.directory import DataDirectory, ServerState, find_url
from cim_domain.nats.server.disk import Disk
from cim_domain.nats.server.ports import candidate_ports, is_taken
from cim_domain.nats.server.process import describe_exit, end, end_orphan, launch

__all__ = [
    "EmbeddedServer",
    "RestartPolicy",
    "ServerOptions",
    "ServerStatus",
    "find_url",
    "server_binary",
]

logger = logging.getLogger(__name__)

_POLL = 0.01

_LOOK_AT_DISK_EVERY = 0.5
"""Seconds."""

Liveness = Literal["stopped", "starting", "running", "restarting", "dead"]


@frozen
class ServerStatus:
    """How the server is; `reason`: why it is restarting or dead; `restarts`: since the start."""

    state: Liveness
    reason: str = ""
    restarts: int = 0


class EmbeddedServer:
    """One nats-server, owned by this process; start it on the event loop that lives longest.

    `on_change` is called on that loop with every new status.
    """

    def __init__(
        self, options: ServerOptions, on_change: Callable[[ServerStatus], None] | None = None
    ) -> None:
        self._options = options
        self._on_change = on_change
        self._directory = DataDirectory(options.data_directory)
        self.disk = Disk(self._directory, options.reserve)
        self._binary = options.binary or Path("nats-server")
        self._version = ""
        self._url = ""
        self._process: Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._status = ServerStatus("stopped")

    @property
    def url(self) -> str:
        """Where clients connect; the same across restarts, empty before the first start."""
        return self._url

    @property
    def pid(self) -> int | None:
        """The server's process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def version(self) -> str:
        """Such as ``2.15.1``; empty before the first start."""
        return self._version

    def status(self) -> ServerStatus:
        """How the server is now."""
        return self._status

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> str:
        """Start the server and wait until it takes clients; returns its URL.

        Raises ConfigurationError, with nothing left running, when the data directory is in use
        or unfit, no port is free, or the server does not come up: the end of its log is shown.
        """
        if self._status.state != "stopped":
            raise ConfigurationError(f"the embedded server is {self._status.state} already")
        self._change(ServerStatus("starting"))
        try:
            self._directory.claim()
            await self._find_binary()
            await self._end_leftover()
            await self._start_on_a_free_port()
        except BaseException:
            self._directory.release()
            self._change(ServerStatus("stopped"))
            raise
        self._change(ServerStatus("running"))
        self._supervision = asyncio.create_task(self._supervise(), name="embedded nats-server")
        self._watch = asyncio.create_task(self._watch_disk(), name="its disk")
        return self._url

    async def stop(self) -> None:
        """End the server by its pid and give up the data directory; harmless when stopped."""
        supervision, self._supervision = self._supervision, None
        if supervision is None:
            return
        try:
            ending = [one for one in (supervision, self._watch) if one is not None]
            for one in ending:
                one.cancel()
            await asyncio.wait(ending)
        finally:
            try:
                await self._end_process()
            finally:
                self._directory.release()
                self._change(ServerStatus("stopped", restarts=self._status.restarts))

    async def _find_binary(self) -> None:
        self._binary = self._options.binary or server_binary()
        self._version = await asyncio.to_thread(server_version, self._binary)

    async def _end_leftover(self) -> None:
        """No owner but this one can be there: what the state file names is an orphan."""
        state = self._directory.read_state()
        if state is not None and state.is_alive():
            logger.warning("ending a nats-server left behind, pid %d", state.pid)
            await end_orphan(state.pid, state.config, self._options.stop_timeout)

    async def _start_on_a_free_port(self) -> None:
        for port in candidate_ports(self._options.port, self._options.preferred_port):
            try:
                await self._start_on(port)
            except ConfigurationError:
                if not is_taken(port):
                    raise
            else:
                return

    async def _start_on(self, port: int) -> None:
        directory = self._directory
        try:
            directory.forget_listening()
            self.disk.started()
            directory.write(directory.config, render_config(self._options, directory, port))
            log_start = directory.log_size()
            self._process = await self._launch()
            state = ServerState(self._process.pid, str(directory.config))
            directory.write_state(state)
            self._url = await self._listening(self._process, log_start)
            directory.write_state(evolve(state, url=self._url))
        except BaseException as error:
            await self._end_process()
            if isinstance(error, OSError):
                raise ConfigurationError(f"nats-server cannot be started: {error}") from error
            raise

    async def _launch(self) -> Process:
        log = self._directory.open_log()
        try:
            return await launch(self._binary, self._directory.config, log)
        finally:
            os.close(log)

    async def _listening(self, process: Process, log_start: int) -> str:
        """Wait until this very process says it takes clients; its URL."""
        try:
            async with asyncio.timeout(self._options.start_timeout):
                while (url := self._directory.listening_url(process.pid)) is None:
                    if process.returncode is not None:
                        problem = f"ended with {describe_exit(process.returncode)}"
                        raise ConfigurationError(self._start_failure(problem, log_start))
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            problem = f"did not come up within {self._options.start_timeout:g} s"
            raise ConfigurationError(self._start_failure(problem, log_start)) from None
        return url

    def _start_failure(self, problem: str, log_start: int) -> str:
        tail = self._directory.log_tail(log_start)
        return f"nats-server {problem}; the end of its log {self._directory.log}:\n{tail}"

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None and not await end(process, self._options.stop_timeout):
            logger.warning("nats-server, pid %d, did not stop and was killed", process.pid)

    async def _watch_disk(self) -> None:
        """End a server that could not write once there is room, so that it is started again."""
        while True:
            await asyncio.sleep(_LOOK_AT_DISK_EVERY)
            try:
                renew = self.disk.look()
            except OSError as error:
                logger.warning("the disk of the embedded server cannot be looked at: %s", error)
                continue
            process = self._process
            if renew and process is not None and self._status.state == "running":
                logger.warning("nats-server could not write and there is room now: it is renewed")
                await end(process, self._options.stop_timeout)

    async def _supervise(self) -> None:
        """Start the server again whenever it dies, until that happens too often."""
        attempts: deque[float] = deque()
        window = self._options.restart.window
        while self._process is not None:
            code = await self._process.wait()
            reason = f"nats-server ended with {describe_exit(code)}"
            logger.error("%s, pid %d", reason, self._process.pid)
            if not await self._restart(reason, attempts):
                reason += f"; starting it again was tried {len(attempts)} times within {window:g} s"
                logger.critical("%s and is given up", reason)
                self._change(evolve(self._status, state="dead", reason=reason))
                return
            self._change(ServerStatus("running", restarts=self._status.restarts + 1))

    async def _restart(self, reason: str, attempts: deque[float]) -> bool:
        """Start on the same port, with growing delays; False when the policy allows no more."""
        policy = self._options.restart
        port = urlsplit(self._url).port or 0
        now = asyncio.get_running_loop().time
        while True:
            while attempts and attempts[0] <= now() - policy.window:
                attempts.popleft()
            delay = policy.delay(len(attempts))
            if delay is None:
                return False
            self._change(evolve(self._status, state="restarting", reason=reason))
            await asyncio.sleep(delay)
            attempts.append(now())
            try:
                await self._start_on(port)
            except ConfigurationError:
                logger.exception("nats-server could not be started again")
            else:
                return True

    def _change(self, status: ServerStatus) -> None:
        self._status = status
        if self._on_change is not None:
            # Not called from here: its failure is the loop's to report, not the end of supervision.
            asyncio.get_running_loop().call_soon(self._on_change, status)

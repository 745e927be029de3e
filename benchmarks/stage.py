"""What the benchmarks play on: servers, services and logs, all in one temporary directory."""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import nats
import orjson
from attrs import define, field, frozen
from nats.aio.client import Client

from benchmarks.filling import fill
from benchmarks.histories import Histories
from benchmarks.processes import running
from cim_domain.model.subjects import Subjects
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions
from cim_domain.testing.process import READY

DOMAIN = "nix"
LARGE, SMALL = "large", "small"
"""The subject prefixes of the two logs in `Stage.filled`."""
EVENTS_EACH = 10
"""Events of each aggregate in them."""


@frozen
class Running:
    """A server, a service on it in a process of its own, and a connection of the load generator."""

    url: str
    service: Process
    client: Client

    async def settle(self) -> None:
        """Wait until nothing is left over from the round before.

        Not the views' catching up, and no unwritten pages, which the next fsync, that of a peer
        perhaps, would have to write along.
        """
        while True:
            reply = await self.client.request(f"health.cim-domain-{DOMAIN}", timeout=30)
            checks = orjson.loads(reply.data)["checks"]
            if not any(check.get("lag", 0) for check in checks.values()):
                break
        await asyncio.to_thread(os.sync)


@frozen
class Filled:
    """A data directory with a large and a small log."""

    directory: Path
    large: Histories
    small: Histories


@define
class Stage:
    """One run of the benchmarks."""

    directory: Path
    quick: bool = False
    samples: Path | None = None
    """Where services write how they spend their time, if that is wanted."""
    _filled: Filled | None = None
    _names: int = field(default=0)

    def size(self, full: int, quick: int) -> int:
        """How much of something, for a run that is to be right and one that is to be quick."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """How often each pair is measured."""
        return self.size(5, 2)

    @property
    def no_peer(self) -> str | None:
        """Why nothing can be compared with the library `eventsourcing`."""
        if find_spec("eventsourcing"):
            return None
        return "eventsourcing is not installed: pip install -e '.[bench]'"

    def new_directory(self, purpose: str) -> Path:
        """One that nothing else uses; it is made by whoever writes there."""
        self._names += 1
        return self.directory / f"{purpose}-{self._names}"

    @asynccontextmanager
    async def server(
        self, directory: Path | None = None, *, durable: bool = True
    ) -> AsyncIterator[str]:
        """The URL of an embedded server; `durable`: what it acknowledges is on disk."""
        options = ServerOptions(
            data_directory=directory or self.new_directory("server"), port=0, sync_always=durable
        )
        async with EmbeddedServer(options) as server:
            yield server.url

    @asynccontextmanager
    async def service(
        self, url: str, *, prefix: str = "", directory: Path | None = None
    ) -> AsyncIterator[Process]:
        """``cim-domain serve nix`` with its defaults; its views are in `directory`."""
        arguments = ["serve", DOMAIN, "--data-directory"]
        arguments.append(str(directory or self.new_directory("service")))
        module = "cim_domain.cli"
        if self.samples is not None:
            arguments = [str(self.samples), module, *arguments]
            module = "benchmarks.sampling"
        environment = {"NATS_URL": url, "NATS_SUBJECT_PREFIX": prefix}
        async with running(module, *arguments, ready=READY, environment=environment) as process:
            yield process

    @asynccontextmanager
    async def running(self, *, durable: bool = True) -> AsyncIterator[Running]:
        """A server with the service on it, both new."""
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(self.server(durable=durable))
            service = await stack.enter_async_context(self.service(url))
            client = await stack.enter_async_context(connected(url))
            yield Running(url, service, client)

    async def filled(self) -> Filled:
        """The large log and the small one, filled once in a run. No server is on them."""
        if self._filled is None:
            filled = Filled(
                self.new_directory("filled"),
                _spread(LARGE, self.size(100_000, 5_000)),
                _spread(SMALL, self.size(1_000, 500)),
            )
            # With an fsync for every message it would take ten times as long.
            async with self.server(filled.directory, durable=False) as url:
                await fill(url, filled.small)
                await fill(url, filled.large)
            self._filled = filled
        return self._filled


def _spread(prefix: str, flakes: int) -> Histories:
    """All flakes grow side by side, so that the events of each lie all over the log."""
    return Histories(Subjects(DOMAIN, prefix), flakes, EVENTS_EACH, side_by_side=flakes)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A connection as any client has it."""
    client = await nats.connect(url)
    try:
        yield client
    finally:
        await client.close()

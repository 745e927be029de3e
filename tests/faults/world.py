"""What a scenario plays in: servers, service processes, connections; put up and taken down."""

import asyncio
import random
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field, frozen

from cim_domain import Domain
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.embedded import EmbeddedServer, RestartPolicy
from cim_domain.service.adapters import open_views
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.testing.cluster import throwaway_cluster, urls_of
from cim_domain.testing.server import throwaway_server
from cim_domain.views.port import ViewDatabase
from tests.faults.domain import faults_domain
from tests.faults.instances import Instance
from tests.faults.points import POINTS
from tests.faults.proxy import Proxy, proxy_to

_EACH = {
    "CIM_DOMAIN_ACK_WAIT": "2",
    "CIM_DOMAIN_ATTEMPTS": "1000",
    "CIM_DOMAIN_SNAPSHOT_EVERY": "20",
    "NATS_PING_INTERVAL": "1",
    "NATS_RECONNECT__FIRST_DELAY": "0.02",
    "NATS_RECONNECT__CEILING": "0.2",
}


@frozen(kw_only=True)
class Plan:
    """How a world is made. `servers`: 0 for the service's own embedded one."""

    servers: int = 1
    services: int = 1
    views: str = "sqlite"
    reference: bool = False
    """``cim-domain serve nix``, in place of the domain of these tests with its own runner."""
    proxied: bool = False
    points: bool = False
    """Services die at named points, a different one after each start."""
    clocks: bool = False


@define(eq=False)
class World:
    """Everything that faults happen to."""

    plan: Plan
    domain: Domain
    directory: Path
    draw: random.Random
    instances: list[Instance] = field(factory=list)
    servers: dict[str, EmbeddedServer] = field(factory=dict)
    links: list[Link] = field(factory=list)
    service_proxy: Proxy | None = None
    client_proxy: Proxy | None = None
    databases: list[ViewDatabase] = field(factory=list)
    points: list[str] = field(factory=list)
    """The named points that are still to be died at."""

    @property
    def subjects(self) -> Subjects:
        return Subjects(self.domain.name)

    @property
    def settings(self) -> NatsSettings:
        return load_settings(
            urls=["nats://127.0.0.1:1"],
            ping_interval=1,
            reconnect={"first_delay": 0.02, "ceiling": 0.2},
        )

    async def ready(self) -> None:
        """Return once every service answers."""
        for instance in self.instances:
            await instance.ready()

    def story(self) -> str:
        """The last that the services said, for whoever looks into a failure."""
        return "\n".join(f"== {one.name}\n{''.join(one.log)}" for one in self.instances)


@asynccontextmanager
async def world(plan: Plan, directory: Path, draw: random.Random) -> AsyncIterator[World]:
    """Servers, services that answer, and clients' connections; all ended after the block."""
    domain = Domain.find("nix") if plan.reference else faults_domain()
    made = World(plan, domain, directory, draw)
    async with AsyncExitStack() as stack:
        service_url, client_url = await _urls(made, stack)
        for number in range(plan.services):
            instance = _instance(made, number, service_url)
            made.instances.append(instance)
            stack.push_async_callback(instance.stop)
            instance.start()
        await made.ready()
        for _ in range(3):
            link = await Link.open(made.settings, name="client", url=client_url)
            stack.push_async_callback(link.close)
            made.links.append(link)
        await _open_databases(made, stack)
        yield made


async def _urls(made: World, stack: AsyncExitStack) -> tuple[str, str]:
    """Where services and clients connect."""
    plan = made.plan
    if plan.servers == 0:
        url = f"nats://127.0.0.1:{_free_port()}"
        return url, url
    if plan.servers > 1:
        # Away for long enough that the others elect a leader without it.
        restart = RestartPolicy(attempts=1000, first_delay=1.5, longest_delay=1.5)
        made.servers = await stack.enter_async_context(
            throwaway_cluster(plan.servers, restart=restart)
        )
        url = urls_of(made.servers)
        return url, url
    server = await stack.enter_async_context(throwaway_server())
    made.servers = {"server": server}
    if not plan.proxied:
        return server.url, server.url
    port = urlsplit(server.url).port or 0
    made.service_proxy = await stack.enter_async_context(proxy_to(port))
    made.client_proxy = await stack.enter_async_context(proxy_to(port))
    return (
        f"nats://127.0.0.1:{made.service_proxy.port}",
        f"nats://127.0.0.1:{made.client_proxy.port}",
    )


def _instance(made: World, number: int, url: str) -> Instance:
    plan = made.plan
    data = made.directory / f"service-{number}"
    fixed = {
        **_EACH,
        "NATS_DATA_DIRECTORY": str(data),
        "NATS_REPLICAS": str(max(1, plan.servers)),
        "CIM_DOMAIN_VIEWS": plan.views,
        "CIM_DOMAIN_CACHE": made.draw.choice(("0", "3", "10000")),
    }
    command = [sys.executable, "-m", "tests.faults.instance"]
    if plan.reference:
        command = [sys.executable, "-m", "cim_domain.cli", "serve", "nix"]
    if plan.servers:
        fixed["NATS_URL"] = url
    else:
        command += ["--port", url.rpartition(":")[2]]

    def environment() -> Mapping[str, str]:
        varied = {}
        if plan.clocks:
            varied["FAULT_CLOCK"] = str(made.draw.getrandbits(32))
        if made.points:
            varied["FAULT_POINT"] = made.points.pop(0)
        return fixed | varied

    return Instance(f"service-{number}", command, data, environment)


def named_points(draw: random.Random, rounds: int) -> list[str]:
    """Every point, in any order, so many times each."""
    points = [
        f"{point}:{1 if point.startswith('views.open') else draw.randint(1, 20)}"
        for point in POINTS * rounds
    ]
    draw.shuffle(points)
    return points


async def _open_databases(made: World, stack: AsyncExitStack) -> None:
    log = await JetStreamEvents(made.links[0], made.subjects).identity()
    shared = made.plan.views != "sqlite"
    for instance in made.instances[:1] if shared else made.instances:
        nats = load_settings(data_directory=instance.data_directory)
        settings = load_service_settings(views=made.plan.views)
        database = open_views(settings, nats, made.domain, log)
        stack.push_async_callback(database.close)
        made.databases.append(database)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def at_rest(made: World, log: Sequence[EventRecord], seconds: float) -> None:
    """Return once all views have taken in what concerns them; raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        for database in made.databases:
            for model in made.domain.projections.values():
                store = await database.open(model)
                # Nobody tells another process how far views are.
                while (await store.checkpoint()).sequence < last_of(model, log):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


def last_of(model: ProjectionModel, log: Sequence[EventRecord]) -> int:
    """The sequence of the last event that concerns a projection; 0 where none does."""
    types = {event.message_type for event in model.events}
    return max((i for i, one in enumerate(log, 1) if one.metadata.message_type in types), default=0)

"""Servers with a configuration of a test's own, and a service on one of them."""

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from cim_domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.embedded import EmbeddedServer, RestartPolicy, ServerOptions
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.tallies import Tallies, Tally

SUMS = Domain("sums", aggregates=[Tally], projections=[Tallies()])


@asynccontextmanager
async def server_with(
    directory: Path, config: str, **options: Any
) -> AsyncIterator[EmbeddedServer]:
    """A server whose configuration ends with the file ``more.conf``, for `reconfigure`."""
    _write(directory, config)
    policy = RestartPolicy(attempts=1000, first_delay=0.05, longest_delay=0.05)
    settings = {"port": 0, "sync_always": False, "restart": policy, **options}
    every = {"extra_config": 'include "../more.conf"', **settings}
    async with EmbeddedServer(ServerOptions(data_directory=directory / "data", **every)) as server:
        yield server


def reconfigure(server: EmbeddedServer, directory: Path, config: str) -> None:
    """Have a `server_with` read another configuration."""
    _write(directory, config)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGHUP)


def _write(directory: Path, config: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "more.conf").write_text(config)


@asynccontextmanager
async def sums_on(url: str, directory: Path, **settings: Any) -> AsyncIterator[Service]:
    """The service of tallies, with views in memory."""
    nats = load_settings(
        url=url, data_directory=directory / "service", reconnect={"first_delay": 0.05}, **settings
    )
    async with Service(SUMS, nats, load_service_settings(views="memory", store_patience=5)) as one:
        yield one


async def asked(link: Link, subject: str, body: Mapping[str, Any], **headers: str) -> Any:
    """The reply to a request of the service."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await link.requests.one(subject, orjson.dumps(body), headers=named, timeout=10)
    found: Any = orjson.loads(reply.data)
    return found


class Client:
    """Adds to tallies, and asks for them."""

    def __init__(self, service: Service, link: Link, subjects: Subjects) -> None:
        self.service = service
        self.link = link
        self.subjects = subjects

    async def add(self, name: str, amount: int = 1) -> Any:
        body = {"name": name, "amounts": [amount]}
        return await asked(self.link, self.subjects.command("tally.add"), body)

    async def total(self, name: str, at: int = 0) -> Any:
        """What the tally comes to, or the code of the error."""
        subject = self.subjects.query("tally.get")
        found = await asked(self.link, subject, {"name": name}, X_Min_Sequence=str(at))
        return found["total"] if "total" in found else found["error"]["code"]

    async def names(self, at: int = 0) -> Any:
        found = await asked(
            self.link, self.subjects.query("tally.names"), {}, X_Min_Sequence=str(at)
        )
        return found if isinstance(found, list) else found["error"]["code"]

    async def health(self) -> Any:
        return (await self.service.health())["status"]


@asynccontextmanager
async def tallies_at(
    url: str, directory: Path, views: str, prefix: str = ""
) -> AsyncIterator[Client]:
    nats = load_settings(
        url=url,
        data_directory=directory / "service",
        subject_prefix=prefix,
        reconnect={"first_delay": 0.05, "ceiling": 0.2},
    )
    settings = load_service_settings(views=views, store_patience=5)
    link = await Link.open(nats, name="client")
    try:
        async with Service(SUMS, nats, settings) as service:
            yield Client(service, link, Subjects("sums", prefix))
    finally:
        await link.close()


@asynccontextmanager
async def server_in(directory: Path, port: int = 0) -> AsyncIterator[EmbeddedServer]:
    options = ServerOptions(data_directory=directory, port=port, sync_always=False)
    async with EmbeddedServer(options) as server:
        yield server

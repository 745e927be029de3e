"""A domain that really runs, for a test: a server, a service, a client, and waiting for quiet.

async with running(library) as town:
    await town.client.send(ReturnBook(isbn=ISBN))
    await town.settled()
    book = await town.client.ask(GetBook(isbn=ISBN), BookView)
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from attrs import evolve, frozen

from cim_domain.client.client import DomainClient
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock
from cim_domain.nats.config.settings import load_settings
from cim_domain.observability.observer import Observer
from cim_domain.service.adapters import Adapters
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings, load_service_settings
from cim_domain.testing.server import throwaway_server

SETTLING = 30.0
"""Seconds in which everything must have come to rest."""

_LOOK = 0.01
"""Seconds between looks whether it has."""


@frozen
class RunningDomain:
    """A service, and a client of it."""

    service: Service
    client: DomainClient

    async def settled(self, timeout: float = SETTLING) -> None:  # noqa: ASYNC109
        """See `settled`."""
        await settled(self.client, timeout)


@asynccontextmanager
async def running(
    domain: Domain,
    *,
    url: str | None = None,
    settings: ServiceSettings | None = None,
    clock: Clock | None = None,
    adapters: Adapters | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[RunningDomain]:
    """The domain's service until the block ends, on a server of its own unless there is a `url`.

    On a server that others use, too, its subjects and streams are its own. Views are in memory
    unless `settings` say otherwise. With a `clock`, events and commands have its time.
    """
    async with AsyncExitStack() as stack:
        prefix = f"t{uuid4().hex[:12]}" if url else ""
        if url is None:
            url = (await stack.enter_async_context(throwaway_server())).url
        directory = stack.enter_context(TemporaryDirectory(prefix="cim-domain-"))
        nats = load_settings(url=url, subject_prefix=prefix, data_directory=Path(directory))
        stands_on = adapters or Adapters()
        service = Service(
            domain,
            nats,
            settings or load_service_settings(views="memory"),
            adapters=evolve(stands_on, clock=clock) if clock else stands_on,
            observer=observer,
        )
        await stack.enter_async_context(service)
        client = await stack.enter_async_context(DomainClient.open(domain.name, nats))
        yield RunningDomain(service, client)


async def settled(client: DomainClient, timeout: float = SETTLING) -> None:  # noqa: ASYNC109
    """Return once all that follows from what was done has happened.

    Then the views have taken in every event, the processes have reacted to each, their commands
    are done, and no stored command waits, save those that are scheduled for later. Raises
    `AssertionError`, which says what is not done, after `timeout` seconds, and at once where
    something has stopped for good.
    """
    reports: deque[Mapping[str, Any]] = deque(maxlen=3)
    problems: list[str] = []
    try:
        async with asyncio.timeout(timeout):
            while True:
                reports.append(await client.health())
                if len(reports) == 3:
                    # The one in between was made while no event was stored: what had nothing to
                    # do then got nothing to do from another.
                    before, between, after = (one["checks"] for one in reports)
                    problems = list(_unsettled(between))
                    head = between["stream"].get("last_sequence")
                    if not problems and _head(before) == head == _head(after):
                        return
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        told = "\n    ".join(problems or ["events are stored all the time"])
        raise AssertionError(f"it is not settled within {timeout:g} s:\n    {told}") from None


def _head(checks: Mapping[str, Any]) -> Any:
    return checks["stream"].get("last_sequence")


def _unsettled(checks: Mapping[str, Any]) -> Iterator[str]:
    """What is not done yet. Raises `AssertionError` where that needs a person."""
    for name, facts in checks.items():
        kind = name.partition(".")[0]
        told = f"{name}: {', '.join(f'{fact} {value}' for fact, value in facts.items())}"
        if kind in {"process", "submissions"}:
            done = facts.get("pending") == 0 and facts.get("in_flight") == 0
            stuck = facts.get("state") == "waiting"
        elif kind == "projection":
            done = facts.get("state") == "live" and facts.get("lag") == 0
            stuck = facts.get("state") == "stopped"
        else:
            continue
        if stuck:
            raise AssertionError(f"it will not settle: {told}")
        if not done:
            yield told

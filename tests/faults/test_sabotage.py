"""The checker has teeth: clients at work on a service that breaks a promise, and it is found.

Two instances on a real server, as in the scenarios, and no fault but the one that is built in.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.adapters import Adapters, open_events
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings, load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventStore
from cim_domain.testing.records import all_of
from tests.faults.domain import faults_domain
from tests.faults.sabotage import (
    ForgetfulEvents,
    RepeatingEvents,
    StubbornEvents,
    UncheckedEvents,
)
from tests.faults.verdict.checker import check
from tests.faults.verdict.resolving import resolve
from tests.faults.wire import Progress, Wire
from tests.faults.workload import Workload

DOMAIN = faults_domain()
ENOUGH = 150
"""Commands accepted, most of them about a few hot aggregates."""

SETTINGS = load_service_settings(views="memory", cache=0, snapshot_every=0, store_patience=0.5)

Open = Callable[[Link, Subjects, ServiceSettings], EventStore]


async def found(open_store: Open, url: str, directory: Path, *, honest: bool = False) -> set[str]:
    """The kinds of violations that the checker finds after a workload on such stores."""
    prefix = f"t{uuid4().hex[:12]}"
    subjects = Subjects(DOMAIN.name, prefix)
    progress = Progress()
    async with AsyncExitStack() as stack:
        for number in range(2):
            nats = load_settings(
                url=url, subject_prefix=prefix, data_directory=directory / str(number)
            )
            service = Service(DOMAIN, nats, SETTINGS, adapters=Adapters(events=open_store))
            await stack.enter_async_context(service)
        wires = []
        for _ in range(2):
            link = await Link.open(load_settings(), name="client", url=url)
            stack.push_async_callback(link.close)
            wires.append(Wire(link, subjects, progress))
            await wires[-1].start()
        workload = Workload(DOMAIN, wires, random.Random(7))
        working = asyncio.create_task(workload.run(10))
        await progress.further(ENOUGH)
        workload.enough.set()
        await working
        if honest:
            await resolve(workload.history, wires[0])
        log = await all_of(JetStreamEvents(wires[0].link, subjects).read())
    return {one.kind for one in check(DOMAIN, workload.history, log)}


async def test_nothing_is_found_where_the_store_keeps_its_promises(
    nats_url: str, tmp_path: Path
) -> None:
    assert await found(open_events, nats_url, tmp_path, honest=True) == set()


def unchecked(link: Link, subjects: Subjects, settings: ServiceSettings) -> EventStore:
    return UncheckedEvents(open_events(link, subjects, settings), link, subjects)


def stubborn(*given: Any) -> EventStore:
    return StubbornEvents(open_events(*given))


def forgetful(*given: Any) -> EventStore:
    return ForgetfulEvents(open_events(*given))


def repeating(*given: Any) -> EventStore:
    return RepeatingEvents(open_events(*given))


@pytest.mark.parametrize(
    ("open_store", "kinds"),
    [
        (unchecked, {"gap", "decision"}),
        (stubborn, {"decision"}),
        (forgetful, {"lost"}),
        (repeating, {"doubled"}),
    ],
    ids=["unchecked", "stubborn", "forgetful", "repeating"],
)
async def test_a_store_that_breaks_a_promise_is_found(
    open_store: Open, kinds: set[str], nats_url: str, tmp_path: Path
) -> None:
    assert kinds <= await found(open_store, nats_url, tmp_path)

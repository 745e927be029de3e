"""The queue of stored commands with one worker on it; as a program, with one that dies at work.

    python -m tests.cim_domain.command_queue.queueing URL PREFIX before|after

dies by its own hand, as by a kill -9, before or after the first command has had its effect.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from cim_domain.client import DomainClient
from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.worker import Execute, QueueWorker
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import ReplayingRepository
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters
from cim_domain.nats.jetstream.subscriber import Retries
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.tallies import tally_domain

ACK_WAIT = 0.3
ADD = "tally.add"
SOON = 15
"""Seconds within which whatever is waited for comes."""


def service_on(settings: NatsSettings, **options: Any) -> Service:
    """A service of the domain `sums`; `options` are those of `ServiceSettings`."""
    return Service(tally_domain(), settings, ServiceSettings(views="memory", **options))


async def totals(client: DomainClient) -> list[str]:
    """Which tallies were added to, in the order of the log, once for each event."""
    return [str(orjson.loads(record.data)["name"]) async for record in client.events()]


async def queued(link: Link, subjects: Subjects) -> int:
    """How many commands are in the queue, those that wait for their time included."""
    info = await call(link.requests, f"STREAM.INFO.{subjects.command_stream}")
    return int(info["state"]["messages"])


def executor(link: Link, subjects: Subjects) -> Executor:
    """Carries out commands of the domain `sums`, and keeps nothing in memory."""
    domain, events = tally_domain(), JetStreamEvents(link, subjects)
    return Executor(domain, events, ReplayingRepository(domain, events), source=subjects.service)


@asynccontextmanager
async def worker(
    link: Link,
    subjects: Subjects,
    execute: Execute,
    ack_wait: float = 30.0,
    attempts: int = 5,
    **more: Any,
) -> AsyncIterator[QueueWorker]:
    """Works on the queue, whose streams exist, until the block ends."""
    runner = QueueWorker(
        tally_domain(),
        link,
        subjects,
        execute,
        StatusStore(Bucket(link, subjects.outcome_bucket)),
        StreamDeadLetters(link, subjects.dead_letter_stream, subjects.dead_letter_root),
        Retries(ack_wait=ack_wait, attempts=attempts),
        **more,
    )
    await runner.start()
    yield runner
    await runner.stop()


async def die_at_work(settings: NatsSettings, *, afterwards: bool) -> None:
    """Take the first command there is, and die over it."""
    subjects = Subjects("sums", settings.subject_prefix)
    link = await Link.open(settings, name="dying")

    async def execute(request: CommandRequest) -> Outcome:
        if afterwards:
            assert (await executor(link, subjects).execute(request)).error is None
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")

    async with worker(link, subjects, execute, ACK_WAIT, attempts=1):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    url, prefix, when = sys.argv[1:]
    asyncio.run(
        die_at_work(load_settings(url=url, subject_prefix=prefix), afterwards=when == "after")
    )

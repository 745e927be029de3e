"""Reads a whole log once: a child, ``python -m benchmarks.rebuilding URL KIND DIRECTORY``.

KIND is ``sqlite`` or ``memory`` for a rebuild of the flakes' views, as ``cim-domain projections
rebuild nix flakes`` does it, and ``bare`` for nothing but nats-py's callback on a pull consumer.
"""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from time import perf_counter

import nats
import orjson
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from cim_domain import Domain
from cim_domain.dead_letters import DeadLetters
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.service.adapters import open_views
from cim_domain.service.runner import run
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents

PROJECTION = "flakes"
PULL = 4000
SUBJECTS = Subjects("nix")


async def main(url: str, kind: str, directory: str) -> int:
    """Write ``{"events": …, "seconds": …}``; the time is without starting and connecting."""
    events, seconds = await (_bare(url) if kind == "bare" else _rebuild(url, kind, Path(directory)))
    print(orjson.dumps({"events": events, "seconds": seconds}).decode())
    return 0


async def _rebuild(url: str, views: str, directory: Path) -> tuple[int, float]:
    domain = Domain.find(SUBJECTS.domain)
    nats_settings = load_settings(data_directory=directory)
    link = await Link.open(nats_settings, name="rebuilding", url=url)
    log = JetStreamEvents(link, SUBJECTS)
    settings = load_service_settings(views=views)
    database = open_views(settings, nats_settings, domain, await log.identity())
    try:
        letters: DeadLetters = StreamDeadLetters(
            link, SUBJECTS.dead_letter_stream, SUBJECTS.dead_letter_root
        )
        model = domain.projections[PROJECTION]
        runner = ProjectionRunner(domain, model, log, database, letters, SUBJECTS)
        # The first generation is live from the start; what is measured is built beside it.
        await database.open(model)
        began = perf_counter()
        async with aclosing(runner.build(await database.rebuild(model))) as steps:
            async for _ in steps:
                pass
        return runner.position, perf_counter() - began
    finally:
        await link.drain()
        await database.close()


async def _bare(url: str) -> tuple[int, float]:
    client = await nats.connect(url)
    stream = client.jetstream()
    total = (await stream.stream_info(SUBJECTS.event_stream)).state.messages
    seen = 0
    done = asyncio.Event()
    inbox = client.new_inbox()

    async def take(message: Msg) -> None:
        nonlocal seen
        if not message.reply:
            return
        seen += 1
        if seen == total:
            done.set()
        elif seen % PULL == 0:
            await client.publish(pull, request, inbox)

    began = perf_counter()
    await client.subscribe(inbox, cb=take)
    consumer = await stream.add_consumer(
        SUBJECTS.event_stream, ConsumerConfig(name="bare", ack_policy=AckPolicy.NONE)
    )
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{SUBJECTS.event_stream}.{consumer.name}"
    request = orjson.dumps({"batch": PULL, "expires": 30_000_000_000})
    # Two pulls, so that one is always open.
    await client.publish(pull, request, inbox)
    await client.publish(pull, request, inbox)
    await done.wait()
    seconds = perf_counter() - began
    await stream.delete_consumer(SUBJECTS.event_stream, consumer.name)
    await client.close()
    return total, seconds


if __name__ == "__main__":
    sys.exit(run(main(*sys.argv[1:])))

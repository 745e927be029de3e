"""Answers requests with what they hold: a child, ``python -m benchmarks.echo URL SUBJECT``."""

import asyncio
import sys

import nats
from nats.aio.msg import Msg

from cim_domain.service.runner import run

READY = "echo is ready"


async def echo(url: str, subject: str) -> int:
    """Answer until a signal ends the process."""
    client = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, cb=answer)
    # The first ping may overtake the subscription, the second does not.
    await client.flush()
    await client.flush()
    print(READY, flush=True)
    await asyncio.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(run(echo(*sys.argv[1:])))

"""A process that works off a stream until a message kills it: URL STREAM ATTEMPTS ACK_WAIT.

It says ``begun N`` for each message, ``letter CODE`` for each dead letter, and dies at ``die``.
"""

import asyncio
import os
import signal
import sys

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetter, MemoryDeadLetters
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.subscriber import ConsumerDefinition, Received, Retries, Subscriber


class Told(MemoryDeadLetters):
    async def put(self, letter: DeadLetter) -> None:
        await super().put(letter)
        print("letter", letter.code, letter.deliveries, flush=True)


async def handle(received: Received) -> None:
    print("begun", received.data.decode(), flush=True)
    if received.data == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if received.data == b"hang":
        await asyncio.Event().wait()


async def main(url: str, stream: str, attempts: str, ack_wait: str) -> None:
    link = await Link.open(load_settings(), name="dying", url=url)
    subscriber = Subscriber(
        link,
        ConsumerDefinition(stream=stream, name="workers", history=True),
        handle,
        Told(),
        bucket=Bucket(link, stream),
        dead_letter_name="process.workers",
        retries=Retries(
            attempts=int(attempts),
            between=Backoff(first_delay=0.02, ceiling=0.1),
            ack_wait=float(ack_wait),
        ),
    )
    await subscriber.start()
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))

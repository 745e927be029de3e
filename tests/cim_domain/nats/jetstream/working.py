"""A stream of work and those who do it, for the tests of pulls and subscribers."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetters, MemoryDeadLetters
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import answer_of, call
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.nats.jetstream.subscriber import ConsumerDefinition, Received, Retries, Subscriber

QUICK = Backoff(first_delay=0.02, factor=2, ceiling=0.5, jitter=0)


def quickly(attempts: int = 5, ack_wait: float = 30.0) -> Retries:
    """With short pauses between attempts."""
    return Retries(attempts=attempts, between=QUICK, ack_wait=ack_wait)


class Work:
    """A stream, and what is published to it."""

    def __init__(self, link: Link, root: str) -> None:
        self.link = link
        self.root = root
        self.stream = f"W{uuid4().hex}"

    async def make(self, **config: Any) -> "Work":
        wanted = {"name": self.stream, "subjects": [f"{self.root}.>"], **config}
        await call(self.link.requests, f"STREAM.CREATE.{self.stream}", wanted)
        # Where the workers note what they have begun.
        await ensure_stream(self.link.requests, bucket_stream(self.stream))
        return self

    async def put(
        self, data: str = "", kind: str = "a", headers: Mapping[str, str] | None = None
    ) -> int:
        """Store a message on ``ROOT.kind``; its sequence."""
        reply = await self.link.requests.one(
            f"{self.root}.{kind}", data.encode(), headers=headers, timeout=5
        )
        return int(answer_of("", reply)["seq"])

    async def put_many(self, count: int, kind: str = "a") -> None:
        """Store messages ``0``, ``1`` … ."""
        for number in range(count):
            await self.put(str(number), kind)

    async def consumer(self, name: str = "workers") -> dict[str, Any]:
        return await call(self.link.requests, f"CONSUMER.INFO.{self.stream}.{name}")

    async def delete_consumer(self, name: str = "workers") -> None:
        await call(self.link.requests, f"CONSUMER.DELETE.{self.stream}.{name}")

    async def settled(self, name: str = "workers") -> None:
        """Return once nothing waits and nothing is in flight; asked at the server's own pace."""
        async with asyncio.timeout(15):
            while True:
                info = await self.consumer(name)
                if info["num_pending"] == info["num_ack_pending"] == 0:
                    return


class Workers:
    """Handles messages and remembers each attempt, in order."""

    def __init__(self, work: Work, stack: AsyncExitStack) -> None:
        self.work = work
        self.stack = stack
        self.attempts: list[Received] = []
        self.letters = MemoryDeadLetters()
        self.running = 0
        self.most_running = 0
        self.arrived = asyncio.Condition()
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gated = False
        self.reaction: Callable[[Received], Awaitable[None]] | None = None

    @property
    def seen(self) -> list[str]:
        """What was begun, in order."""
        return [one.data.decode() for one in self.attempts]

    async def subscribe(self, link: Link | None = None, **options: Any) -> Subscriber:
        """Begin; whatever is left unsaid is a definition with history and quick retries."""
        subscriber = self.subscriber(link, **options)
        await subscriber.start()
        self.stack.push_async_callback(subscriber.stop)
        return subscriber

    def subscriber(
        self,
        link: Link | None = None,
        *,
        letters: DeadLetters | None = None,
        retries: Retries | None = None,
        filter_subject: str | None = None,
        history: bool = True,
        handles: frozenset[str] = frozenset(),
        bucket: Bucket | None = None,
        **options: Any,
    ) -> Subscriber:
        definition = ConsumerDefinition(
            stream=self.work.stream,
            name="workers",
            filter_subject=filter_subject,
            history=history,
            handles=handles,
        )
        return Subscriber(
            link or self.work.link,
            definition,
            self.handle,
            letters or self.letters,
            bucket=bucket or Bucket(link or self.work.link, self.work.stream),
            dead_letter_name="process.workers",
            retries=retries or quickly(),
            **options,
        )

    async def handle(self, received: Received) -> None:
        self.attempts.append(received)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        async with self.arrived:
            self.arrived.notify_all()
        try:
            if self.gated:
                await self.gates[received.data.decode()].wait()
            if self.reaction is not None:
                await self.reaction(received)
        finally:
            self.running -= 1

    async def begun(self, count: int) -> None:
        """Return once so many attempts were begun."""
        async with asyncio.timeout(15), self.arrived:
            await self.arrived.wait_for(lambda: len(self.attempts) >= count)

    def open_gates(self) -> None:
        self.gated = False
        for gate in self.gates.values():
            gate.set()

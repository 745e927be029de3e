"""IdempotencyStore kept in a bucket, for some time, where every instance finds them.

A command that is new pays no round trip for them: each instance reads along which there are, and
asks the leader only about those.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import random
from time import monotonic
from typing import TypeVar

from cim_domain.backoff import Backoff
from cim_domain.commands.idempotency import KEPT, LARGEST, idempotency_key
from cim_domain.errors import Busy, Unavailable
from cim_domain.model.metadata import Metadata
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError
from cim_domain.nats.jetstream.bloom_filter import RotatingBloomFilter
from cim_domain.nats.jetstream.bucket_keys import BucketKeys
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome

UNDER_WAY = 128
"""So many are written at a time; more are not faster on any server."""

_RETRY = Backoff(first_delay=0.05, ceiling=0.5)

T = TypeVar("T")


async def open_idempotency_store(
    stack: AsyncExitStack,
    link: Link,
    bucket: str,
    *,
    kept: float,
    patience: float,
    replicas: int = 1,
) -> "BucketIdempotencyStore":
    """Those in `bucket`, which is made where it is missing, until `stack` ends.

    Each is `kept` for so many seconds, and the server is given `patience` seconds to answer. Raises
    `ConfigurationError`, `ApiError` and `Unavailable`.
    """
    await ensure_stream(link.requests, bucket_stream(bucket, replicas, kept=kept, most=KEPT))
    keys = BucketKeys(link, bucket, RotatingBloomFilter(KEPT, kept))
    stack.push_async_callback(keys.stop)
    await keys.start()
    return BucketIdempotencyStore(link, Bucket(link, bucket), keys, patience)


class BucketIdempotencyStore:
    """`IdempotencyStore` in a bucket that exists; see `open_idempotency_store`."""

    def __init__(self, link: Link, bucket: Bucket, keys: BucketKeys, patience: float) -> None:
        self._link = link
        self._bucket = bucket
        self._keys = keys
        self._patience = patience
        self._turns = asyncio.Semaphore(UNDER_WAY)

    def may_have(self, command: Metadata) -> bool:
        """See `IdempotencyStore.may_have`."""
        return self._keys.may_have(idempotency_key(command))

    async def find(self, command: Metadata) -> Outcome | None:
        """See `IdempotencyStore.find`."""
        key = idempotency_key(command)
        return await self._in_turn(lambda: self._newest(key))

    async def keep(self, command: Metadata, outcome: Outcome) -> Outcome:
        """See `IdempotencyStore.keep`."""
        key = idempotency_key(command)
        outcome = outcome.within(min(LARGEST, self._link.client.max_payload // 2))
        # The same JSON as in the bucket of outcomes.
        value = CommandStatus.done(outcome, command.message_id, attempts=1).to_wire()

        async def create() -> Outcome:
            if await self._bucket.create(key, value):
                return outcome
            first = await self._newest(key)
            if first is None:
                raise Unavailable("somebody else is writing it")
            return first

        # Before it is written: whatever becomes of that, whoever comes next looks.
        self._keys.add(key)
        return await self._in_turn(create)

    async def _newest(self, key: str) -> Outcome | None:
        try:
            value = await self._bucket.get_newest(key)
        except ApiError as error:
            if error.error_code != STREAM_NOT_FOUND:
                raise
            # Somebody has deleted it; commands that have an effect need not wait for another one.
            return None
        return None if value is None else CommandStatus.from_wire(value).outcome

    async def _in_turn(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy(
                f"there was no time in {self._patience:g} s to see what the command was answered,"
                " or to keep what it is to be answered; send it again later"
            ) from None
        try:
            return await self._patiently(attempt)
        finally:
            self._turns.release()

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again for want of an answer, until the patience is at its end."""
        end = monotonic() + self._patience
        number = 0
        while True:
            try:
                return await attempt()
            except (Unavailable, ApiError) as error:
                if isinstance(error, ApiError) and error.status_code < 500:
                    raise
                if monotonic() >= end:
                    raise Unavailable(
                        "what the command was or is to be answered cannot be read or kept"
                        f" ({error.message}); send it again with the same id"
                    ) from error
            await asyncio.sleep(_RETRY.delay(number, random()))  # noqa: S311
            number += 1

"""`IdempotencyStore` in the bucket that tells what came of commands, where every instance finds it.

Under the same keys, and as the same JSON, it is kept there what came of stored commands. A command
that is new pays no round trip: each instance reads along which keys there are, and asks the leader
only about those.
"""

from contextlib import AsyncExitStack

from attrs import evolve

from cim_domain.commands.idempotency import KEPT, LARGEST, idempotency_key
from cim_domain.commands.results import Answer
from cim_domain.model.metadata import Metadata
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError
from cim_domain.nats.jetstream.bloom_filter import RotatingBloomFilter
from cim_domain.nats.jetstream.bucket_keys import BucketKeys
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.patience import Later, Patience
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.limiter import Turns
from cim_domain.store.lost_past import has_basis
from cim_domain.store.port import EventStore
from cim_domain.wire.command_status import CommandStatus, read_status

UNDER_WAY = 128
"""So many are written at a time; more are not faster on any server."""

_ATTEMPTS = 5


async def open_idempotency_store(
    stack: AsyncExitStack,
    link: Link,
    subjects: Subjects,
    *,
    kept: float,
    patience: float,
    replicas: int = 1,
    log: EventStore | None = None,
) -> "BucketIdempotencyStore":
    """That of a domain, in its bucket of outcomes, made where it is missing, until `stack` ends.

    What was kept on events that `log` does not have is not answered.

    Each is `kept` for so many seconds, and the server is given `patience` seconds to answer. Raises
    `ConfigurationError`, `ApiError` and `Unavailable`.
    """
    name = subjects.outcome_bucket
    announced = subjects.outcome_root
    await ensure_stream(
        link.requests, bucket_stream(name, replicas, kept=kept, most=KEPT, announced=announced)
    )
    keys = BucketKeys(link, name, RotatingBloomFilter(KEPT, kept))
    stack.push_async_callback(keys.stop)
    await keys.start()
    return BucketIdempotencyStore(link, name, keys, patience, log)


class BucketIdempotencyStore:
    """`IdempotencyStore` in a bucket that exists; see `open_idempotency_store`."""

    def __init__(
        self,
        link: Link,
        bucket: str,
        keys: BucketKeys,
        patience: float,
        log: EventStore | None = None,
    ) -> None:
        self._link = link
        self._log = log
        self._name = bucket
        self._bucket = Bucket(link, bucket)
        self._keys = keys
        self._patience = Patience(budget=patience)
        self._turns = Turns(UNDER_WAY, patience, "what keeps the answers to commands")

    def may_have(self, command: Metadata) -> bool:
        """See `IdempotencyStore.may_have`."""
        return self._keys.may_have(idempotency_key(command))

    async def find(self, command: Metadata) -> Answer | None:
        """See `IdempotencyStore.find`."""
        key = idempotency_key(command)

        async def read() -> Answer | None:
            for _ in range(_ATTEMPTS):
                data, revision = await self._newest(key)
                found = await self._answer(data)
                if found is None or await self._told(key, data, revision):
                    return found
            raise Later("others keep writing what came of the command", code="busy")

        async with self._turns:
            return await self._patience.retried(self._name, read)

    async def keep(self, command: Metadata, answer: Answer) -> Answer:
        """See `IdempotencyStore.keep`."""
        key = idempotency_key(command)
        outcome = answer.outcome.within(min(LARGEST, self._link.client.max_payload // 2))
        answer = evolve(answer, outcome=outcome)
        value = CommandStatus.done(outcome, command.message_id, 1, answer.digest).to_wire()

        async def write() -> Answer:
            revision = 0
            for _ in range(_ATTEMPTS):
                if kept := await self._bucket.replace(key, value, revision):
                    return evolve(answer, revision=kept)
                data, revision = await self._newest(key)
                first = await self._answer(data)
                if first and await self._told(key, data, revision):
                    return first
                # How a stored command stands that is under way, or nothing any more.
            raise Later("others keep writing what came of the command", code="busy")

        # Before it is written: whatever becomes of that, whoever comes next looks.
        self._keys.add(key)
        async with self._turns:
            return await self._patience.retried(self._name, write)

    async def take_back(self, command: Metadata, revision: int) -> bool:
        """See `IdempotencyStore.take_back`."""
        key = idempotency_key(command)

        async def delete() -> bool:
            if await self._bucket.delete(key, revision):
                return True
            # A try before this one may have done it.
            return await self._answer((await self._newest(key))[0]) is None

        async with self._turns:
            return await self._patience.retried(self._name, delete)

    async def _told(self, key: str, data: bytes | None, revision: int) -> bool:
        """Write again what is there, so that who has kept it sees that others answer it, too."""
        return data is not None and bool(await self._bucket.replace(key, data, revision))

    async def _answer(self, data: bytes | None) -> Answer | None:
        """The answer in an entry, if there is one, it is of a command without events, and the log
        at hand has what it was decided on.

        Of others the log tells; and what cannot be read is nobody's answer.
        """
        status = read_status(data)
        if status is None or not status.final or status.outcome is None or status.digest is None:
            return None
        if self._log and status.basis and not await has_basis(self._log, status.basis):
            return None
        return Answer(status.outcome, status.digest)

    async def _newest(self, key: str) -> tuple[bytes | None, int]:
        try:
            return await self._bucket.newest(key)
        except ApiError as error:
            if error.error_code != STREAM_NOT_FOUND:
                raise
            # Somebody has deleted it; commands that have an effect need not wait for another one.
            return None, 0

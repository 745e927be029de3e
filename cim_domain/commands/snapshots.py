"""Snapshots: long histories need not be replayed from their beginning.

A snapshot is an aid, never the truth. One that does not fit the code of today or the log at hand is
ignored, and all of them can be removed at any time.

Which commands the aggregate has seen belongs to it. All but the newest of these lie beside the
snapshot, in chunks that are written once: under ``flake.ID.0``, ``flake.ID.1``, …
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Protocol

import orjson
from cattrs.preconf.orjson import make_converter

from cim_domain.commands.fingerprint import fingerprint
from cim_domain.commands.processed_commands import Chunk, ProcessedCommands
from cim_domain.commands.repository import LoadedAggregate, Repository
from cim_domain.errors import CimError, Failed, RequestError
from cim_domain.model.aggregate import AggregateModel
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.store.port import CORRUPT_HISTORY, Position

logger = logging.getLogger("cim_domain.commands.snapshots")

_converter = make_converter()

EventAt = Callable[[int], Awaitable[str | None]]
"""Gives the id of the event at a sequence of the log, if there is one. Raises `Unavailable`."""


class Snapshots(Protocol):
    """Where snapshots are kept, the newest of each aggregate; and what lies beside them, under an
    aggregate's id with a dot and a number behind it.
    """

    async def get(self, aggregate: str, aggregate_id: str) -> bytes | None:
        """The snapshot, if there is one. Raises `Unavailable`."""

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        """Replace the snapshot. Raises `Unavailable`, and `Invalid` for one that is too large."""


class MemorySnapshots:
    """Snapshots that end with the process."""

    def __init__(self) -> None:
        self._data: dict[tuple[str, str], bytes] = {}

    async def get(self, aggregate: str, aggregate_id: str) -> bytes | None:
        """See `Snapshots.get`."""
        return self._data.get((aggregate, aggregate_id))

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        """See `Snapshots.put`."""
        self._data[aggregate, aggregate_id] = data


class BucketSnapshots:
    """Snapshots in a key-value bucket, under ``flake.ID``."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def get(self, aggregate: str, aggregate_id: str) -> bytes | None:
        """See `Snapshots.get`."""
        return await self._bucket.get(f"{aggregate}.{aggregate_id}")

    async def put(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        """See `Snapshots.put`."""
        await self._bucket.put(f"{aggregate}.{aggregate_id}", data)


class SnapshottingRepository:
    """Begins with the newest snapshot, and makes a new one every so many events.

    Snapshots are written in the background; `settle` waits for those under way. One is believed
    only if it is of the log `log_id`, and, with `event_at`, where that has its last event in its
    place: one brought back from a copy, which then went on in another way, has another one there.
    The fingerprints of `models` are taken now, while the code that runs is what the files hold.
    """

    def __init__(
        self,
        inner: Repository,
        snapshots: Snapshots,
        every: int = 100,
        event_at: EventAt | None = None,
        log_id: str = "",
        models: Iterable[AggregateModel] = (),
    ) -> None:
        if every < 1:
            raise ValueError("snapshots are made every so many events, 1 or more")
        self._inner = inner
        self._snapshots = snapshots
        self._every = every
        self._event_at = event_at
        self._log_id = log_id
        self._fingerprints = {model.name: fingerprint(model) for model in models}
        self._writing: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """See `Repository.load`."""
        known = await self._from_snapshot(model, aggregate_id)
        if known is None:
            return await self._inner.load(model, aggregate_id)
        try:
            return await self._inner.reload(model, aggregate_id, known)
        except RequestError as error:
            if error.http < 500 or error.code == "unavailable":
                raise
            # Perhaps of another log, or made by a mistake since mended: the whole history decides.
            logger.warning("the snapshot of %s %s misleads: %s", model.name, aggregate_id, error)
            return await self._inner.load(model, aggregate_id)

    async def reload(
        self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate
    ) -> LoadedAggregate:
        """See `Repository.reload`."""
        return await self._inner.reload(model, aggregate_id, known)

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """See `Repository.store`."""
        name = (model.name, aggregate_id)
        due = known.position.version - known.snapshot >= self._every
        if due and name not in self._writing:
            known.snapshot = known.position.version
            chunks = known.commands.full[len(known.beside) :]
            known.beside += [_digest(chunk.to_bytes()) for chunk in chunks]
            if data := write_snapshot(model, self._fingerprint(model), known, self._log_id):
                task = asyncio.create_task(self._write(name, data, chunks, known))
                self._writing[name] = task
                task.add_done_callback(lambda _: self._writing.pop(name, None))
        self._inner.store(model, aggregate_id, known)

    async def settle(self) -> None:
        """Wait until the snapshots that are being written are written."""
        while self._writing:
            await asyncio.wait(self._writing.values())

    async def _from_snapshot(
        self, model: AggregateModel, aggregate_id: str
    ) -> LoadedAggregate | None:
        try:
            data = await self._snapshots.get(model.name, aggregate_id)
            if data is None:
                return None
            known = read_snapshot(model, self._fingerprint(model), data, self._log_id)
            if known is None or not await self._is_of_this_log(known):
                return None
            known.commands.full = await self._chunks(model.name, aggregate_id, known.beside)
        except (CimError, ValueError) as error:
            if isinstance(error, Failed) and error.code == CORRUPT_HISTORY:
                # The history may look whole, and lack the very events that the snapshot has.
                raise
            logger.warning("no snapshot of %s %s: %s", model.name, aggregate_id, error)
            return None
        return known

    async def _is_of_this_log(self, known: LoadedAggregate) -> bool:
        if self._event_at is None:
            return True
        return await self._event_at(known.position.sequence) == known.last_event

    async def _chunks(
        self, aggregate: str, aggregate_id: str, digests: Sequence[str]
    ) -> list[Chunk]:
        """What lies beside a snapshot. Raises `ValueError` where that is not what it should be."""
        found = await asyncio.gather(
            *(
                self._snapshots.get(aggregate, f"{aggregate_id}.{number}")
                for number in range(len(digests))
            )
        )
        if [_digest(data or b"") for data in found] != list(digests):
            raise ValueError("what lies beside it is not there")
        return [Chunk.from_bytes(data or b"") for data in found]

    async def _write(
        self,
        name: tuple[str, str],
        data: bytes,
        chunks: Sequence[Chunk],
        known: LoadedAggregate,
    ) -> None:
        aggregate, aggregate_id = name
        first = len(known.beside) - len(chunks)
        try:
            for number, chunk in enumerate(chunks, first):
                await self._snapshots.put(aggregate, f"{aggregate_id}.{number}", chunk.to_bytes())
            await self._snapshots.put(aggregate, aggregate_id, data)
        except CimError as error:
            del known.beside[first:]
            logger.warning("no snapshot of %s %s: %s", aggregate, aggregate_id, error)

    def _fingerprint(self, model: AggregateModel) -> str:
        if model.name not in self._fingerprints:
            self._fingerprints[model.name] = fingerprint(model)
        return self._fingerprints[model.name]


def write_snapshot(
    model: AggregateModel, mark: str, known: LoadedAggregate, log_id: str = ""
) -> bytes | None:
    """A snapshot as JSON; `mark` is the fingerprint of the aggregate's class.

    None for a state that JSON does not give back as it was; a warning says so.
    """
    try:
        content = {
            "fingerprint": mark,
            "log": log_id,
            "version": known.position.version,
            "sequence": known.position.sequence,
            "event": known.last_event,
            "state": _converter.unstructure(known.state),
            "commands": base64.b64encode(known.commands.newest.to_bytes()).decode(),
            "older": known.beside,
        }
        data = orjson.dumps({"digest": _digest(orjson.dumps(content)), **content})
        exact = _converter.structure(orjson.loads(data)["state"], model.cls) == known.state
    except Exception as error:  # noqa: BLE001 - whatever a state holds, its commands go on
        logger.warning("no snapshot of a %s can be made: %s", model.name, type(error).__name__)
        return None
    if not exact:
        logger.warning("no snapshot of a %s can be made: JSON changes its state", model.name)
        return None
    return data


def read_snapshot(
    model: AggregateModel, mark: str, data: bytes, log_id: str = ""
) -> LoadedAggregate | None:
    """The aggregate in a snapshot, but for its older commands; None for one that does not fit,
    whatever the reason.
    """
    try:
        content = orjson.loads(data)
        if content.pop("digest") != _digest(orjson.dumps(content)):
            raise ValueError("it is not as it was written")  # noqa: TRY301
        if (content["fingerprint"], content["log"]) != (mark, log_id):
            return None
        return LoadedAggregate(
            _converter.structure(content["state"], model.cls),
            Position(content["version"], content["sequence"]),
            ProcessedCommands(newest=Chunk.from_bytes(base64.b64decode(content["commands"]))),
            last_event=content["event"],
            snapshot=content["version"],
            beside=content["older"],
        )
    except Exception as error:  # noqa: BLE001 - of whatever is wrong with it, it is of no use
        logger.warning("a snapshot of a %s cannot be read: %s", model.name, type(error).__name__)
        return None


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()

"""Snapshots: long histories need not be replayed from their beginning.

A snapshot is an aid, never the truth. One that does not fit the code of today or the log at hand is
ignored, and all of them can be removed at any time.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from cattrs.preconf.orjson import make_converter

from cim_domain.commands.fingerprint import fingerprint
from cim_domain.commands.processed_commands import ProcessedCommand, ProcessedCommands
from cim_domain.commands.repository import LoadedAggregate, Repository
from cim_domain.errors import CimError, RequestError
from cim_domain.model.aggregate import AggregateModel
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.direct import get_range
from cim_domain.store.port import Position
from cim_domain.wire.codec import EVENT_ID

logger = logging.getLogger("cim_domain.commands.snapshots")

_converter = make_converter()

EventAt = Callable[[int], Awaitable[str | None]]
"""Gives the id of the event at a sequence of the log, if there is one. Raises `Unavailable`."""


class Snapshots(Protocol):
    """Where snapshots are kept, the newest of each aggregate."""

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


def event_at(link: Link, stream: str, timeout: float = 2.0) -> EventAt:
    """For the log that a stream is; asks whichever replica, within `timeout` seconds."""

    async def ask(sequence: int) -> str | None:
        found = await get_range(link.requests, stream, start=sequence, limit=1, timeout=timeout)
        return found[0].headers.get(EVENT_ID) if found and found[0].sequence == sequence else None

    return ask


class SnapshottingRepository:
    """Begins with the newest snapshot, and makes a new one every so many events.

    Snapshots are written in the background; `settle` waits for those under way. With `event_at`,
    one is believed only where the log has its last event in its place: a log that was made anew, or
    brought back from a copy and then went on in another way, has another one there.
    """

    def __init__(
        self,
        inner: Repository,
        snapshots: Snapshots,
        every: int = 100,
        event_at: EventAt | None = None,
    ) -> None:
        if every < 1:
            raise ValueError("snapshots are made every so many events, 1 or more")
        self._inner = inner
        self._snapshots = snapshots
        self._every = every
        self._event_at = event_at
        self._fingerprints: dict[str, str] = {}
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

    async def load_whole(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """See `Repository.load_whole`."""
        return await self._inner.load_whole(model, aggregate_id)

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """See `Repository.store`."""
        name = (model.name, aggregate_id)
        due = known.position.version - known.snapshot >= self._every
        # One that was replayed knows every command in full, which is soon cut.
        if due and name not in self._writing and not known.commands.everything:
            known.snapshot = known.position.version
            if data := write_snapshot(model, self._fingerprint(model), known):
                task = asyncio.create_task(self._write(model.name, aggregate_id, data))
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
            known = read_snapshot(model, self._fingerprint(model), data) if data else None
            if known is None or self._event_at is None:
                return known
            found = await self._event_at(known.position.sequence)
        except CimError as error:
            logger.warning("no snapshots can be read: %s", error)
            return None
        if found != _last_event(known):
            logger.warning("the snapshot of %s %s is of another log", model.name, aggregate_id)
            return None
        return known

    async def _write(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        try:
            await self._snapshots.put(aggregate, aggregate_id, data)
        except CimError as error:
            logger.warning("no snapshot of %s %s: %s", aggregate, aggregate_id, error)

    def _fingerprint(self, model: AggregateModel) -> str:
        if model.name not in self._fingerprints:
            self._fingerprints[model.name] = fingerprint(model)
        return self._fingerprints[model.name]


def write_snapshot(model: AggregateModel, mark: str, known: LoadedAggregate) -> bytes | None:
    """A snapshot as JSON; `mark` is the fingerprint of the aggregate's class.

    None for a state that JSON does not give back as it was; a warning says so.
    """
    try:
        data = orjson.dumps(
            {
                "fingerprint": mark,
                "version": known.position.version,
                "sequence": known.position.sequence,
                "state": _converter.unstructure(known.state),
                "commands": [
                    (command_id, done.version, done.sequence, done.event_types)
                    for command_id, done in known.commands.in_full()
                ],
                "older": base64.b64encode(known.commands.marks()).decode(),
            }
        )
        exact = _converter.structure(orjson.loads(data)["state"], model.cls) == known.state
    except Exception as error:  # noqa: BLE001 - whatever a state holds, its commands go on
        logger.warning("no snapshot of a %s can be made: %s", model.name, type(error).__name__)
        return None
    if not exact:
        logger.warning("no snapshot of a %s can be made: JSON changes its state", model.name)
        return None
    return data


def read_snapshot(model: AggregateModel, mark: str, data: bytes) -> LoadedAggregate | None:
    """The aggregate in a snapshot; None for one that does not fit, whatever the reason."""
    try:
        content = orjson.loads(data)
        if content["fingerprint"] != mark:
            return None
        done = [
            (command_id, ProcessedCommand(version, sequence, tuple(types)))
            for command_id, version, sequence, types in content["commands"]
        ]
        position = Position(content["version"], content["sequence"])
        known = LoadedAggregate(
            _converter.structure(content["state"], model.cls),
            position,
            ProcessedCommands.restored(done, base64.b64decode(content["older"], validate=True)),
            snapshot=position.version,
        )
        _, last = done[-1]
        if not last.event_types or Position(last.version, last.sequence) != position:
            raise ValueError("the last command does not lead to the state")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - of whatever is wrong with it, it is of no use
        logger.warning("a snapshot of a %s cannot be read: %s", model.name, type(error).__name__)
        return None
    return known


def _last_event(known: LoadedAggregate) -> str:
    """The id of the event that `known` ends with."""
    *_, (command_id, done) = known.commands.in_full()
    return done.events(command_id)[-1].id

"""Snapshots: long histories need not be replayed from their beginning.

A snapshot is an aid, never the truth. One that does not fit the code of today is ignored, and all
of them can be removed at any time.
"""

import asyncio
import base64
import hashlib
import logging
import sys
from types import CodeType
from typing import Any, Protocol, get_args, get_type_hints

import attrs
import orjson
from cattrs.preconf.orjson import make_converter

from cim_domain.aggregate import AggregateModel
from cim_domain.errors import CimError, RequestError
from cim_domain.history import Known, Repository
from cim_domain.nats.buckets import Bucket
from cim_domain.remembering import Done, Remembered
from cim_domain.store.port import Position

logger = logging.getLogger("cim_domain.snapshots")

_converter = make_converter()


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


class SnapshottingRepository:
    """Begins with the newest snapshot, and makes a new one every so many events.

    Snapshots are written in the background; `settle` waits for those under way.
    """

    def __init__(self, inner: Repository, snapshots: Snapshots, every: int = 100) -> None:
        if every < 1:
            raise ValueError("snapshots are made every so many events, 1 or more")
        self._inner = inner
        self._snapshots = snapshots
        self._every = every
        self._fingerprints: dict[str, str] = {}
        self._writing: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def recall(self, model: AggregateModel, aggregate_id: str) -> Known:
        """See `Repository.recall`."""
        known = await self._from_snapshot(model, aggregate_id)
        if known is None:
            return await self._inner.recall(model, aggregate_id)
        try:
            return await self._inner.renew(model, aggregate_id, known)
        except RequestError as error:
            if error.http < 500 or error.code == "unavailable":
                raise
            # Perhaps of another log, or made by a mistake since mended: the whole history decides.
            logger.warning("the snapshot of %s %s misleads: %s", model.name, aggregate_id, error)
            return await self._inner.recall(model, aggregate_id)

    async def renew(self, model: AggregateModel, aggregate_id: str, known: Known) -> Known:
        """See `Repository.renew`."""
        return await self._inner.renew(model, aggregate_id, known)

    async def replay(self, model: AggregateModel, aggregate_id: str) -> Known:
        """See `Repository.replay`."""
        return await self._inner.replay(model, aggregate_id)

    def keep(self, model: AggregateModel, aggregate_id: str, known: Known) -> None:
        """See `Repository.keep`."""
        name = (model.name, aggregate_id)
        if known.position.version - known.snapshot >= self._every and name not in self._writing:
            known.snapshot = known.position.version
            data = write_snapshot(self._fingerprint(model), known)
            task = asyncio.create_task(self._write(model.name, aggregate_id, data))
            self._writing[name] = task
            task.add_done_callback(lambda _: self._writing.pop(name, None))
        self._inner.keep(model, aggregate_id, known)

    async def settle(self) -> None:
        """Wait until the snapshots that are being written are written."""
        while self._writing:
            await asyncio.wait(self._writing.values())

    async def _from_snapshot(self, model: AggregateModel, aggregate_id: str) -> Known | None:
        try:
            data = await self._snapshots.get(model.name, aggregate_id)
        except CimError as error:
            logger.warning("no snapshots can be read: %s", error)
            return None
        if data is None:
            return None
        return read_snapshot(model, self._fingerprint(model), data)

    async def _write(self, aggregate: str, aggregate_id: str, data: bytes) -> None:
        try:
            await self._snapshots.put(aggregate, aggregate_id, data)
        except CimError as error:
            logger.warning("no snapshot of %s %s: %s", aggregate, aggregate_id, error)

    def _fingerprint(self, model: AggregateModel) -> str:
        if model.name not in self._fingerprints:
            self._fingerprints[model.name] = fingerprint(model)
        return self._fingerprints[model.name]


def write_snapshot(mark: str, known: Known) -> bytes:
    """A snapshot as JSON; `mark` is the fingerprint of the aggregate's class."""
    return orjson.dumps(
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


def read_snapshot(model: AggregateModel, mark: str, data: bytes) -> Known | None:
    """The aggregate in a snapshot; None for one that does not fit, whatever the reason."""
    try:
        content = orjson.loads(data)
        if content["fingerprint"] != mark:
            return None
        position = Position(content["version"], content["sequence"])
        done = [
            (command_id, Done(version, sequence, tuple(types)))
            for command_id, version, sequence, types in content["commands"]
        ]
        return Known(
            _converter.structure(content["state"], model.cls),
            position,
            Remembered.restored(done, base64.b64decode(content["older"])),
            snapshot=position.version,
        )
    except Exception as error:  # noqa: BLE001 - of whatever is wrong with it, it is of no use
        logger.warning("a snapshot of a %s cannot be read: %s", model.name, type(error).__name__)
        return None


def fingerprint(model: AggregateModel) -> str:
    """What a state depends on: its class's fields, theirs in turn, and how it evolves."""
    parts: list[Any] = [sys.version_info[:2]]
    _describe(model.cls, parts, set())
    for event, handler in sorted(model.events.items(), key=lambda item: item[0].message_type):
        parts.append((event.message_type, event.schema_version, _code(handler.function.__code__)))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _describe(cls: Any, parts: list[Any], seen: set[Any]) -> None:
    for argument in get_args(cls):
        _describe(argument, parts, seen)
    if cls in seen or not isinstance(cls, type) or not attrs.has(cls):
        return
    seen.add(cls)
    hints = get_type_hints(cls)
    for one in attrs.fields(cls):
        parts.append((cls.__qualname__, one.name, repr(hints.get(one.name))))
        _describe(hints.get(one.name), parts, seen)


def _code(code: CodeType) -> tuple[Any, ...]:
    return (code.co_code, tuple(map(_constant, code.co_consts)), code.co_names)


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    # The order of a set differs from one process to the next.
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)

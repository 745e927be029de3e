"""Dying at a named point: ports around the real ones that kill their own process at a call.

``append.after:7`` means: right after the seventh append has been stored, before anybody knows.
"""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, frozen
from nats.aio.msg import Msg

from cim_domain.model.projection import ProjectionModel
from cim_domain.model.records import EventRecord
from cim_domain.model.view import Views
from cim_domain.nats.connection.link import Link
from cim_domain.observability.observer import NoObserver
from cim_domain.store.decorator import EventsAround
from cim_domain.store.jetstream.publications import BATCH_COMMIT
from cim_domain.store.port import START, Commit, Position
from cim_domain.views.port import Change, Checkpoint, RowKey, V, ViewDatabase, ViewStore
from cim_domain.wire.outcome import Outcome

POINTS = (
    "append.before",
    "append.after",
    "batch.middle",
    "load.after",
    "reply.before",
    "views.commit.before",
    "views.commit.after",
    "views.open.after",
)
"""Where a service can be made to die."""


@define
class Fuse:
    """Kills this process at the n-th time that it comes to a point; never where none is named."""

    point: str = ""
    left: int = 0

    @classmethod
    def parse(cls, text: str) -> "Fuse":
        """From ``append.after:7``; empty for none."""
        point, _, times = text.partition(":")
        if point and point not in POINTS:
            raise ValueError(f"there is no point {point!r}; there are {', '.join(POINTS)}")
        return cls(point, int(times or 0))

    def at(self, point: str) -> None:
        """Here is a point."""
        if point != self.point:
            return
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


@frozen(eq=False)
class FusedEvents(EventsAround):
    """Dies before or after it stores something, or once it has read."""

    fuse: Fuse

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        self.fuse.at("append.before")
        positions = await self.inner.append(commits)
        self.fuse.at("append.after")
        return positions

    async def load(
        self, aggregate: str, aggregate_id: str, after: Position = START
    ) -> tuple[EventRecord, ...]:
        records = await self.inner.load(aggregate, aggregate_id, after)
        self.fuse.at("load.after")
        return records


class FusedLink(Link):
    """The link that the store uses; dies when all of a batch is sent but its last message."""

    def __init__(self, inner: Link, fuse: Fuse) -> None:
        self.inner = inner
        self.client = inner.client
        self.requests: Any = _FusedRequests(inner, fuse)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def connected(self) -> bool:
        return self.inner.connected

    def listen(self, listener: Any) -> Callable[[], None]:
        return self.inner.listen(listener)


@frozen(eq=False)
class _FusedRequests:
    link: Link
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link.requests, name)

    async def many(self, *args: Any, **more: Any) -> list[Msg]:
        if self.fuse.point == "batch.middle" and _ends_batch(more.get("block")):
            # Out with the others first: the server is to know them.
            await self.link.client.flush()
            self.fuse.at("batch.middle")
        return await self.link.requests.many(*args, **more)


def _ends_batch(block: bytes | None) -> bool:
    return block is not None and f"\r\n{BATCH_COMMIT}:".encode() in block


@frozen(eq=False)
class FusedViews:
    """A `ViewDatabase` around another one."""

    inner: ViewDatabase
    fuse: Fuse

    async def open(self, model: ProjectionModel) -> ViewStore:
        store = await self.inner.open(model)
        self.fuse.at("views.open.after")
        return _FusedStore(store, self.fuse)

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        return await self.inner.stand_in(model)

    async def abandon(self, views: ViewStore) -> None:
        assert isinstance(views, _FusedStore)
        await self.inner.abandon(views.inner)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        return _FusedStore(await self.inner.rebuild(model), self.fuse)

    async def switch(self, rebuilt: ViewStore) -> bool:
        assert isinstance(rebuilt, _FusedStore)
        return await self.inner.switch(rebuilt.inner)

    async def close(self) -> None:
        await self.inner.close()


@frozen(eq=False)
class _FusedStore:
    inner: ViewStore
    fuse: Fuse

    @property
    def model(self) -> ProjectionModel:
        return self.inner.model

    @property
    def generation(self) -> int:
        return self.inner.generation

    @property
    def live(self) -> bool:
        return self.inner.live

    @property
    def complete(self) -> bool:
        return self.inner.complete

    async def checkpoint(self) -> Checkpoint:
        return await self.inner.checkpoint()

    async def load(self, view: type[V], rows: Iterable[RowKey]) -> dict[RowKey, V]:
        return await self.inner.load(view, rows)

    async def commit(
        self, changes: Sequence[Change], *, expected: int, checkpoint: Checkpoint
    ) -> None:
        self.fuse.at("views.commit.before")
        await self.inner.commit(changes, expected=expected, checkpoint=checkpoint)
        self.fuse.at("views.commit.after")

    async def skip(self, event: Checkpoint, *, expected: int) -> None:
        await self.inner.skip(event, expected=expected)

    async def has_skipped(self, sequence: int) -> bool:
        return await self.inner.has_skipped(sequence)

    def reader(self, organization_id: str | None) -> Views:
        return self.inner.reader(organization_id)


@frozen(eq=False)
class FusedReplies(NoObserver):
    """Dies when a command is carried out and its reply is not sent yet."""

    fuse: Fuse

    def command(self, message_type: str, outcome: Outcome, seconds: float) -> None:
        if outcome.status == "accepted":
            self.fuse.at("reply.before")

"""Stores and view databases that do what real ones do, until they are told to fail."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from cim_domain.errors import Unavailable
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import Views
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import (
    Commit,
    EventStore,
    Position,
    StoreConflict,
)
from cim_domain.views.port import Change, Checkpoint, RowKey, V, ViewDatabase, ViewStore


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks go on until something holds that nobody announces."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)


class FaultyEvents(EventsAround):
    """A store on another one. `before` and `after` an append say which error it ends with.

    What fails afterwards was stored: its acknowledgement is lost.
    """

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.before: list[BaseException | None] = []
        self.after: list[BaseException | None] = []
        self.always: Exception | None = None
        self.appended: list[Commit] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.arrived: asyncio.Queue[str] = asyncio.Queue()

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        (commit,) = commits
        self.appended.append(commit)
        self.arrived.put_nowait(commit.aggregate_id)
        if gate := self.gates.get(commit.aggregate_id):
            await gate.wait()
        if error := self.always or (self.before.pop(0) if self.before else None):
            raise error
        positions = await self.inner.append(commits)
        if error := self.after.pop(0) if self.after else None:
            raise error
        return positions


def conflict() -> StoreConflict:
    return StoreConflict("another was quicker", ["somebody"])


def away() -> Unavailable:
    return Unavailable("the server is away")


class Calls:
    """Counts calls; the `fail_at`-th, counted from 1, fails before or after it has had effect."""

    def __init__(self, fail_at: int, error: BaseException, *, afterwards: bool) -> None:
        self.made = 0
        self._fail_at = fail_at
        self._error = error
        self._afterwards = afterwards

    def before(self) -> None:
        self.made += 1
        if self.made == self._fail_at and not self._afterwards:
            raise self._error

    def after(self) -> None:
        if self.made == self._fail_at and self._afterwards:
            raise self._error

    @property
    def failed(self) -> bool:
        return self.made >= self._fail_at


class FaultyViews:
    """A view database on another one, that fails as its `calls` say."""

    def __init__(self, inner: ViewDatabase, calls: Calls) -> None:
        self.inner = inner
        self.calls = calls

    async def open(self, model: ProjectionModel) -> ViewStore:
        self.calls.before()
        store = FaultyViewStore(await self.inner.open(model), self.calls)
        self.calls.after()
        return store

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        return await self.inner.stand_in(model)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        return FaultyViewStore(await self.inner.rebuild(model), self.calls)

    async def switch(self, rebuilt: ViewStore) -> bool:
        self.calls.before()
        done = await self.inner.switch(rebuilt)
        self.calls.after()
        return done

    async def close(self) -> None:
        await self.inner.close()


class FaultyViewStore:
    """One generation of `FaultyViews`."""

    def __init__(self, inner: ViewStore, calls: Calls) -> None:
        self.inner = inner
        self.calls = calls

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
        self.calls.before()
        checkpoint = await self.inner.checkpoint()
        self.calls.after()
        return checkpoint

    async def load(self, view: type[V], rows: Iterable[RowKey]) -> dict[RowKey, V]:
        self.calls.before()
        found = await self.inner.load(view, rows)
        self.calls.after()
        return found

    async def commit(
        self, changes: Sequence[Change], *, expected: int, checkpoint: Checkpoint
    ) -> None:
        self.calls.before()
        await self.inner.commit(changes, expected=expected, checkpoint=checkpoint)
        self.calls.after()

    async def skip(self, event: Checkpoint, *, expected: int) -> None:
        self.calls.before()
        await self.inner.skip(event, expected=expected)
        self.calls.after()

    async def has_skipped(self, sequence: int) -> bool:
        return await self.inner.has_skipped(sequence)

    def reader(self, organization_id: str | None) -> Views:
        return self.inner.reader(organization_id)

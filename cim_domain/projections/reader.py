"""Which views the queries of a projection read: its own, or a stand-in while those are built."""

import asyncio
from contextlib import suppress

from attrs import frozen

from cim_domain.errors import RequestError, Unavailable
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import Views
from cim_domain.projections.progress import Progress, still_behind
from cim_domain.views.port import Superseded, ViewDatabase, ViewStore

STAND_IN_CHECK = 0.05
"""Seconds between looks how far the views of another version are, while a query waits for them."""


@frozen
class Reading:
    """What a query reads, and the sequence of the last event that is in there."""

    views: Views
    sequence: int


class ReadableViews:
    """The open views of a projection: those that are written, and those that queries read.

    They are the same ones once those written have been read up to the end of the log. Queries read
    them until others are open, also where another process has replaced them meanwhile.
    """

    def __init__(self, model: ProjectionModel, database: ViewDatabase, progress: Progress) -> None:
        self._model = model
        self._database = database
        self._progress = progress
        self.writes: ViewStore | None = None
        """Those of this version, once they are open."""
        self.reads: ViewStore | None = None
        """Those, or another version's that look the same; None: nothing can be read."""
        self._ready = asyncio.Event()
        self.refusal: RequestError | None = None
        """Why nothing is read from them now: another log has come into the place of theirs."""

    @property
    def own(self) -> bool:
        """Whether queries read what is written."""
        return self.reads is not None and self.reads is self.writes

    def open(self, views: ViewStore, reads: ViewStore | None) -> None:
        """Have these views written, and those read, from now on."""
        self.writes, self.reads = views, reads
        if self.own:
            self._ready.set()
        else:
            self._ready.clear()

    def complete(self) -> None:
        """Have queries read what is written from now on."""
        self.reads = self.writes
        self._ready.set()

    def reader(self, organization_id: str | None) -> Views:
        """The views of this version.

        Raises `Unavailable` (``rebuilding``) while they are being built.
        """
        if self.refusal is not None:
            raise self.refusal
        if self.reads is None or not self.own:
            raise self._rebuilding()
        return self.reads.reader(organization_id)

    async def reading(
        self, organization_id: str | None, min_sequence: int, seconds: float
    ) -> Reading:
        """See `ProjectionRunner.reading`."""
        end = _now() + seconds
        if self.refusal is not None:
            raise self.refusal
        if self.reads is not None and not self.own:
            return await self._reading_stand_in(organization_id, min_sequence, seconds)
        if self._progress.position < min_sequence:
            await self._progress.reached(min_sequence, seconds)
        if min_sequence and self.reads is None:
            # Who waits for an event may as well wait for the few behind it.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._ready.wait()
        # Read before the views are: what is answered is never older than what is said.
        sequence = self._progress.position
        return Reading(self.reader(organization_id), sequence)

    async def _reading_stand_in(
        self, organization_id: str | None, min_sequence: int, seconds: float
    ) -> Reading:
        """A reading of the version before; of this one, if it is complete meanwhile."""
        end = _now() + seconds
        while self.reads is not None and not self.own:
            stand_in = self.reads
            try:
                sequence = (await stand_in.checkpoint()).sequence
            except Superseded:
                found = await self._database.stand_in(self._model)
                if self.reads is stand_in:
                    self.reads = found
                continue
            if sequence >= min_sequence:
                return Reading(stand_in.reader(organization_id), sequence)
            if _now() >= end:
                raise still_behind(self._model.name, sequence, min_sequence, seconds)
            # Others write these views, if anybody does, and they tell nobody.
            await asyncio.sleep(STAND_IN_CHECK)
        return await self.reading(organization_id, min_sequence, max(0, end - _now()))

    def _rebuilding(self) -> Unavailable:
        position, head = self._progress.position, self._progress.head
        return Unavailable(
            f"the views of {self._model.name} are being built:"
            f" {position} of {head} events are read",
            code="rebuilding",
            details={"position": position, "head": head},
        )


def _now() -> float:
    return asyncio.get_running_loop().time()

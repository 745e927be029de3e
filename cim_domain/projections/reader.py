"""Which views the queries of a projection read: its own, or a stand-in while those are built."""

import asyncio
from contextlib import suppress

from attrs import frozen

from cim_domain.errors import Unavailable
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
    """The open views of a projection, as queries may read them."""

    def __init__(self, model: ProjectionModel, database: ViewDatabase, progress: Progress) -> None:
        self._model = model
        self._database = database
        self._progress = progress
        self.views: ViewStore | None = None
        """Those of this version, once they are open; live or being built."""
        self._readable = False
        """Whether the views were live when they were opened, or since: so long as no others are
        open, queries read them even where another process has replaced them."""
        self._stand_in: ViewStore | None = None
        """What queries read before: another version's live views, which look the same."""

    @property
    def stood_in_for(self) -> bool:
        """Whether queries read the views of another version."""
        return self._stand_in is not None

    @property
    def generation(self) -> int | None:
        """The generation that queries read; None: they are answered ``rebuilding``."""
        views = self._own_live() or self._stand_in
        return None if views is None else views.generation

    def open(self, views: ViewStore, stand_in: ViewStore | None) -> None:
        """Have queries read these views, or those that stand in for them, from now on."""
        self.views, self._stand_in, self._readable = views, stand_in, views.live

    def switch(self, views: ViewStore, *, switched: bool) -> None:
        """Take note of an attempt to make these views the live ones."""
        if switched:
            self._stand_in = None
        self._readable = views.live

    def reader(self, organization_id: str | None) -> Views:
        """The views of this version.

        Raises `Unavailable` (``rebuilding``) while they are being built.
        """
        views = self._own_live()
        if views is None:
            raise self._rebuilding()
        return views.reader(organization_id)

    async def reading(
        self, organization_id: str | None, min_sequence: int, seconds: float
    ) -> Reading:
        """See `ProjectionRunner.reading`."""
        if self._stand_in is None:
            if self._progress.position < min_sequence:
                await self._progress.reached(min_sequence, seconds)
            # Read before the views are: what is answered is never older than what is said.
            sequence = self._progress.position
            return Reading(self.reader(organization_id), sequence)
        reading = await self._reading_stand_in(organization_id)
        if reading.sequence >= min_sequence:
            return reading
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while reading.sequence < min_sequence:
                    # Others write these views, if anybody does, and they tell nobody.
                    await asyncio.sleep(STAND_IN_CHECK)
                    reading = await self._reading_stand_in(organization_id)
        if reading.sequence < min_sequence:
            raise still_behind(self._model.name, reading.sequence, min_sequence, seconds)
        return reading

    def _own_live(self) -> ViewStore | None:
        """The views of this version that queries may read."""
        views = self.views
        return views if views is not None and (self._readable or views.live) else None

    async def _reading_stand_in(self, organization_id: str | None) -> Reading:
        """A reading of the version before; of this one, if it has become live meanwhile."""
        while self._stand_in is not None and self._own_live() is None:
            stand_in = self._stand_in
            try:
                return Reading(stand_in.reader(organization_id), await stand_in.checkpoint())
            except Superseded:
                found = await self._database.stand_in(self._model)
                if self._stand_in is stand_in:
                    self._stand_in = found
        sequence = self._progress.position
        return Reading(self.reader(organization_id), sequence)

    def _rebuilding(self) -> Unavailable:
        position, head = self._progress.position, self._progress.head
        return Unavailable(
            f"the views of {self._model.name} are being built:"
            f" {position} of {head} events are read",
            code="rebuilding",
            details={"position": position, "head": head},
        )

"""The port behind which views are kept. Every adapter passes `cim_domain.testing.views`.

A projection's views exist in *generations*. A version of the code (of its projection, and of its
views' layout) has one that is live: queries to it are answered from there. Another may be built
beside it, from the start of the log, and becomes the live one when it has caught up.

Two versions may run side by side, each on its own live generation, while one takes the place of
the other. Those of earlier versions are dropped when a new version becomes live.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from cim_domain.errors import CimError
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import View, Views

V = TypeVar("V", bound=View)

RowKey = tuple[str, str]
"""Whose view it is, and which: organization ("" for none) and key."""


class CheckpointMoved(CimError):
    """Another runner has moved these views on; nothing was changed."""


class Superseded(CimError):
    """These views are not their version's live ones, nor being built; open them anew."""


class Checkpoint(NamedTuple):
    """How far views have read the log: the last event that they have taken in."""

    sequence: int
    """Its place in the log; 0 before the first."""
    event_id: str = ""
    """By which it is known whether the log at hand is the one that was read."""


START = Checkpoint(0)
"""Where nothing has been read."""


class Change(NamedTuple):
    """A view as it is from now on; None where it is gone."""

    view: type[View]
    row: RowKey
    value: View | None


class ViewStore(Protocol):
    """One generation of one projection's views."""

    @property
    def model(self) -> ProjectionModel:
        """The projection."""

    @property
    def generation(self) -> int:
        """Counted from 1."""

    @property
    def live(self) -> bool:
        """Whether it is its version's live one, as far as this process knows."""

    @property
    def complete(self) -> bool:
        """Whether it is, and has been switched to: the first one is live before that."""

    async def checkpoint(self) -> Checkpoint:
        """The last event that these views have taken in. Raises `Superseded`."""

    async def load(self, view: type[V], rows: Iterable[RowKey]) -> dict[RowKey, V]:
        """Those of the views that exist."""

    async def commit(
        self, changes: Sequence[Change], *, expected: int, checkpoint: Checkpoint
    ) -> None:
        """Make the changes and move the checkpoint, as one transaction.

        `changes` names each row once. Raises `CheckpointMoved` where the checkpoint is not at the
        sequence `expected`, `Superseded`, and `Unavailable` where the database cannot take it now;
        in each case nothing was changed.
        """

    async def skip(self, event: Checkpoint, *, expected: int) -> None:
        """Move the checkpoint over an event that is not taken in, and remember that; in one.

        Raises as `commit` does.
        """

    async def has_skipped(self, sequence: int) -> bool:
        """Whether these views were moved over an event without it. Raises `Superseded`."""

    def reader(self, organization_id: str | None) -> Views:
        """The views of one organization (None: those of no organization), for queries."""


class ViewDatabase(Protocol):
    """The views of all projections of a domain, of one log.

    Where those of several logs are kept in one place, they have nothing to do with one another.
    """

    async def open(self, model: ProjectionModel) -> ViewStore:
        """The live generation of this version of the projection.

        Otherwise one that is being built for this version: an unfinished one, or a new empty one.
        The first generation of a projection is live from the beginning, and complete once it is
        switched to like the others. A version counts as used from its opening on.
        """

    async def handled(self, model: ProjectionModel) -> frozenset[str]:
        """The types of events that views of this projection were made of, by any code so far."""

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        """The live generation of another version with the same layout, to be read, not written.

        Queries are answered from there while this version has no live one. Of several, the one
        used last; None: there is none.
        """

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """A new, empty generation beside the live one; this version's unfinished are dropped."""

    async def abandon(self, views: ViewStore) -> None:
        """Drop a generation that has read events which are not in the log."""

    async def switch(self, rebuilt: ViewStore) -> bool:
        """Make a generation its version's live one, unless a live one has read further.

        Says whether it is live now. The one before of the same version stays readable for those
        who still hold it, until the next switch. Where the version had none, the generations of
        other versions are dropped, save the live one that was used last: its instances go on, and
        whoever goes back to it finds its views.
        """

    async def close(self) -> None:
        """Let go of files and connections."""

"""Knowing that the log was full when something was appended last."""

from collections.abc import Sequence

from cim_domain.errors import Unavailable
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import Commit, EventStore, Position

FULL = "log_full"


class FullnessNoted(EventsAround):
    """An `EventStore` that remembers whether `inner` had no room."""

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.full: Unavailable | None = None
        """Why nothing could be appended the last time; None: it could, or that was long ago."""

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        try:
            positions = await self.inner.append(commits)
        except Unavailable as error:
            if error.code == FULL:
                self.full = error
            raise
        self.full = None
        return positions

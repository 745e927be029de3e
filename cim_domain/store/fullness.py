"""Knowing that the log was full when something was appended last."""

from collections.abc import Callable, Sequence

from cim_domain.errors import Unavailable
from cim_domain.store.decorator import EventsAround
from cim_domain.store.port import Commit, EventStore, Position

FULL = "log_full"


def _room() -> str | None:
    """As much as `inner` has."""
    return None


class FullnessNoted(EventsAround):
    """An `EventStore` that remembers whether `inner` had no room.

    `no_room` says why `inner` is not even to be asked: it might not answer. None: there is room.
    """

    def __init__(self, inner: EventStore, no_room: Callable[[], str | None] = _room) -> None:
        super().__init__(inner)
        self.no_room = no_room
        self.full: Unavailable | None = None
        """Why nothing could be appended the last time, for want of room or of an answer; None: it
        could, or that was long ago."""

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`."""
        if why := self.no_room():
            raise Unavailable(
                f"there is no room for events ({why}): nothing was stored; send it again when"
                " there is",
                code=FULL,
            )
        try:
            positions = await self.inner.append(commits)
        except Unavailable as error:
            # A server whose disk is full does not say so: it does not answer at all.
            if error.code == FULL or error.details.get("reason") == "timeout":
                self.full = error
            raise
        self.full = None
        return positions

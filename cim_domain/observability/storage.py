"""Whether there is room for what comes: told before there is none, and as long as there is none."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field

from cim_domain.errors import Unavailable
from cim_domain.nats.jetstream.storage import Room
from cim_domain.observability.health import Check, HealthStatus
from cim_domain.store.fullness import FullnessNoted

_FREED = 16 * 1024
"""Bytes that were removed since an append was refused, with which the next one may find room."""

_Seen = tuple[int, dict[tuple[str, str], Room]]
"""The number of the connection, and every limit by whose it is and its unit."""


@define(eq=False)
class StorageLook:
    """A `HealthCheck`. Degraded where little is left, or where the last append found no room.

    The latter holds until an append succeeds, or something has changed: a limit, the server, or
    that less is stored than when it was refused.
    """

    _log: FullnessNoted
    _rooms: Callable[[], Awaitable[Sequence[Room]]]
    _connections: Callable[[], int]
    """How many connections there have been: each may lead to a server with more room."""
    _refused: Unavailable | None = field(default=None, init=False)
    _then: _Seen = field(factory=lambda: (0, {}), init=False)

    async def __call__(self) -> Check:
        """Look now."""
        found = await self._rooms()
        self._forget_if_changed(found)
        tight = [room for room in found if room.nearly_full]
        said = [self._log.full.message] if self._log.full else []
        said += [why] if (why := self._log.no_room()) else []
        said += [f"{room}: little or nothing is left" for room in tight]
        facts: dict[str, Any] = {
            f"{room.of}_{room.unit}".replace(" ", "_").lower(): room.used for room in found
        }
        if not said:
            return Check(HealthStatus.HEALTHY, facts)
        return Check(HealthStatus.DEGRADED, {**facts, "error": "; ".join(said)})

    def _forget_if_changed(self, found: Sequence[Room]) -> None:
        full = self._log.full
        now: _Seen = (self._connections(), {(room.of, room.unit): room for room in found})
        if full is not None and full is self._refused and _may_have_room(self._then, now):
            self._log.full = full = None
        if full is not self._refused:
            self._refused, self._then = full, now


def _may_have_room(then: _Seen, now: _Seen) -> bool:
    if then[0] != now[0] or then[1].keys() != now[1].keys():
        return True
    return any(
        now[1][name].limit != room.limit
        or (room.unit == "bytes" and now[1][name].used <= room.used - _FREED)
        for name, room in then[1].items()
    )

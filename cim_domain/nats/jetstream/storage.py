"""How much room there is: what an account and a stream may hold, and what they hold now."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

from cim_domain.nats.connection.requests import Requests
from cim_domain.nats.jetstream.api import call

_NEARLY = 0.9


@frozen
class Room:
    """One limit, and how much of it is used."""

    of: str
    """Whose: ``account``, ``account R3`` where each number of replicas has its own, ``stream``."""
    unit: Literal["bytes", "messages"]
    used: int
    limit: int | None
    """None: as much as the server has."""

    @property
    def nearly_full(self) -> bool:
        """Whether less than a tenth is left."""
        return self.limit is not None and self.used >= _NEARLY * self.limit

    def __str__(self) -> str:
        return f"{self.of}: {self.used} of {self.limit} {self.unit} are used"


async def rooms(requests: Requests, stream: str) -> tuple[Room, ...]:
    """What bounds a stream on files, as its server says. Raises `ApiError` and `NoAnswer`.

    What bounds the server itself, its disk above all, it does not say.
    """
    account = await call(requests, "INFO")
    tiers: Mapping[str, Any] = account.get("tiers") or {}
    found = [_room("account", account)] if not tiers else []
    found += [_room(f"account {name}", tier) for name, tier in sorted(tiers.items())]
    info = await call(requests, f"STREAM.INFO.{stream}")
    config, state = info["config"], info["state"]
    found.append(Room("stream", "bytes", state["bytes"], _limit(config.get("max_bytes"))))
    found.append(Room("stream", "messages", state["messages"], _limit(config.get("max_msgs"))))
    return tuple(found)


def _room(of: str, usage: Mapping[str, Any]) -> Room:
    limit = (usage.get("limits") or {}).get("max_storage")
    return Room(of, "bytes", usage.get("storage", 0), _limit(limit))


def _limit(said: int | None) -> int | None:
    """An account with 0 may store nothing there; a stream, as with -1, as much as there is."""
    return None if said is None or said < 0 else said

"""The same domain with the library `eventsourcing` on SQLite, as its documentation shows it.

Import this only where the library is installed.
"""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event


class PeerFlake(Aggregate):
    """A flake and its inputs."""

    @event("Created")
    def __init__(self, path: str, description: str = "") -> None:
        self.path = path
        self.description = description
        self.inputs: dict[str, str] = {}
        self.updates = 0

    @staticmethod
    def create_id(path: str) -> UUID:
        """The id that belongs to a path."""
        return uuid5(NAMESPACE_URL, path)

    @event("Updated")
    def update(self) -> None:
        """Count it."""
        self.updates += 1

    @event("InputAdded")
    def add_input(self, name: str, url: str) -> None:
        """One more input."""
        self.inputs[name] = url

    @event("InputRemoved")
    def remove_input(self, name: str) -> None:
        """One less."""
        del self.inputs[name]


class PeerFlakes(Application[UUID]):
    """Its application without snapshots."""

    def create(self, path: str) -> int:
        """Get or create, save; the notification id of the event."""
        try:
            flake: PeerFlake = self.repository.get(PeerFlake.create_id(path))
        except AggregateNotFoundError:
            flake = PeerFlake(path=path, description="a flake of the benchmarks")
        recordings = self.save(flake)
        return int(recordings[-1].notification.id)


class PeerFlakesWithSnapshots(PeerFlakes):
    """The same with a snapshot every so many events."""

    name = "PeerFlakes"
    snapshotting_intervals = {PeerFlake: 100}  # noqa: RUF012 - as the library declares it


def sqlite(directory: Path, name: str = "events") -> Mapping[str, str]:
    """The library's settings for a database file, all others being its defaults."""
    directory.mkdir(parents=True, exist_ok=True)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(directory / f"{name}.sqlite3"),
    }


def history(path: str, length: int) -> PeerFlake:
    """A flake with the events that `benchmarks.histories` gives one, not saved."""
    flake = PeerFlake(path=path, description="a flake of the benchmarks")
    for place in range(1, length):
        name = f"input-{(place + 2) // 3}"
        match place % 3:
            case 1:
                flake.add_input(name, "github:NixOS/nixpkgs/nixos-unstable")
            case 2:
                flake.update()
            case _:
                flake.remove_input(name)
    return flake


class Commands:
    """Commands one after another, in the calling thread."""

    def __init__(self, directory: Path) -> None:
        self._application = PeerFlakes(env=dict(sqlite(directory)))
        self._created = 0

    def rate(self, commands: int) -> float:
        """So many commands on new aggregates: commands a second."""
        began = perf_counter()
        for _ in range(commands):
            self._created += 1
            self._application.create(f"/srv/peer-{self._created}")
        return commands / (perf_counter() - began)

    def close(self) -> None:
        """Close the database."""
        self._application.close()


def load_seconds(application: Application[Any], aggregate_id: UUID) -> float:
    """How long it takes to load an aggregate."""
    began = perf_counter()
    application.repository.get(aggregate_id)
    return perf_counter() - began

"""Projections with the library `eventsourcing`. Import this only where the library is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatchmethod
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import ProcessingEvent
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteTrackingRecorder
from eventsourcing.system import Leader, ProcessApplication

from benchmarks.peers.eventsourcing import PeerFlake, PeerFlakes, history, sqlite

PATIENCE = 60.0


class PeerFlakesLeader(PeerFlakes, Leader[UUID]):
    """The application that is followed."""

    name = "PeerFlakes"


class PeerView(Aggregate):
    """What is known about a flake; a follower of this library keeps aggregates of its own."""

    @event("Created")
    def __init__(self, flake_id: str, path: str, description: str) -> None:
        self.flake_id = flake_id
        self.path = path
        self.description = description
        self.inputs: dict[str, str] = {}
        self.version = 1

    @staticmethod
    def create_id(flake_id: str, **_: str) -> UUID:
        """The id that belongs to a flake."""
        return uuid5(NAMESPACE_URL, f"view/{flake_id}")

    @event("Changed")
    def change(self, version: int, added: dict[str, str], removed: str) -> None:
        """Take in one event of the flake."""
        self.version = version
        self.inputs = {
            **{name: url for name, url in self.inputs.items() if name != removed},
            **added,
        }


class PeerFollower(ProcessApplication[UUID]):
    """Follows the flakes."""

    name = "PeerFollower"

    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        """Move one view on."""
        flake_id = str(domain_event.originator_id)
        if isinstance(domain_event, PeerFlake.Created):
            made: Any = domain_event
            processing_event.collect_events(
                PeerView(flake_id=flake_id, path=made.path, description=made.description)
            )
            return
        view: PeerView = self.repository.get(PeerView.create_id(flake_id))
        name = getattr(domain_event, "name", "")
        url = getattr(domain_event, "url", "")
        view.change(domain_event.originator_version, {name: url} if url else {}, name)
        processing_event.collect_events(view)


class FollowedLog:
    """A log of flakes in SQLite, and the rate at which a follower on SQLite takes it in."""

    def __init__(self, directory: Path, flakes: int, length: int) -> None:
        self._directory = directory
        self._leader = PeerFlakesLeader(env=dict(sqlite(directory)))
        self.events = flakes * length
        self._followers = 0
        self._leader.save(*(history(f"/srv/peer-{one}", length) for one in range(flakes)))

    def rate(self) -> float:
        """Events a second of a new follower."""
        self._followers += 1
        follower = PeerFollower(env=dict(sqlite(self._directory, f"follower-{self._followers}")))
        follower.follow(self._leader.name, self._leader.notification_log)
        began = perf_counter()
        follower.pull_and_process(self._leader.name)
        seconds = perf_counter() - began
        follower.close()
        return self.events / seconds

    def close(self) -> None:
        """Close the databases."""
        self._leader.close()


class PeerTable(SQLiteTrackingRecorder):
    """A table of flakes, moved on together with the position in the log."""

    def __init__(self, datastore: Any, **options: Any) -> None:
        super().__init__(datastore, **options)
        self.create_table_statements.append(
            "CREATE TABLE IF NOT EXISTS peer_flake"
            " (id TEXT PRIMARY KEY, path TEXT, description TEXT, version INTEGER)"
        )

    def put(self, flake_id: UUID, path: str, description: str, tracking: Tracking) -> None:
        """One new flake."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO peer_flake VALUES (?, ?, ?, 1)", (flake_id.hex, path, description)
            )

    def moved_on(self, flake_id: UUID, version: int, tracking: Tracking) -> None:
        """One more event of a flake."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("UPDATE peer_flake SET version=? WHERE id=?", (version, flake_id.hex))

    def path_of(self, flake_id: UUID) -> str:
        """What a query would read."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT path FROM peer_flake WHERE id=?", (flake_id.hex,))
            return str(cursor.fetchone()["path"])


class PeerProjection(Projection[PeerTable]):
    """The flakes as a table."""

    name = "PeerTable"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Move one row on."""
        if isinstance(domain_event, PeerFlake.Created):
            made: Any = domain_event
            self.view.put(made.originator_id, made.path, made.description, tracking)
        else:
            self.view.moved_on(
                domain_event.originator_id, domain_event.originator_version, tracking
            )


class Runner:
    """The library's projection runner.

    It follows the library's store in memory, for the one on SQLite takes no subscriptions; the
    table is in SQLite.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._written = 0

    def write_and_read(self) -> float:
        """Seconds for a command, waiting until the table has it, and reading it."""
        self._written += 1
        path = f"/srv/read-{self._written}"
        began = perf_counter()
        position = self._runner.app.create(path)
        self._runner.wait(position, timeout=PATIENCE)
        found = self._runner.view.path_of(PeerFlake.create_id(path))
        seconds = perf_counter() - began
        if found != path:
            raise LookupError(f"read {found} after writing {path}")
        return seconds


@contextmanager
def running(directory: Path) -> Iterator[Runner]:
    """A runner that runs."""
    settings = {
        f"{PeerProjection.name.upper()}_{name}": value
        for name, value in sqlite(directory, "table").items()
    }
    with ProjectionRunner(
        application_class=PeerFlakes,
        projection_class=PeerProjection,
        view_class=PeerTable,
        env=settings,
    ) as runner:
        yield Runner(runner)

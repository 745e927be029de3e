"""Executors with and without what can be switched off: cache, snapshots, groups, guesses."""

from attrs import frozen

from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import (
    CachingRepository,
    GuessingRepository,
    ReplayingRepository,
    Repository,
)
from cim_domain.commands.snapshots import MemorySnapshots, Snapshots, SnapshottingRepository
from cim_domain.model.domain import Domain
from cim_domain.store.commit_groups import GroupingEvents
from cim_domain.store.port import EventStore


@frozen(kw_only=True)
class Stack:
    """What an instance of a service is put together from, in the order in which it does that."""

    cache: int = 0
    snapshot_every: int = 0
    grouping: bool = False
    guessing: bool = False

    def __str__(self) -> str:
        names = ("cache", "snapshot_every", "grouping", "guessing")
        return "+".join(name for name in names if getattr(self, name)) or "plain"

    def executor(
        self, domain: Domain, store: EventStore, snapshots: Snapshots | None = None
    ) -> Executor:
        """One more instance."""
        return Executor(
            domain,
            GroupingEvents(store) if self.grouping else store,
            self.repository(domain, store, snapshots or MemorySnapshots()),
            source=f"cim-domain-{domain.name}",
        )

    def repository(self, domain: Domain, store: EventStore, snapshots: Snapshots) -> Repository:
        """Where the executor has its aggregates from."""
        repository: Repository = ReplayingRepository(domain, store)
        if self.snapshot_every:
            repository = SnapshottingRepository(repository, snapshots, self.snapshot_every)
        if self.guessing:
            repository = GuessingRepository(repository)
        if self.cache:
            repository = CachingRepository(repository, self.cache)
        return repository

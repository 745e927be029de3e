"""Which ways to an aggregate's state a service takes: replay, snapshots, guesses, a cache."""

from contextlib import AsyncExitStack

from cim_domain.domain import Domain
from cim_domain.history import (
    CachingRepository,
    GuessingRepository,
    ReplayingRepository,
    Repository,
)
from cim_domain.nats.buckets import Bucket, bucket_stream
from cim_domain.nats.link import Link
from cim_domain.nats.streams import ensure_stream
from cim_domain.settings import ServiceSettings
from cim_domain.snapshots import BucketSnapshots, SnapshottingRepository, event_at
from cim_domain.store.port import EventStore
from cim_domain.subjects import Subjects


async def open_repository(
    stack: AsyncExitStack,
    domain: Domain,
    log: EventStore,
    link: Link,
    subjects: Subjects,
    settings: ServiceSettings,
    replicas: int,
) -> Repository:
    """The repository that the settings ask for; `stack` lets it finish what it is writing.

    Raises `ConfigurationError` and `Unavailable` where snapshots have no place to be kept.
    """
    repository: Repository = ReplayingRepository(domain, log)
    if settings.snapshot_every:
        bucket = subjects.snapshot_bucket
        await ensure_stream(link.requests, bucket_stream(bucket, replicas))
        snapshots = BucketSnapshots(Bucket(link, bucket))
        snapshotting = SnapshottingRepository(
            repository,
            snapshots,
            settings.snapshot_every,
            event_at(link, subjects.event_stream),
        )
        stack.push_async_callback(snapshotting.settle)
        repository = snapshotting
    repository = GuessingRepository(repository)
    if settings.cache:
        repository = CachingRepository(repository, settings.cache)
    return repository

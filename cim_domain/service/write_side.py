"""What a service carries out commands with: log, repository, and what is kept of refusals."""

from contextlib import AsyncExitStack

from cim_domain.commands.executor import Executor
from cim_domain.commands.idempotency_bucket import open_idempotency_store
from cim_domain.commands.repository import (
    CachingRepository,
    GuessingRepository,
    ReplayingRepository,
    Repository,
)
from cim_domain.commands.snapshots import BucketSnapshots, SnapshottingRepository, event_at
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.commit_groups import GroupingEvents
from cim_domain.store.limiter import LimitedEvents
from cim_domain.store.port import EventStore


async def open_executor(
    stack: AsyncExitStack,
    domain: Domain,
    log: EventStore,
    link: Link,
    subjects: Subjects,
    settings: ServiceSettings,
    replicas: int,
    clock: Clock,
) -> Executor:
    """The executor that the settings ask for, until `stack` ends.

    Raises `ConfigurationError`, `ApiError` and `Unavailable` where a bucket cannot be had.
    """
    bounded = LimitedEvents(log, settings.store_patience)
    repository = await _open_repository(stack, domain, bounded, link, subjects, settings, replicas)
    refusals = None
    if settings.refusals_kept:
        refusals = await open_idempotency_store(
            stack,
            link,
            subjects.refusal_bucket,
            kept=settings.refusals_kept,
            patience=settings.store_patience,
            replicas=replicas,
        )
    return Executor(
        domain,
        GroupingEvents(bounded),
        repository,
        source=subjects.service,
        clock=clock,
        limit=settings.commands_in_flight,
        refusals=refusals,
    )


async def _open_repository(
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

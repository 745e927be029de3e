"""The write side of a service: what carries out commands."""

from contextlib import AsyncExitStack

from attrs import define, field

from cim_domain.commands.executor import Executor
from cim_domain.commands.idempotency_bucket import open_idempotency_store
from cim_domain.commands.interception import intercepting
from cim_domain.commands.repository import (
    CachingRepository,
    GuessingRepository,
    ReplayingRepository,
    Repository,
)
from cim_domain.commands.snapshots import BucketSnapshots, SnapshottingRepository
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.observability.observer import Execute, observed
from cim_domain.service.parts.part import Context, Part
from cim_domain.store.commit_groups import GroupingEvents
from cim_domain.store.limiter import LimitedEvents
from cim_domain.store.port import EventStore


@define(eq=False)
class WriteSide(Part):
    """The executor, with its repository and what is kept of commands that left no event."""

    _context: Context
    executor: Executor = field(init=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def start(self) -> None:
        """See `Part.start`."""
        here = self._context
        async with AsyncExitStack() as stack:
            log = LimitedEvents(here.log, here.settings.store_patience)
            repository = await self._open_repository(stack, log)
            refusals = await open_idempotency_store(
                stack,
                here.link,
                here.subjects,
                kept=here.settings.outcomes_kept,
                patience=here.settings.store_patience,
                replicas=here.nats.replicas,
                log=log,
            )
            self.executor = Executor(
                here.domain,
                GroupingEvents(log, under_way=lambda: self.executor.in_flight),
                repository,
                source=here.subjects.service,
                clock=here.clock,
                limit=here.settings.commands_in_flight,
                patience=here.settings.store_patience,
                refusals=refusals,
                log_id=here.log_identity.log_id,
            )
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """See `Part.stop`."""
        await self._stack.aclose()

    @property
    def intercepted(self) -> Execute:
        """Carries out a command that a request brought."""
        here = self._context
        return intercepting(
            self.executor.execute, here.domain.interceptors, here.settings.store_patience
        )

    @property
    def execute(self) -> Execute:
        """Carries out a command that no request brought, and tells the observer."""
        return observed(self.intercepted, self._context.observer)

    async def _open_repository(self, stack: AsyncExitStack, log: EventStore) -> Repository:
        """The repository that the settings ask for; `stack` lets it finish what it is writing."""
        here, settings = self._context, self._context.settings
        repository: Repository = ReplayingRepository(here.domain, log)
        if settings.snapshot_every:
            bucket = here.subjects.snapshot_bucket
            await ensure_stream(here.link.requests, bucket_stream(bucket, here.nats.replicas))
            snapshotting = SnapshottingRepository(
                repository,
                BucketSnapshots(Bucket(here.link, bucket)),
                settings.snapshot_every,
                log.event_at,
                here.log_identity.log_id,
                here.domain.aggregates.values(),
            )
            stack.push_async_callback(snapshotting.settle)
            repository = snapshotting
        repository = GuessingRepository(repository)
        if settings.cache:
            repository = CachingRepository(repository, settings.cache)
        return repository

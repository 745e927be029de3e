"""What a service carries out commands with: log, repository, and what is kept of refusals."""

from contextlib import AsyncExitStack

from cim_domain.domain import Domain
from cim_domain.execution import Executor
from cim_domain.metadata import Clock
from cim_domain.nats.link import Link
from cim_domain.refusal_bucket import open_refusals
from cim_domain.repositories import open_repository
from cim_domain.settings import ServiceSettings
from cim_domain.store.bounding import BoundedEvents
from cim_domain.store.grouping import GroupingEvents
from cim_domain.store.port import EventStore
from cim_domain.subjects import Subjects


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
    bounded = BoundedEvents(log, settings.store_patience)
    repository = await open_repository(stack, domain, bounded, link, subjects, settings, replicas)
    refusals = None
    if settings.refusals_kept:
        refusals = await open_refusals(
            stack,
            link,
            subjects.refusal_bucket,
            kept=settings.refusals_kept,
            patience=settings.store_patience,
            replicas=replicas,
        )
    return Executor(
        domain,
        GroupingEvents(bounded) if settings.group_commit else bounded,
        repository,
        source=subjects.service,
        clock=clock,
        limit=settings.commands_in_flight,
        refusals=refusals,
    )

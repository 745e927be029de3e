"""What the health of a service is made of: every part that may fail, and how to look at it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from cim_domain.command_queue.worker import QueueWorker
from cim_domain.dead_letters import DeadLetters
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.observability.health import (
    Check,
    HealthCheck,
    HealthStatus,
    look_at_dead_letters,
    look_at_projection,
    timed,
)
from cim_domain.processes.runner import ProcessRunner
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.store.port import EventStore


def looks_at_service(
    link: Link,
    subjects: Subjects,
    log: EventStore,
    runners: Mapping[str, ProjectionRunner],
    processes: Mapping[str, ProcessRunner],
    submissions: QueueWorker,
    letters: DeadLetters,
    lag_allowed: int,
) -> dict[str, HealthCheck]:
    """The looks at the parts of a service, by name. A lag above `lag_allowed` events is poor."""

    async def connection() -> Mapping[str, Any]:
        await round_trip(link.client, seconds=2.0)
        return {"reconnects": link.reconnects}

    async def stream() -> Mapping[str, Any]:
        return {"name": subjects.event_stream, "last_sequence": await log.head()}

    async def connection_and_rights() -> Check:
        check = await timed(connection)()
        if not link.denied:
            return check
        return Check(HealthStatus.DEGRADED, {**check.facts, "denied": link.denied})

    looks: dict[str, HealthCheck] = {"connection": connection_and_rights, "stream": timed(stream)}
    for name, runner in runners.items():
        looks[f"projection.{name}"] = look_at_projection(
            partial(getattr, runner, "status"), log.head, lag_allowed
        )
    for name, process in processes.items():
        looks[f"process.{name}"] = process.look(lag_allowed)
    looks["submissions"] = submissions.look(lag_allowed)
    looks["dead_letters"] = look_at_dead_letters(letters)
    return looks

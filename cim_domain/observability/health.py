"""Health: measured when it is asked for.

`healthy`: all is well. `degraded`: it serves, but something needs looking at. `unhealthy`: it
cannot do its work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from time import perf_counter
from typing import Any

import orjson
from attrs import define, field, frozen

from cim_domain.dead_letters import DeadLetters
from cim_domain.errors import CimError
from cim_domain.model.metadata import Clock
from cim_domain.nats.jetstream.subscriber import Subscriber
from cim_domain.projections.status import ProjectionStatus, RunnerState
from cim_domain.wire.codec import write_time

logger = logging.getLogger("cim_domain.observability.health")

PATIENCE = 2.0
"""Seconds that one look may take: whoever asks for health wants to hear of trouble, and soon."""


class HealthStatus(StrEnum):
    """How a service, or a part of it, fares; from good to bad."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@frozen
class Check:
    """What one look at one part has shown."""

    status: HealthStatus
    facts: Mapping[str, Any] = field(factory=dict)


HealthCheck = Callable[[], Awaitable[Check]]
"""Looks at one part. An error that it raises, or taking too long, makes the part unhealthy."""


@define
class Health:
    """What a service answers when asked for its health."""

    service: str
    version: str
    looks: Mapping[str, HealthCheck]
    clock: Clock
    _looking: asyncio.Task[dict[str, Any]] | None = field(default=None, init=False)

    async def report(self) -> dict[str, Any]:
        """Look at everything now, all at once; the worst check gives the status.

        Those who ask while it is being looked get that report, so that no flood of questions costs
        more than one. ``{status, service, version, timestamp, checks: {name: {status, …}}}``
        """
        if self._looking is None:
            self._looking = asyncio.create_task(self._report())
            self._looking.add_done_callback(self._looked)
        # Not ended by the one who gives up first.
        return await asyncio.shield(self._looking)

    def _looked(self, _: asyncio.Task[dict[str, Any]]) -> None:
        self._looking = None

    async def _report(self) -> dict[str, Any]:
        found = await asyncio.gather(*(_look(name, look) for name, look in self.looks.items()))
        checks = dict(zip(self.looks, found, strict=True))
        return {
            "status": worst(check.status for check in checks.values()),
            "service": self.service,
            "version": self.version,
            "timestamp": write_time(self.clock()),
            "checks": {
                name: {"status": check.status, **check.facts} for name, check in checks.items()
            },
        }

    async def to_wire(self) -> bytes:
        """The report as JSON."""
        return orjson.dumps(await self.report())


def worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """The worst of several; healthy where there is none."""
    order = list(HealthStatus)
    return max(statuses, key=order.index, default=HealthStatus.HEALTHY)


async def _look(name: str, look: HealthCheck) -> Check:
    try:
        async with asyncio.timeout(PATIENCE):
            return await look()
    except CimError as error:
        problem = str(error)
    except TimeoutError:
        problem = f"it did not answer within {PATIENCE:g} s"
    except Exception as error:
        logger.exception("looking at %s failed", name)
        problem = f"looking at it failed: {type(error).__name__}; the service's log says more"
    return Check(HealthStatus.UNHEALTHY, {"error": problem})


def timed(ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> HealthCheck:
    """A look that is healthy when `ask` answers; its facts, and how many milliseconds it took."""

    async def look() -> Check:
        started = perf_counter()
        facts = await ask()
        milliseconds = round((perf_counter() - started) * 1000, 3)
        return Check(HealthStatus.HEALTHY, {**facts, "milliseconds": milliseconds})

    return look


def look_at_projection(
    status_of: Callable[[], ProjectionStatus], head: Callable[[], Awaitable[int]], lag_allowed: int
) -> HealthCheck:
    """How far a projection is behind the log, as the log's head is now."""

    async def look() -> Check:
        # In this order: what comes in between must not look as if the views were ahead.
        status = status_of()
        lag = await head() - status.position
        poor = status.state in {RunnerState.STOPPED, RunnerState.WAITING} or lag > lag_allowed
        facts: dict[str, Any] = {
            "version": status.version,
            "state": status.state,
            "position": status.position,
            "lag": lag,
            "generation": status.generation,
        }
        if status.answers_from not in {None, status.generation}:
            facts["answers_from"] = status.answers_from
        if status.error:
            facts["error"] = status.error
        if lag < 0:
            facts["error"] = "the views have taken in more than the log has: it is another, or cut"
            return Check(HealthStatus.UNHEALTHY, facts)
        return Check(HealthStatus.DEGRADED if poor else HealthStatus.HEALTHY, facts)

    return look


def look_at_dead_letters(letters: DeadLetters, refused: Callable[[], int]) -> HealthCheck:
    """How many dead letters wait for somebody to look at them, and for how many had no room."""

    async def look() -> Check:
        count, over = await letters.count(), refused()
        facts: dict[str, Any] = {"count": count, "refused": over}
        if over:
            facts["error"] = f"there was no room for {over} dead letters since the start"
        status = HealthStatus.DEGRADED if count or over else HealthStatus.HEALTHY
        return Check(status, facts)

    return look


def look_at_subscriber(subscriber: Subscriber, lag_allowed: int) -> HealthCheck:
    """Whether messages come, how many wait, and whether some are tried again, or need newer code.

    Without its consumer, the look ends with the server's error.
    """

    async def look() -> Check:
        state = await subscriber.state()
        facts: dict[str, Any] = {
            "pending": state.pending,
            "in_flight": state.in_flight,
            "retrying": state.retrying,
        }
        newer = subscriber.waiting_for(state.in_flight)
        if newer is not None:
            facts["state"] = "waiting"
        error = subscriber.trouble or newer
        if error is not None:
            facts["error"] = error
        poor = error is not None or state.retrying or state.pending > lag_allowed
        return Check(HealthStatus.DEGRADED if poor else HealthStatus.HEALTHY, facts)

    return look

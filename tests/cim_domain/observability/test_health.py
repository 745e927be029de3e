"""Health is measured, in bounded time, and says the worst that was found."""

import asyncio
from datetime import UTC, datetime

import attrs
import pytest

from cim_domain.errors import Unavailable
from cim_domain.observability import health
from cim_domain.observability.health import (
    Check,
    Health,
    HealthCheck,
    HealthStatus,
    look_at_projection,
    worst,
)
from cim_domain.projections.status import ProjectionStatus, RunnerState


async def fine() -> Check:
    return Check(HealthStatus.HEALTHY)


async def poor() -> Check:
    return Check(HealthStatus.DEGRADED, {"why": "it is late"})


async def away() -> Check:
    raise Unavailable("nobody answers")


async def broken() -> Check:
    raise KeyError("secret")


def of(**looks: HealthCheck) -> Health:
    return Health("s", "1.0.0", looks, lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("looks", "status"),
    [
        ({}, "healthy"),
        ({"a": fine, "b": fine}, "healthy"),
        ({"a": fine, "b": poor}, "degraded"),
        ({"a": poor, "b": away}, "unhealthy"),
        ({"a": broken, "b": fine}, "unhealthy"),
    ],
)
async def test_the_worst_check_is_the_status(looks: dict[str, HealthCheck], status: str) -> None:
    assert (await of(**looks).report())["status"] == status


async def test_a_look_that_fails_says_why_and_the_others_are_still_told() -> None:
    checks = (await of(a=away, b=fine, c=broken, d=poor).report())["checks"]
    assert checks["a"] == {"status": "unhealthy", "error": "nobody answers"}
    assert checks["b"] == {"status": "healthy"}
    assert "KeyError" in checks["c"]["error"]
    assert "secret" not in checks["c"]["error"]
    assert checks["d"] == {"status": "degraded", "why": "it is late"}


async def test_a_look_that_takes_for_ever_is_given_up() -> None:
    async def endless() -> Check:
        await asyncio.Event().wait()
        raise AssertionError

    found = await of(a=endless, b=fine).report()
    assert found["checks"]["a"]["status"] == "unhealthy"
    assert f"{health.PATIENCE:g} s" in found["checks"]["a"]["error"]
    assert found["checks"]["b"]["status"] == "healthy"


async def test_looks_are_taken_side_by_side() -> None:
    barrier = asyncio.Barrier(3)

    async def together() -> Check:
        await barrier.wait()
        return Check(HealthStatus.HEALTHY)

    assert (await of(a=together, b=together, c=together).report())["status"] == "healthy"


def test_the_order_of_badness() -> None:
    assert worst([HealthStatus.DEGRADED, HealthStatus.HEALTHY]) is HealthStatus.DEGRADED
    assert worst([HealthStatus.DEGRADED, HealthStatus.UNHEALTHY]) is HealthStatus.UNHEALTHY


async def test_those_who_ask_meanwhile_share_one_look_and_who_gives_up_does_not_end_it() -> None:
    looked, go_on = 0, asyncio.Event()

    async def slow() -> Check:
        nonlocal looked
        looked += 1
        await go_on.wait()
        return Check(HealthStatus.HEALTHY)

    service = of(a=slow)
    first, *others = [asyncio.create_task(service.report()) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    reports = await asyncio.gather(*others)
    assert {report["status"] for report in reports} == {"healthy"}
    assert looked == 1
    await service.report()
    assert looked == 2


async def test_views_that_are_ahead_of_the_log_are_of_another() -> None:
    status = ProjectionStatus(
        name="orders", version=1, generation=1, state=RunnerState.LIVE,
        position=8, head=8, error=None, answers_from=1,
    )  # fmt: skip

    assert attrs.evolve(status, head=3).lag == -5

    async def head() -> int:
        return 3

    check = await look_at_projection(lambda: status, head, lag_allowed=10)()
    assert check.status is HealthStatus.UNHEALTHY
    assert check.facts["lag"] == -5
    assert "another" in check.facts["error"]

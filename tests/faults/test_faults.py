"""Clients at work while processes die, hang and lose one another: nothing lost, nothing doubled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import faults
from tests.faults.conftest import LONG, ROW
from tests.faults.scenario import Scenario, play
from tests.faults.world import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if LONG else 300)]

SCENARIOS = (
    Scenario(
        name="three servers, three services",
        plan=Plan(servers=3, services=3),
        faults=(
            faults.together(faults.kill_the_leader, faults.kill_all_services),
            faults.together(faults.kill_a_follower, faults.kill_a_service),
            faults.kill_the_leader,
            faults.pause_the_leader,
            faults.kill_all_services,
            faults.kill_all_servers,
        ),
        rounds=2,
    ),
    Scenario(
        name="three servers, one service",
        plan=Plan(servers=3),
        faults=(
            faults.pause_the_leader,
            faults.kill_a_service,
            faults.kill_the_leader,
            faults.kill_a_follower,
            faults.kill_all_servers,
        ),
        rounds=2,
    ),
    Scenario(
        name="named points",
        plan=Plan(services=2, points=True),
        faults=(faults.nothing,),
        rounds=1,
    ),
    Scenario(
        name="services killed",
        plan=Plan(services=3),
        faults=(faults.kill_a_service, faults.end_a_service, faults.kill_all_services),
        rounds=3,
    ),
    Scenario(
        name="own server, service killed",
        plan=Plan(servers=0, reference=True),
        faults=(faults.kill_a_service,),
        rounds=2,
    ),
    Scenario(
        name="own server killed",
        plan=Plan(servers=0, reference=True),
        faults=(faults.kill_own_server,),
        rounds=3,
    ),
    Scenario(
        name="server killed or paused",
        plan=Plan(services=2),
        faults=(faults.kill_a_server, faults.pause_a_server, faults.pause_a_service),
        rounds=3,
    ),
    Scenario(
        name="connections cut",
        plan=Plan(services=2, proxied=True),
        faults=(faults.cut_connections, faults.refuse_services, faults.hold_services),
        rounds=3,
    ),
    Scenario(
        name="disk of views full",
        plan=Plan(services=2),
        faults=(faults.fill_disk_of_views, faults.kill_a_service),
        rounds=2,
    ),
    Scenario(
        name="clocks stepped",
        plan=Plan(services=2, clocks=True),
        faults=(faults.nothing, faults.kill_a_service),
        rounds=2,
        between=80,
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
async def test_all_promises_hold(
    scenario: Scenario,
    tmp_path: Path,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    await _hold(scenario, tmp_path, seed, record_property)


async def test_all_promises_hold_with_views_in_postgresql(
    server: Any, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    views = server.create_database().replace("postgresql+psycopg:", "postgresql:")
    scenario = Scenario(
        name="shared views in PostgreSQL",
        plan=Plan(services=2, views=views),
        faults=(faults.kill_a_service, faults.kill_a_server),
        rounds=2,
    )
    await _hold(scenario, tmp_path, seed, record_property)


async def _hold(
    scenario: Scenario, directory: Path, seed: int, record: Callable[[str, object], None]
) -> None:
    print(f"FAULT_SEED={seed}")
    rounds = scenario.rounds * max(1, LONG)
    report = await play(scenario, directory, seed, rounds)
    record(ROW, report.row())
    assert report.violations == []
    assert report.accepted > scenario.between

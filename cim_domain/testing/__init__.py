"""What tests of a domain are written with: scenarios, real servers, real services."""

from cim_domain.testing.messages import ManualClock, metadata
from cim_domain.testing.process import ServiceProcess, service_process
from cim_domain.testing.processes import ProcessScenario
from cim_domain.testing.projections import ProjectionScenario
from cim_domain.testing.running import RunningDomain, running, settled
from cim_domain.testing.scenario import Scenario
from cim_domain.testing.server import server_in_thread, throwaway_server

__all__ = [
    "ManualClock",
    "ProcessScenario",
    "ProjectionScenario",
    "RunningDomain",
    "Scenario",
    "ServiceProcess",
    "metadata",
    "running",
    "server_in_thread",
    "service_process",
    "settled",
    "throwaway_server",
]

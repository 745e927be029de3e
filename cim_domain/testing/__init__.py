"""What tests of a domain are written with: scenarios, real servers, real services."""

from cim_domain.testing.process import ServiceProcess, service_process
from cim_domain.testing.scenario import Scenario
from cim_domain.testing.server import throwaway_server

__all__ = ["Scenario", "ServiceProcess", "service_process", "throwaway_server"]

"""How a service fares, and being told what it does."""

from cim_domain.observability.health import Check, Health, HealthCheck, HealthStatus
from cim_domain.observability.observer import NoObserver, Observer

__all__ = ["Check", "Health", "HealthCheck", "HealthStatus", "NoObserver", "Observer"]

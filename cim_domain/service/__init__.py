"""A domain as a NATS service: composed, started, looked after and stopped.

async with Service(domain, load_settings()):
    await stop.wait()
"""

from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.service.adapters import Adapters
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings, load_service_settings

__all__ = [
    "Adapters",
    "NatsSettings",
    "Service",
    "ServiceSettings",
    "load_service_settings",
    "load_settings",
]

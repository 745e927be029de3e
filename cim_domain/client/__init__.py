"""The other side of a service: sending commands, asking queries, reading events.

async with DomainClient.open("nix", load_settings()) as nix:
    outcome = await nix.send("flake.create", {"path": "/srv/web"})
    answer = await nix.ask("flake.get", {"path": "/srv/web"}, min_sequence=outcome.sequence)
    print(answer.json()["description"])
"""

from cim_domain.client.client import DomainClient
from cim_domain.client.messages import TIMEOUT, Answer
from cim_domain.client.queue_protocol import Scheduled, Submitted
from cim_domain.client.synchronous import SyncDomainClient
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome

__all__ = [
    "TIMEOUT",
    "Answer",
    "CommandStatus",
    "DomainClient",
    "NatsSettings",
    "NoAnswer",
    "Outcome",
    "Scheduled",
    "Submitted",
    "SyncDomainClient",
    "load_settings",
]

"""A part of a service, and what every part is made from."""

from collections.abc import Mapping

from attrs import frozen

from cim_domain.endpoints.replay_routing import Replay
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.subscriber import Retries
from cim_domain.observability.health import HealthCheck
from cim_domain.observability.observer import ObservedDeadLetters, Observer
from cim_domain.service.adapters import Adapters
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.fullness import FullnessNoted
from cim_domain.store.port import EventStore, LogIdentity


@frozen
class Context:
    """What there is before any part: the connection, the log, the settings."""

    domain: Domain
    subjects: Subjects
    nats: NatsSettings
    settings: ServiceSettings
    adapters: Adapters
    observer: Observer
    link: Link
    log_identity: LogIdentity
    fullness: FullnessNoted
    """The log, which knows whether it was full."""
    dead_letters: ObservedDeadLetters

    @property
    def log(self) -> EventStore:
        """Where events are kept."""
        return self.fullness

    @property
    def clock(self) -> Clock:
        """What tells the service its time."""
        return self.adapters.clock

    @property
    def retries(self) -> Retries:
        """How often what comes from a stream is tried."""
        return Retries(attempts=self.settings.attempts, ack_wait=self.settings.ack_wait)


class Part:
    """One thing that a service runs. What a part has nothing to say of, it inherits.

    Parts are started in order and stopped in the opposite one; a part that was not started, or
    only half, is not stopped.
    """

    async def start(self) -> None:
        """Begin. Raises `ConfigurationError`, `ApiError` and `Unavailable`."""

    async def stop(self) -> None:
        """Take nothing new, and return when what is under way has ended."""

    def checks(self) -> Mapping[str, HealthCheck]:
        """What its health is made of, by name."""
        return {}

    def replays(self) -> Mapping[str, Replay]:
        """How its consumers handle a dead letter that is replayed, by the consumer's name."""
        return {}

"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event."""

from cim_domain.nats.jetstream.patience import Patience
from cim_domain.store.jetstream.events import JetStreamEvents
from cim_domain.store.jetstream.stream import ensure_log, event_stream, log_identity, partitioned

__all__ = [
    "JetStreamEvents",
    "Patience",
    "ensure_log",
    "event_stream",
    "log_identity",
    "partitioned",
]

"""Events on JetStream: one stream a domain, one subject for each aggregate and type of event."""

from cim_domain.store.jetstream.attempts import Patience
from cim_domain.store.jetstream.events import JetStreamEvents
from cim_domain.store.jetstream.stream import event_stream

__all__ = ["JetStreamEvents", "Patience", "event_stream"]

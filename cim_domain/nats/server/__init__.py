"""The embedded server: nats-server as a child of a service, of a test or of a demo."""

from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions

__all__ = ["EmbeddedServer", "ServerOptions"]

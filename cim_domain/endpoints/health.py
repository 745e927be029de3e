"""Answering requests for health."""

from cim_domain.nats.services.responder import Request, Response
from cim_domain.observability.health import Health


class HealthHandler:
    """Answers ``health.cim-domain-nix``."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def handle(self, _: Request) -> Response:
        """Measure now."""
        return Response(await self._health.to_wire())

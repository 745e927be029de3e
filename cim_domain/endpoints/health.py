"""Answering requests for health."""

from cim_domain.commands.decoding import require_request
from cim_domain.endpoints.queries import Reply
from cim_domain.errors import RequestError
from cim_domain.nats.services.responder import Request, Response
from cim_domain.observability.health import Health


class HealthHandler:
    """Answers ``health.cim-domain-nix``."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def handle(self, request: Request) -> Response:
        """Measure now."""
        try:
            require_request(request.headers, request.reply)
        except RequestError as error:
            return self.error(error)
        return Response(await self._health.to_wire())

    def error(self, error: RequestError) -> Response:
        """The response that words an error."""
        return Reply.error(error).response()

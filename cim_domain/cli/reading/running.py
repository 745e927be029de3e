"""Reading what a running service is made of, for commands that must not take it away."""

from cim_domain.client import DomainClient
from cim_domain.errors import RequestError


async def running_parts(client: DomainClient) -> frozenset[str]:
    """The parts that a service names in its health, such as ``process.builder``; none: none runs.

    Raises `RequestError` where one may be running and does not say.
    """
    try:
        return frozenset((await client.health()).get("checks", {}))
    except RequestError as error:
        if error.code == "no_responders":
            return frozenset()
        raise

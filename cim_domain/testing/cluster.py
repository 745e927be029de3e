"""Three real nats-servers that hold streams together, for a test: replicas, elections, deaths."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

from cim_domain.errors import CimError, Unavailable
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.testing.server import throwaway_server

_POLL = 0.05
_TRIES = 3


@asynccontextmanager
async def throwaway_cluster(
    size: int = 3, **options: Any
) -> AsyncIterator[dict[str, EmbeddedServer]]:
    """So many servers on loopback by their names, JetStream ready; see `throwaway_server`.

    One that dies is started again at once: give ``restart`` to have it stay away for a while.
    """
    async with AsyncExitStack() as stack:
        servers = await _started(stack, size, options)
        for server in servers.values():
            await _ready(server)
        yield servers


def urls_of(servers: Mapping[str, EmbeddedServer]) -> str:
    """Where clients of a cluster connect."""
    return ",".join(server.url for server in servers.values())


async def leader_of(
    link: Link, stream: str, servers: Mapping[str, EmbeddedServer]
) -> EmbeddedServer:
    """The server that leads the stream's replicas. Raises `Unavailable` while there is none."""
    info = await call(link.requests, f"STREAM.INFO.{stream}")
    name = info["cluster"].get("leader")
    if name not in servers:
        raise Unavailable(f"the stream {stream} has no leader now")
    return servers[name]


async def _started(
    stack: AsyncExitStack, size: int, options: Mapping[str, Any]
) -> dict[str, EmbeddedServer]:
    """The servers, on ports that were free a moment ago; on others where one is taken by then."""
    for left in reversed(range(_TRIES)):
        async with AsyncExitStack() as trial:
            starts = _starts(trial, _free_ports(size), options)
            results = await asyncio.gather(*starts, return_exceptions=True)
            errors = [one for one in results if isinstance(one, BaseException)]
            if not errors:
                await stack.enter_async_context(trial.pop_all())
                return dict(one for one in results if not isinstance(one, BaseException))
        if not left or not isinstance(errors[0], CimError):
            raise errors[0]
    raise AssertionError("the last try returns or raises")


def _starts(
    stack: AsyncExitStack, routes: Sequence[int], options: Mapping[str, Any]
) -> list[Coroutine[Any, Any, tuple[str, EmbeddedServer]]]:
    urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)

    async def start(number: int, port: int) -> tuple[str, EmbeddedServer]:
        name = f"node-{number}"
        config = (
            f'server_name: "{name}"\n'
            f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{urls}] }}\n'
        )
        server = throwaway_server(extra_config=config, **options)
        return name, await stack.enter_async_context(server)

    return [start(number, port) for number, port in enumerate(routes, 1)]


async def _ready(server: EmbeddedServer) -> None:
    """Wait until the servers have found one another and chosen who keeps track of the streams."""
    link = await Link.open(load_settings(), name="cluster", url=server.url)
    try:
        answered = False
        while not answered:
            answered = await _answers(link)
            await asyncio.sleep(0 if answered else _POLL)
    finally:
        await link.close()


async def _answers(link: Link) -> bool:
    try:
        await call(link.requests, "INFO", timeout=0.5)
    except (ApiError, Unavailable):
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]

"""The faults: bounded in time, and only to processes and connections that the suite started."""

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from cim_domain.errors import Unavailable
from cim_domain.nats.jetstream.api import ApiError
from cim_domain.nats.server.directory import DataDirectory
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.testing.cluster import leader_of
from cim_domain.testing.server import crash, frozen
from tests.faults.world import World

Fault = Callable[[World], Awaitable[None]]

_ELECTION = 60.0
"""Seconds within which others elect a leader; on an idle machine it takes them 4 to 9."""
_FULL = 60.0
"""Seconds within which clients at work fill what is left of a disk."""
_ANSWER = 1.0
_AGAIN = 0.1


def together(*faults: Fault) -> Fault:
    """Several at once."""

    async def at_once(world: World) -> None:
        await asyncio.gather(*(fault(world) for fault in faults))

    return at_once


async def kill_a_service(world: World) -> None:
    """SIGKILL, at any moment."""
    await asyncio.sleep(world.draw.random() * 0.3)
    world.draw.choice(world.instances).signal(signal.SIGKILL)


async def kill_all_services(world: World) -> None:
    """SIGKILL to all at once."""
    for instance in world.instances:
        instance.signal(signal.SIGKILL)


async def end_a_service(world: World) -> None:
    """SIGTERM, as in a rolling restart: what it has taken it finishes."""
    instance = world.draw.choice(world.instances)
    await instance.ready()
    instance.signal(signal.SIGTERM)


async def pause_a_service(world: World) -> None:
    """SIGSTOP for a while; its connection stays, and requests wait in its buffers."""
    instance = world.draw.choice(world.instances)
    pid = instance.pid
    if pid is None:
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(world.draw.uniform(0.5, 3.5))
    finally:
        if instance.pid == pid:
            os.kill(pid, signal.SIGCONT)


async def kill_own_server(world: World) -> None:
    """SIGKILL to the embedded server; the service starts it again."""
    state = DataDirectory(world.instances[0].data_directory).read_state()
    if state is not None and state.is_alive():
        with suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)


async def kill_a_server(world: World) -> None:
    """SIGKILL to any server."""
    _crash(world.draw.choice(list(world.servers.values())))


async def kill_all_servers(world: World) -> None:
    """SIGKILL to all servers at once."""
    for server in world.servers.values():
        _crash(server)


async def kill_the_leader(world: World) -> None:
    """SIGKILL to the server that leads the event stream."""
    _crash(await _leader(world))


async def kill_a_follower(world: World) -> None:
    """SIGKILL to one that follows."""
    leader = await _leader(world)
    _crash(world.draw.choice([one for one in world.servers.values() if one is not leader]))


async def pause_a_server(world: World) -> None:
    """SIGSTOP to any server, for longer than a client waits."""
    await _paused(world.draw.choice(list(world.servers.values())), world.draw.uniform(0.5, 4))


async def pause_the_leader(world: World) -> None:
    """SIGSTOP to the leader, until another is elected."""
    leader = await _leader(world)
    if leader.pid is None:
        return
    with frozen(leader):
        async with asyncio.timeout(_ELECTION):
            # Nobody tells a client who leads.
            while await _leader(world) is leader:  # noqa: ASYNC110
                await asyncio.sleep(_AGAIN)


async def cut_connections(world: World) -> None:
    """About half of all connections break, whatever they carry."""
    for proxy in (world.service_proxy, world.client_proxy):
        if proxy is not None:
            await proxy.cut(0.5, world.draw)


async def refuse_services(world: World) -> None:
    """No service can connect for a while."""
    proxy = world.service_proxy
    assert proxy is not None
    await proxy.refuse()
    await asyncio.sleep(world.draw.uniform(0.2, 1.5))
    await proxy.listen()


async def hold_services(world: World) -> None:
    """The services' connections carry nothing for a while, sometimes until they are given up."""
    proxy = world.service_proxy
    assert proxy is not None
    proxy.hold()
    try:
        await asyncio.sleep(world.draw.uniform(0.5, 4))
    finally:
        proxy.release()


async def fill_disk_of_views(world: World) -> None:
    """A service's files cannot grow for a while, as on a full disk. The log is the server's."""
    instance = world.draw.choice(world.instances)
    await instance.ready()
    pid = instance.pid
    assert pid is not None
    written = instance.data_directory / f"{world.domain.name}-views.sqlite3-wal"
    size = written.stat().st_size if written.exists() else 0
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 8192, unlimited))
    try:
        async with asyncio.timeout(_FULL):
            await instance.says("there is no room for the views")
        await asyncio.sleep(world.draw.uniform(0.1, 1))
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


async def nothing(_: World) -> None:
    """Only time goes by: what happens was arranged before."""


def _crash(server: EmbeddedServer) -> None:
    if server.pid is not None:
        crash(server)


async def _paused(server: EmbeddedServer, seconds: float) -> None:
    if server.pid is not None:
        with frozen(server):
            await asyncio.sleep(seconds)


async def _leader(world: World) -> EmbeddedServer:
    while True:
        for link in world.links:
            try:
                async with asyncio.timeout(_ANSWER):
                    return await leader_of(link, world.subjects.event_stream, world.servers)
            except (ApiError, Unavailable, TimeoutError):
                # Asked of a server that is away, or while nobody leads.
                await asyncio.sleep(_AGAIN)

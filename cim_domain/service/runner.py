"""A service as a process: until a signal ends it, or it cannot go on.

Where no server is configured it brings its own, in the data directory, and stops it last.
SIGTERM and SIGINT both mean: take nothing new, finish and answer what is in flight, then end. A
second signal changes nothing; what is in flight is bounded in time.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    contextmanager,
    nullcontext,
)
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cim_domain.model.domain import Domain
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.server.embedded import EmbeddedServer, ServerOptions, ServerStatus
from cim_domain.observability.health import Check, HealthCheck, HealthStatus
from cim_domain.observability.observer import Observer
from cim_domain.service.adapters import Adapters
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings

logger = logging.getLogger("cim_domain.service.service")

ENDED = 0
"""The exit code after a signal."""

LOST = 3
"""The exit code when the server is gone for good; whoever supervises the process starts it anew."""

_OBJECTS_TO_COLLECT = (10_000, 10, 10)
"""After so many new objects, garbage is looked for among them, and now and then among older ones.
With Python's own setting, after 700, that is a fifth of all that a busy service does.
"""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


Watch = Callable[[Callable[[], str | None]], AbstractAsyncContextManager[None]]


def _unwatched(_: Callable[[], str | None]) -> AbstractAsyncContextManager[None]:
    return nullcontext()


def run(service: Coroutine[Any, Any, int]) -> int:
    """Run `run_service(...)` on an event loop of its own: uvloop's where that is installed.

    The process is the service's from now on, garbage collection included.
    """
    # What has been imported by now stays, and need not be looked at again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_OBJECTS_TO_COLLECT)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(service)


async def run_service(
    domain: Domain,
    nats: NatsSettings,
    settings: ServiceSettings | None = None,
    *,
    server: ServerOptions | None = None,
    on_ready: Callable[[str | None], None] | None = None,
    observer: Observer | None = None,
    adapters: Adapters | None = None,
    watch: Watch = _unwatched,
) -> int:
    """Serve until a signal comes (`ENDED`), or the server is gone for good (`LOST`).

    Without URLs in `nats` an embedded server is started, as `server` says or else with defaults in
    the data directory. `on_ready` is called once requests are answered, with the embedded server's
    URL, if there is one; `observer` is told what the service does; `watch` is entered while it
    serves, with what says what the service lacks to be ready. Signals are taken over, so this
    runs on the main thread. Raises `ConfigurationError` and `Unavailable` when it cannot
    start; nothing is left running then.
    """
    ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(code: int, reason: str) -> None:
        if not ending.done():
            logger.log(logging.INFO if code == ENDED else logging.CRITICAL, "%s", reason)
            ending.set_result(code)

    with _on_signals(lambda name: end(ENDED, f"{name}: finishing what is in flight")):
        async with AsyncExitStack() as stack:
            url, looks, no_room = None, {}, _not_known
            if "urls" not in nats.model_fields_set:
                options = server or ServerOptions(data_directory=nats.data_directory)
                embedded = EmbeddedServer(options, _when_dead(end))
                if not await _started(embedded.start(), ending):
                    return ending.result()
                stack.push_async_callback(embedded.stop)
                logger.info("nats-server %s is at %s", embedded.version, embedded.url)
                url, looks = embedded.url, {"server": _look_at(embedded)}
                no_room = partial(getattr, embedded.disk, "no_room")
            service = Service(
                domain,
                nats,
                settings,
                url=url,
                looks=looks,
                no_room=no_room,
                observer=observer,
                adapters=adapters,
            )
            if not await _started(service.start(), ending):
                return ending.result()
            stack.push_async_callback(service.stop)
            watching = asyncio.create_task(service.disconnected.wait())
            stack.callback(watching.cancel)
            watching.add_done_callback(
                lambda watched: (
                    None
                    if watched.cancelled()
                    else end(LOST, "the connection to the server is closed for good")
                )
            )
            if on_ready is not None:
                on_ready(url)
            async with watch(service.missing):
                return await asyncio.shield(ending)


async def _started(start: Coroutine[Any, Any, object], ending: asyncio.Future[int]) -> bool:
    """Whether something has started before the end came; raises what its start raises."""
    starting = asyncio.ensure_future(start)
    waited: list[asyncio.Future[Any]] = [starting, ending]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
    if starting.cancelled():
        return False
    await starting
    return True


@contextmanager
def _on_signals(act: Callable[[str], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for one in _SIGNALS:
        loop.add_signal_handler(one, act, one.name)
    try:
        yield
    finally:
        for one in _SIGNALS:
            loop.remove_signal_handler(one)


def _not_known() -> str | None:
    """Of a server that is not ours nobody knows how much room it has, before it says so."""
    return None


def _when_dead(end: Callable[[int, str], None]) -> Callable[[ServerStatus], None]:
    def changed(status: ServerStatus) -> None:
        if status.state == "dead":
            end(LOST, f"the embedded server is gone: {status.reason}")

    return changed


def _look_at(server: EmbeddedServer) -> HealthCheck:
    """How the embedded server is, for health."""

    async def look() -> Check:
        status = server.status()
        facts: Mapping[str, Any] = {
            "state": status.state,
            "version": server.version,
            "restarts": status.restarts,
            "disk_free": server.disk.free,
        }
        if status.state == "running":
            if why := server.disk.no_room or server.disk.little:
                return Check(HealthStatus.DEGRADED, {**facts, "reason": why})
            return Check(HealthStatus.HEALTHY, facts)
        worse = HealthStatus.UNHEALTHY if status.state == "dead" else HealthStatus.DEGRADED
        return Check(worse, {**facts, "reason": status.reason})

    return look


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory

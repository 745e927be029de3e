"""A domain as a NATS service: everything put together, started in order and stopped in order.

    async with Service(domain, load_settings()):
        await stop.wait()

Commands on ``nix.cmd.>``, queries on ``nix.query.>``, health, and service discovery. Instances of
a service share the requests between them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version as version_of
from typing import Any, Self
from uuid import uuid4

from cim_domain.errors import Unavailable
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.requirements import require_server
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.observability.health import Health, HealthCheck
from cim_domain.observability.observer import (
    GuardedObserver,
    NoObserver,
    ObservedDeadLetters,
    Observer,
)
from cim_domain.service.adapters import Adapters
from cim_domain.service.parts.broker import Broker
from cim_domain.service.parts.command_queue import CommandQueue
from cim_domain.service.parts.endpoints import Endpoints
from cim_domain.service.parts.log_contents import LogContents
from cim_domain.service.parts.part import Context
from cim_domain.service.parts.processes import Processes
from cim_domain.service.parts.projections import Projections
from cim_domain.service.parts.write_side import WriteSide
from cim_domain.service.patience import Starting, ended_within, leave_if_silent
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.fullness import FullnessNoted
from cim_domain.store.jetstream import ensure_log, partitioned

logger = logging.getLogger("cim_domain.service.service")

VERSION = version_of("cim-domain")


class Service:
    """One instance of a domain's service; as an async context manager it starts and stops."""

    def __init__(
        self,
        domain: Domain,
        nats: NatsSettings,
        settings: ServiceSettings | None = None,
        *,
        url: str | None = None,
        looks: Mapping[str, HealthCheck] | None = None,
        no_room: Callable[[], str | None] = lambda: None,
        observer: Observer | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """`url` takes the place of the settings' own; `looks` are further checks of health.

        `no_room` says why no event is to be stored now, as where the server's disk is known to be
        full; None where there is room.

        `observer` is told what the service does; what it raises does no harm. `adapters` say where
        events and views are kept.
        """
        self.domain = domain
        self.instance = uuid4().hex
        self.subjects = Subjects(domain.name, nats.subject_prefix)
        self.disconnected = asyncio.Event()
        """Set once the connection is closed for good, be it by `stop`."""
        self._nats = nats
        self._settings = settings or ServiceSettings()
        self._url = url
        self._more_looks = looks or {}
        self._no_room = no_room
        self._observer = GuardedObserver(observer) if observer else NoObserver()
        self._adapters = adapters or Adapters()
        self._stack = AsyncExitStack()
        self._link: Link | None = None
        self._views_missing: Callable[[], str | None] = lambda: None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, see that the streams are as needed, and answer from now on.

        Raises `ConfigurationError` and `Unavailable`; nothing is left running then.
        """
        async with AsyncExitStack() as stack:
            link = await Link.open(self._nats, name=self.subjects.service, url=self._url)
            self._link = link
            stack.push_async_callback(link.drain)
            link.listen(self._connection_changed)
            await stack.enter_async_context(await self._started(link))
            self._stack = stack.pop_all()
        logger.info("%s is ready (instance %s)", self.subjects.service, self.instance)

    async def stop(self) -> None:
        """Take nothing new, finish and answer what is in flight, store checkpoints, disconnect."""
        await ended_within(self._stop(), self._settings.stop_patience)
        logger.info("%s has stopped (instance %s)", self.subjects.service, self.instance)

    async def health(self) -> dict[str, Any]:
        """The report that requests for health get, measured now."""
        return await self._health.report()

    def missing(self) -> str | None:
        """What it lacks to serve, all of it; None: nothing, as far as is known here."""
        if self._link is None or not self._link.connected:
            return "there is no connection to the server"
        return self._views_missing()

    async def _stop(self) -> None:
        if self._link is not None:
            await leave_if_silent(self._link, self._settings.stop_silence)
        await self._stack.aclose()

    async def _started(self, link: Link) -> AsyncExitStack:
        """What is started, once JetStream can do what is asked of it."""
        starting = Starting(link, self._settings.start_patience)
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._start(link, stack)
                    return stack.pop_all()
            except (Unavailable, ApiError) as error:
                await starting.again(error)

    async def _start(self, link: Link, stack: AsyncExitStack) -> None:
        context = await self._prepare(link)
        broker = Broker(context)
        projections = Projections(context)
        self._views_missing = projections.missing
        write_side = WriteSide(context)
        processes = Processes(context, write_side)
        queue = CommandQueue(context, write_side)
        looks: dict[str, HealthCheck] = {}
        contents = LogContents(context)
        parts = (broker, contents, projections, write_side, processes, queue)
        for part in parts:
            await part.start()
            stack.push_async_callback(part.stop)
            looks |= part.checks()
        looks |= self._more_looks
        self._health = Health(self.subjects.service, VERSION, looks, context.clock)
        replays = {name: replay for part in parts for name, replay in part.replays().items()}
        endpoints = Endpoints(
            context, projections, write_side, queue, replays, self._health, self.instance, VERSION
        )
        await endpoints.start()
        stack.push_async_callback(endpoints.stop)

    async def _prepare(self, link: Link) -> Context:
        """See that the server will do, and that there are the streams that every part needs."""
        await require_server(link)
        replicas = self._nats.replicas
        identity = await ensure_log(
            link.requests, self.subjects, replicas, self._settings.partitions
        )
        subjects = self.subjects = partitioned(self.subjects, identity)
        stream, root = subjects.dead_letter_stream, subjects.dead_letter_root
        await ensure_stream(
            link.requests, dead_letter_stream(stream, subjects.dead_letters, replicas)
        )
        return Context(
            domain=self.domain,
            subjects=subjects,
            nats=self._nats,
            settings=self._settings,
            adapters=self._adapters,
            observer=self._observer,
            link=link,
            log_identity=identity,
            fullness=FullnessNoted(
                self._adapters.events(link, subjects, self._settings), self._no_room
            ),
            dead_letters=ObservedDeadLetters(StreamDeadLetters(link, stream, root), self._observer),
        )

    def _connection_changed(self, change: ConnectionChange) -> None:
        if change is ConnectionChange.CLOSED:
            self.disconnected.set()

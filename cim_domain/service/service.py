"""A domain as a NATS service: everything put together, started in order and stopped in order.

    async with Service(domain, load_settings()):
        await stop.wait()

Commands on ``nix.cmd.>``, queries on ``nix.query.>``, health, and service discovery. Instances of
a service share the requests between them.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version as version_of
from typing import Any, Self
from uuid import uuid4

from cim_domain.command_queue.status_requests import CancelCommand, GetCommandStatus, Tracker
from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import command_stream
from cim_domain.command_queue.worker import QueueWorker
from cim_domain.commands.executor import Executor
from cim_domain.dead_letters import DeadLetters
from cim_domain.endpoints.commands import CommandHandler, OwnCommand
from cim_domain.endpoints.health import HealthHandler
from cim_domain.endpoints.queries import Answerer, OwnQuery, QueryHandler
from cim_domain.endpoints.replay import ReplayHandler
from cim_domain.endpoints.replay_targets import ProjectionReplay
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.requirements import require_server
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.nats.jetstream.subscriber import Retries
from cim_domain.nats.services.discovery import Discovery
from cim_domain.nats.services.responder import Responder
from cim_domain.observability.health import Health, HealthCheck
from cim_domain.observability.observer import (
    GuardedObserver,
    NoObserver,
    ObservedDeadLetters,
    Observer,
    observed,
)
from cim_domain.processes.runner import ProcessRunner
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.service.adapters import Adapters
from cim_domain.service.health_checks import looks_at_service
from cim_domain.service.replays import replays_of_service
from cim_domain.service.settings import ServiceSettings
from cim_domain.service.write_side import open_executor
from cim_domain.store.jetstream import ensure_log, partitioned
from cim_domain.store.port import EventStore
from cim_domain.store.shared_subscription import SharedSubscription
from cim_domain.views.port import ViewDatabase
from cim_domain.wire.codec import MAX_ERROR_HEADERS

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
        observer: Observer | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """`url` takes the place of the settings' own; `looks` are further checks of health.

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
        self._observer = GuardedObserver(observer) if observer else NoObserver()
        self._adapters = adapters or Adapters()
        self._stack = AsyncExitStack()

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
            await self._start(stack)
            self._stack = stack.pop_all()
        logger.info("%s is ready (instance %s)", self.subjects.service, self.instance)

    async def stop(self) -> None:
        """Take nothing new, finish and answer what is in flight, store checkpoints, disconnect."""
        await self._stack.aclose()
        logger.info("%s has stopped (instance %s)", self.subjects.service, self.instance)

    async def health(self) -> dict[str, Any]:
        """The report that requests for health get, measured now."""
        return await self._health.report()

    async def _start(self, stack: AsyncExitStack) -> None:
        link = await Link.open(self._nats, name=self.subjects.service, url=self._url)
        stack.push_async_callback(link.drain)
        link.listen(self._connection_changed)
        await require_server(link)
        replicas = self._nats.replicas
        identity = await ensure_log(
            link.requests, self.subjects, replicas, self._settings.partitions
        )
        self.subjects = partitioned(self.subjects, identity)
        letters = await self._dead_letters(link, replicas)
        log = self._adapters.events(link, self.subjects, self._settings)
        database = self._adapters.views(self._settings, self._nats, self.domain)
        stack.push_async_callback(database.close)
        runners = await self._run_projections(stack, log, database, letters)
        executor = await open_executor(
            stack, self.domain, log, link, self.subjects, self._settings, replicas,
            self._adapters.clock,
        )  # fmt: skip
        retries = Retries(attempts=self._settings.attempts, ack_wait=self._settings.ack_wait)
        processes = await self._run_processes(stack, link, executor, letters, retries)
        submissions, tracker = await self._run_submissions(stack, link, executor, letters, retries)
        answerer = Answerer(
            self.domain,
            runners,
            own={GetCommandStatus.message_type: OwnQuery(GetCommandStatus, tracker.status)},
            limit=self._settings.queries_in_flight,
            wait=self._settings.query_wait,
            patience=self._settings.query_patience,
            observer=self._observer,
        )
        looks = looks_at_service(
            link, self.subjects, log, runners, processes, submissions, letters,
            self._settings.lag_allowed,
        )  # fmt: skip
        looks.update(self._more_looks)
        self._health = Health(self.subjects.service, VERSION, looks, self._adapters.clock)
        own = {CancelCommand.message_type: OwnCommand(CancelCommand, tracker.cancel)}
        commands = CommandHandler(
            self.domain,
            self.subjects,
            executor,
            letters,
            own,
            self._observer,
            self._adapters.clock,
            lambda: link.client.max_payload - MAX_ERROR_HEADERS,
        )
        builders = {
            name: ProjectionReplay(
                self.domain, self.domain.projections[name], runner, log, database, letters,
                self.subjects, self._settings.on_poison,
            )
            for name, runner in runners.items()
        }  # fmt: skip
        replays = replays_of_service(
            link, self.subjects, builders, processes, submissions, commands
        )
        await self._respond(stack, link, commands, answerer, replays)
        for builder in builders.values():
            stack.callback(builder.close)

    def _connection_changed(self, change: ConnectionChange) -> None:
        if change is ConnectionChange.CLOSED:
            self.disconnected.set()

    async def _dead_letters(self, link: Link, replicas: int) -> DeadLetters:
        stream = self.subjects.dead_letter_stream
        definition = dead_letter_stream(stream, self.subjects.dead_letters, replicas)
        await ensure_stream(link.requests, definition)
        letters = StreamDeadLetters(link, stream, self.subjects.dead_letter_root)
        return ObservedDeadLetters(letters, self._observer)

    async def _run_projections(
        self,
        stack: AsyncExitStack,
        log: EventStore,
        database: ViewDatabase,
        letters: DeadLetters,
    ) -> dict[str, ProjectionRunner]:
        tail = SharedSubscription(log)
        runners = {
            name: ProjectionRunner(
                self.domain,
                model,
                tail,
                database,
                letters,
                self.subjects,
                self._settings.on_poison,
                self._observer.projection,
            )
            for name, model in self.domain.projections.items()
        }
        for runner in runners.values():
            await runner.open()
            stack.push_async_callback(runner.stop)
            runner.start()
        return runners

    async def _run_processes(
        self,
        stack: AsyncExitStack,
        link: Link,
        executor: Executor,
        letters: DeadLetters,
        retries: Retries,
    ) -> dict[str, ProcessRunner]:
        processes = {
            name: ProcessRunner(
                self.domain,
                model,
                link,
                self.subjects,
                observed(executor.execute, self._observer),
                letters,
                retries,
            )
            for name, model in self.domain.processes.items()
        }
        for process in processes.values():
            await process.start()
            stack.push_async_callback(process.stop)
        return processes

    async def _run_submissions(
        self,
        stack: AsyncExitStack,
        link: Link,
        executor: Executor,
        letters: DeadLetters,
        retries: Retries,
    ) -> tuple[QueueWorker, Tracker]:
        subjects, replicas = self.subjects, self._nats.replicas
        bucket = subjects.outcome_bucket
        for stream in (
            command_stream(
                subjects.command_stream, subjects.submissions, subjects.schedules, replicas
            ),
            bucket_stream(
                bucket,
                replicas,
                kept=self._settings.outcomes_kept,
                announced=subjects.outcome_root,
            ),
        ):
            await ensure_stream(link.requests, stream)
        standings = StatusStore(Bucket(link, bucket))
        runner = QueueWorker(
            self.domain,
            link,
            subjects,
            observed(executor.execute, self._observer),
            standings,
            letters,
            retries,
            self._adapters.clock,
        )
        await runner.start()
        stack.push_async_callback(runner.stop)
        return runner, Tracker(link, subjects, standings)

    async def _respond(
        self,
        stack: AsyncExitStack,
        link: Link,
        commands: CommandHandler,
        answerer: Answerer,
        replays: ReplayHandler,
    ) -> None:
        queries = QueryHandler(self.subjects, answerer)
        health = HealthHandler(self._health)
        subjects = self.subjects
        # A reply there would be taken for an event, or for a command of the service itself.
        guarded = f"{subjects.root}."
        responders = [
            Responder(link, name, subject, handle, on_error, guarded)
            for name, subject, handle, on_error in (
                ("commands", subjects.commands, commands.handle, commands.error),
                ("queries", subjects.queries, queries.handle, queries.error),
                ("health", subjects.health, health.handle, queries.error),
                ("replays", subjects.replays, replays.handle, replays.error),
            )
        ]
        discovery = Discovery(
            link,
            name=subjects.service,
            instance=self.instance,
            version=VERSION,
            description=f"the domain {self.domain.name}, event-sourced",
            responders=responders,
            guarded=guarded,
        )
        for responder in responders:
            await responder.start()
            stack.push_async_callback(responder.stop)
        await discovery.start()
        stack.push_async_callback(discovery.stop)
        # Requests from anywhere find somebody from here on.
        await round_trip(link.client)

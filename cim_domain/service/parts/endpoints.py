"""What a service answers on subjects: commands, queries, health, replays; and being found."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from attrs import define, field

from cim_domain.endpoints.commands import CONSUMER, CommandHandler
from cim_domain.endpoints.health import HealthHandler
from cim_domain.endpoints.queries import Answerer, QueryHandler
from cim_domain.endpoints.replay_by_kind import CommandReplay
from cim_domain.endpoints.replay_routing import Replay, ReplayHandler
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.jetstream.dead_letter_box import DeadLetterBox
from cim_domain.nats.services.discovery import Discovery
from cim_domain.nats.services.joining import Joining
from cim_domain.nats.services.responder import Responder
from cim_domain.observability.health import Health
from cim_domain.service.parts.command_queue import CommandQueue
from cim_domain.service.parts.part import Context, Part
from cim_domain.service.parts.projections import Projections
from cim_domain.service.parts.write_side import WriteSide
from cim_domain.wire.codec import MAX_ERROR_HEADERS

QUERIES = "queries"
"""The endpoint of queries."""


@define(eq=False)
class Endpoints(Part):
    """The responders, which begin once everything that they ask has begun."""

    _context: Context
    _projections: Projections
    _write_side: WriteSide
    _queue: CommandQueue
    _replays: Mapping[str, Replay]
    """Of the other parts' consumers."""
    _health: Health
    _instance: str
    _version: str
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def start(self) -> None:
        """See `Part.start`."""
        here = self._context
        responders = self._responders()
        discovery = Discovery(
            here.link,
            name=here.subjects.service,
            instance=self._instance,
            version=self._version,
            description=f"the domain {here.domain.name}, event-sourced",
            responders=responders,
            guarded=_guarded(here),
        )
        async with AsyncExitStack() as stack:
            # Before the discovery, which would have the instance hear itself.
            answering: list[Responder | Joining | Discovery] = [
                self._joining(one) if one.name == QUERIES else one for one in responders
            ]
            answering.append(discovery)
            for one in answering:
                await one.start()
                stack.push_async_callback(one.stop)
            # Requests from anywhere find somebody from here on.
            await round_trip(here.link.client)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """See `Part.stop`."""
        self._projections.give_up_building()
        await self._stack.aclose()

    def _joining(self, queries: Responder) -> Joining:
        here = self._context
        return Joining(
            here.link, queries, here.subjects.service, self._instance, self._projections.missing
        )

    def _responders(self) -> list[Responder]:
        here = self._context
        subjects, settings = here.subjects, here.settings
        answerer = Answerer(
            here.domain,
            self._projections.runners,
            own=self._queue.queries,
            limit=settings.queries_in_flight,
            wait=settings.query_wait,
            patience=settings.query_patience,
            observer=here.observer,
            clock=here.clock,
        )
        box = DeadLetterBox(here.link, subjects.dead_letter_stream, subjects.dead_letter_root)
        commands = CommandHandler(
            here.domain,
            here.subjects,
            self._write_side.intercepted,
            here.dead_letters,
            self._queue.commands,
            here.observer,
            here.clock,
            lambda: here.link.client.max_payload - MAX_ERROR_HEADERS,
            settings.store_patience,
        )
        targets: dict[str, Replay] = {**self._replays, CONSUMER: CommandReplay(subjects, commands)}
        queries = QueryHandler(subjects, answerer)
        health = HealthHandler(self._health)
        replays = ReplayHandler(subjects, box, targets)
        return [
            Responder(here.link, name, subject, handle, on_error, _guarded(here))
            for name, subject, handle, on_error in (
                ("commands", subjects.commands, commands.handle, commands.error),
                (QUERIES, subjects.queries, queries.handle, queries.error),
                ("health", subjects.health, health.handle, health.error),
                ("replays", subjects.replays, replays.handle, replays.error),
            )
        ]


def _guarded(context: Context) -> str:
    """Where no reply may go: it would be taken for an event, or for the service's own command."""
    return f"{context.subjects.root}."

"""The connection, the log's stream, and the dead letters: what all other parts stand on."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.jetstream.storage import Room, rooms
from cim_domain.observability.health import (
    Check,
    HealthCheck,
    HealthStatus,
    look_at_dead_letters,
    timed,
)
from cim_domain.observability.storage import StorageLook
from cim_domain.service.parts.part import Context, Part


@frozen
class Broker(Part):
    """Made before any part; what is left to say of it is how it fares."""

    _context: Context

    def checks(self) -> Mapping[str, HealthCheck]:
        """See `Part.checks`."""
        return {
            "connection": self._connection,
            "stream": self._stream,
            "storage": StorageLook(self._context.fullness, self._rooms, self._connections),
            "dead_letters": look_at_dead_letters(
                self._context.dead_letters, partial(getattr, self._context.dead_letters, "refused")
            ),
        }

    async def _connection(self) -> Check:
        link = self._context.link

        async def ask() -> Mapping[str, Any]:
            await round_trip(link.client, seconds=2.0)
            return {"reconnects": link.reconnects}

        check = await timed(ask)()
        if not link.denied:
            return check
        return Check(HealthStatus.DEGRADED, {**check.facts, "denied": link.denied})

    async def _rooms(self) -> Sequence[Room]:
        return await rooms(self._context.link.requests, self._context.subjects.event_stream)

    def _connections(self) -> int:
        return self._context.link.client.connections

    async def _stream(self) -> Check:
        log = self._context.log

        async def ask() -> Mapping[str, Any]:
            identity = await log.identity()
            return {
                "name": self._context.subjects.event_stream,
                "log": identity.log_id,
                "last_sequence": await log.head(),
            }

        check = await timed(ask)()
        lost = await log.first_lost()
        if lost is None:
            return check
        error = f"event {lost} is missing or cannot be read: the log is damaged"
        return Check(HealthStatus.UNHEALTHY, {**check.facts, "lost": lost, "error": error})

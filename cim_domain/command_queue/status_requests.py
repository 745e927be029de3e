"""Asking how a stored command stands, and cancelling one that is scheduled.

Both are about the commands of every domain, and the service answers them itself:
``nix.query.command.status`` and ``nix.cmd.command.cancel``. To another organization than the one
that a command is of, there is no such command.
"""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import is_repeated, schedule_problem, scheduled_time, stored_as
from cim_domain.errors import NotFound, Rejected
from cim_domain.model.messages import Command, Query
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import StoredMessage
from cim_domain.nats.jetstream.leader_reads import message_at, newest_on
from cim_domain.wire.codec import ORGANIZATION_ID
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome

NOT_SCHEDULED = "command.not_scheduled"


class GetCommandStatus(Query, type="command.status"):
    """How does a command stand? `sequence`, from the acknowledgement, finds one that waits."""

    command_id: UUID
    sequence: Annotated[int, Field(ge=1, lt=2**63)] | None = None


class CancelCommand(Command, type="command.cancel"):
    """A scheduled command shall not be carried out."""

    command_id: UUID


class Tracker:
    """Knows how the stored commands of a domain stand."""

    def __init__(self, link: Link, subjects: Subjects, standings: StatusStore) -> None:
        self._requests = link.requests
        self._subjects = subjects
        self._standings = standings
        self._asked: dict[tuple[str, str | None, int | None], asyncio.Task[dict[str, Any]]] = {}

    async def status(self, query: GetCommandStatus, organization_id: str | None) -> dict[str, Any]:
        """See `CommandStatus.as_dict`. Raises `NotFound`, `Unavailable` and `ApiError`.

        Those who ask the same while it is being looked up get the same answer.
        """
        asked = (str(query.command_id), organization_id, query.sequence)
        looking = self._asked.get(asked)
        if looking is None:
            looking = self._asked[asked] = asyncio.create_task(self._status(*asked))
            looking.add_done_callback(lambda _: self._asked.pop(asked))
        # Not ended by the one who gives up first.
        return await asyncio.shield(looking)

    async def _status(
        self, command_id: str, organization_id: str | None, sequence: int | None
    ) -> dict[str, Any]:
        standing = (
            await self._standings.get(command_id, organization_id)
            or await self._scheduled(command_id, organization_id)
            or await self._waiting(command_id, organization_id, sequence)
            # Between the two looks it may have become due, and done.
            or await self._standings.get(command_id, organization_id)
        )
        if standing is None:
            raise NotFound(
                f"nothing is known of the command {command_id}: it waits to be carried out, or it"
                " was never stored, or what came of it is no longer kept; with the sequence of its"
                " acknowledgement, one that waits is found"
            )
        return standing.as_dict()

    async def cancel(self, command: CancelCommand, organization_id: str | None) -> None:
        """Have a scheduled command never carried out; again, too.

        Raises `Rejected` (``command.not_scheduled``) for one that is not waiting for its time,
        `Unavailable` and `ApiError`.
        """
        command_id = str(command.command_id)
        waits = await self._on_schedule(command_id, organization_id)
        if waits is not None:
            cancelled = CommandStatus(state="cancelled", command_id=command_id)
            await self._standings.begin(cancelled, organization_id)
        known = await self._standings.get(command_id, organization_id)
        never_done = known is not None and known.state == "cancelled"
        # One that is repeated was done before, and has had its effect: what ends is the rest.
        if not never_done and (waits is None or not is_repeated(waits.headers)):
            raise Rejected(
                NOT_SCHEDULED,
                f"the command {command_id} does not wait for its time: it was carried out, or is"
                " being so, or was never scheduled",
            )
        if waits is not None:
            await call(
                self._requests,
                f"STREAM.PURGE.{self._subjects.command_stream}",
                {"filter": self._subjects.schedule(command_id)},
            )

    async def _on_schedule(
        self, command_id: str, organization_id: str | None
    ) -> StoredMessage | None:
        subjects = self._subjects
        found = await newest_on(
            self._requests, subjects.command_stream, subjects.schedule(command_id)
        )
        if found is None or found.headers.get(ORGANIZATION_ID) != organization_id:
            return None
        return found

    async def _scheduled(
        self, command_id: str, organization_id: str | None
    ) -> CommandStatus | None:
        found = await self._on_schedule(command_id, organization_id)
        if found is None:
            return None
        problem = schedule_problem(found.headers, command_id, self._subjects.submissions)
        outcome = None
        if problem is not None:
            outcome = Outcome(
                status=problem.status, command_id=command_id, correlation_id=None, error=problem
            )
        return CommandStatus(
            state="scheduled",
            command_id=command_id,
            at=scheduled_time(found.headers),
            outcome=outcome,
        )

    async def _waiting(
        self, command_id: str, organization_id: str | None, sequence: int | None
    ) -> CommandStatus | None:
        if sequence is None:
            return None
        found = await message_at(self._requests, self._subjects.command_stream, sequence)
        if found is None or found.headers.get(ORGANIZATION_ID) != organization_id:
            return None
        if stored_as(found.headers) != command_id:
            return None
        return CommandStatus(state="waiting", command_id=command_id)

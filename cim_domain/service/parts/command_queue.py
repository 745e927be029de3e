"""Commands that are stored first: the queue, its worker, and what is said of each command."""

from collections.abc import Mapping

from attrs import define, field

from cim_domain.command_queue.status_requests import CancelCommand, GetCommandStatus, Tracker
from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import command_stream
from cim_domain.command_queue.worker import DEAD_LETTERS, QueueWorker
from cim_domain.endpoints.commands import OwnCommand
from cim_domain.endpoints.queries import OwnQuery
from cim_domain.endpoints.replay_by_kind import SubmissionReplay
from cim_domain.endpoints.replay_routing import Replay
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.observability.health import HealthCheck
from cim_domain.service.parts.part import Context, Part
from cim_domain.service.parts.write_side import WriteSide


@define(eq=False)
class CommandQueue(Part):
    """Works off the queue; tells how stored commands stand, and cancels those that still wait."""

    _context: Context
    _write_side: WriteSide
    _worker: QueueWorker = field(init=False)
    _tracker: Tracker = field(init=False)

    async def start(self) -> None:
        """See `Part.start`."""
        here = self._context
        subjects = here.subjects
        queue = command_stream(
            subjects.command_stream, subjects.submissions, subjects.schedules, here.nats.replicas
        )
        await ensure_stream(here.link.requests, queue)
        # The write side has made the bucket.
        statuses = StatusStore(Bucket(here.link, subjects.outcome_bucket), here.log)
        self._tracker = Tracker(here.link, subjects, statuses)
        self._worker = QueueWorker(
            here.domain,
            here.link,
            subjects,
            self._write_side.execute,
            statuses,
            here.dead_letters,
            here.retries,
            here.clock,
            self._write_side.executor.first_outcome,
        )
        await self._worker.start()

    async def stop(self) -> None:
        """See `Part.stop`."""
        await self._worker.stop()

    @property
    def commands(self) -> Mapping[str, OwnCommand]:
        """The commands that it carries out itself, by type."""
        return {CancelCommand.message_type: OwnCommand(CancelCommand, self._tracker.cancel)}

    @property
    def queries(self) -> Mapping[str, OwnQuery]:
        """The queries that it answers itself, by type."""
        return {GetCommandStatus.message_type: OwnQuery(GetCommandStatus, self._tracker.status)}

    def checks(self) -> Mapping[str, HealthCheck]:
        """See `Part.checks`."""
        return {"submissions": self._worker.look(self._context.settings.lag_allowed)}

    def replays(self) -> Mapping[str, Replay]:
        """See `Part.replays`."""
        return {DEAD_LETTERS: SubmissionReplay(self._context.subjects, self._worker)}

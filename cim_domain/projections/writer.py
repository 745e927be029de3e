"""Taking events of the log into views: a slice is one transaction, with the new checkpoint.

An event that cannot be projected becomes a dead letter, and is stopped at or skipped. One that
newer code can project is neither: it is waited at.
"""

import asyncio
import logging
from collections.abc import Sequence

from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import CimError, Failed, Outdated, RequestError
from cim_domain.model.domain import Domain
from cim_domain.model.failures import cause
from cim_domain.model.projection import ProjectionModel, Projector
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.projections.progress import Progress
from cim_domain.projections.row_changes import Batch, Step, rows_of, step_of
from cim_domain.projections.status import OnPoison
from cim_domain.views.layout import UNFIT
from cim_domain.views.port import START, Change, Checkpoint, CheckpointMoved, Superseded, ViewStore
from cim_domain.wire.codec import event_headers

logger = logging.getLogger("cim_domain.projections")

IDLE_CHECKPOINT = 1000
"""Events that change no view move the stored checkpoint only every so many: writing costs."""

IDLE_SECONDS = 2.0
"""Or after so long, for those who read these views by their checkpoint alone."""


class Poison(Exception):
    """An event that cannot be projected."""

    def __init__(self, record: EventRecord, error: RequestError) -> None:
        super().__init__(error.message)
        self.record = record
        self.error = error


class ViewWriter:
    """Changes the views of one projection on events, in the order of the log."""

    def __init__(
        self,
        domain: Domain,
        model: ProjectionModel,
        dead_letters: DeadLetters,
        subjects: Subjects,
        on_poison: OnPoison,
        progress: Progress,
    ) -> None:
        self._domain = domain
        self._model = model
        self._dead_letters = dead_letters
        self._subjects = subjects
        self._on_poison = on_poison
        self._progress = progress
        self._projectors: dict[str, tuple[Projector, ...]] = {
            stored: projectors
            for event, projectors in model.events.items()
            for stored in event.stored_types()
        }
        self._checkpoint = 0
        self._read_to = START
        """The last event that was read; the progress may be further where others were."""
        self._stored_at = 0.0
        self._seen_at = 0

    @property
    def checkpoint(self) -> int:
        """The one that the views have, as far as is known."""
        return self._checkpoint

    def start_at(self, checkpoint: Checkpoint) -> None:
        """Begin with views that have this checkpoint."""
        self._store_at(checkpoint.sequence)
        self._read_to = checkpoint
        self._progress.start_at(checkpoint.sequence)

    async def reread_checkpoint(self, views: ViewStore) -> None:
        """Go on from where another instance has brought these views.

        Raises `Superseded` where they have been set back, as when an older copy of the database
        has taken its place: what they had taken in behind that is to be read again.
        """
        checkpoint = await views.checkpoint()
        sequence = checkpoint.sequence
        if sequence < self._checkpoint:
            raise Superseded(f"the views {self._model.name!r} have gone back to {sequence}")
        self._checkpoint = sequence
        if sequence > self._read_to.sequence:
            self._read_to = checkpoint
        self._progress.move_to(sequence)

    async def look(self, views: ViewStore) -> None:
        """See where the views are, and store how far they are read once nothing comes any more.

        Raises as `reread_checkpoint` does.
        """
        await self.reread_checkpoint(views)
        if self._progress.position == self._seen_at:
            await self.save(views)
        self._seen_at = self._progress.position

    async def save(self, views: ViewStore) -> None:
        """Store the checkpoint, where it has moved over events that changed no view."""
        if self._read_to.sequence > self._checkpoint:
            await self._commit(views, (), self._read_to)

    async def take_in(self, views: ViewStore, records: Sequence[EventRecord]) -> None:
        """Change the views on those of the events that they have not taken in.

        Raises `Poison` at an event that stops it, `Outdated` at one that needs newer code, and
        what the views raise.
        """
        records = self._unread(records)
        while records:
            await self._project(views, records)
            records = self._unread(records)

    def _unread(self, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        if not records or records[0].metadata.sequence > self._progress.position:
            return records
        return [one for one in records if one.metadata.sequence > self._progress.position]

    async def _project(self, views: ViewStore, records: Sequence[EventRecord]) -> None:
        """Take in records as one transaction: all of them, or those before one that cannot be."""
        steps, poison = self._read(records)
        try:
            poison = await self._change_views(views, records, steps, poison)
        except CheckpointMoved:
            # Another instance was quicker with some of these: go on from where it is.
            await self.reread_checkpoint(views)
            return
        except Exception as error:
            if isinstance(error, CimError) and not _is_unfit(error):
                raise
            if len(records) > 1:
                # Which event it is shows when fewer are taken at once.
                await self._project(views, records[: len(records) // 2])
                return
            poison = Poison(records[0], _cannot_project(self._model, records[0], error))
        self._move_to(self._end(records, poison))
        if poison and isinstance(poison.error, Outdated):
            # Code that knows it may have moved these views over it.
            await self.reread_checkpoint(views)
            if self._progress.position < poison.record.metadata.sequence:
                raise poison.error
        elif poison:
            await self._bury(poison)
            await self._skip(views, poison)

    async def _change_views(
        self,
        views: ViewStore,
        records: Sequence[EventRecord],
        steps: Sequence[Step],
        poison: Poison | None,
    ) -> Poison | None:
        """Store what the steps change; gives the first event that cannot be projected."""
        batch = Batch(await rows_of(views, steps))
        for step in steps:
            try:
                batch.apply(step)
            except Exception as error:  # noqa: BLE001 - the model's mistake, at this event alone
                poison = Poison(step.record, _cannot_project(self._model, step.record, error))
                break
        changes, end = batch.changes(), self._end(records, poison)
        if changes or end.sequence - self._checkpoint >= IDLE_CHECKPOINT or self._is_due():
            await self._commit(views, changes, end)
        return poison

    def _read(self, records: Sequence[EventRecord]) -> tuple[list[Step], Poison | None]:
        """The events that concern this projection, up to the first that cannot be read."""
        steps: list[Step] = []
        for record in records:
            projectors = self._projectors.get(record.metadata.message_type)
            if projectors is None:
                continue
            try:
                event = self._domain.read_event(record.metadata, record.data)
                steps.append(step_of(record, event, projectors))
            except RequestError as error:
                return steps, Poison(record, error)
            except Exception as error:  # noqa: BLE001 - a key function's mistake, at this event
                return steps, Poison(record, _cannot_project(self._model, record, error))
        return steps, None

    async def _commit(self, views: ViewStore, changes: Sequence[Change], end: Checkpoint) -> None:
        await views.commit(changes, expected=self._checkpoint, checkpoint=end)
        self._store_at(end.sequence)

    def _store_at(self, checkpoint: int) -> None:
        self._checkpoint = checkpoint
        self._stored_at = asyncio.get_running_loop().time()

    def _move_to(self, end: Checkpoint) -> None:
        self._read_to = max(self._read_to, end)
        self._progress.move_to(end.sequence)

    def _end(self, records: Sequence[EventRecord], poison: Poison | None) -> Checkpoint:
        """The last event that is taken in."""
        if poison is None:
            return _at(records[-1])
        before = poison.record.metadata.sequence
        taken = [one for one in records if one.metadata.sequence < before]
        return _at(taken[-1]) if taken else self._read_to

    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._stored_at >= IDLE_SECONDS

    async def _bury(self, poison: Poison) -> None:
        """Put the event among the dead letters. Raises it where the projection stops at it."""
        metadata = poison.record.metadata
        letter = DeadLetter.about(
            poison.error,
            consumer=f"projection.{self._model.name}",
            subject=self._subjects.journal(metadata.message_type, metadata.aggregate_id or "_"),
            headers=event_headers(metadata),
            data=poison.record.data,
            sequence=metadata.sequence,
        )
        await self._dead_letters.put(letter)
        if self._on_poison is OnPoison.STOP:
            raise poison

    async def _skip(self, views: ViewStore, poison: Poison) -> None:
        event = _at(poison.record)
        try:
            await views.skip(event, expected=self._checkpoint)
        except CheckpointMoved:
            await self.reread_checkpoint(views)
            return
        self._store_at(event.sequence)
        self._move_to(event)
        logger.error("projection %s skips: %s", self._model.name, poison.error.message)


def _at(record: EventRecord) -> Checkpoint:
    return Checkpoint(record.metadata.sequence, record.metadata.message_id)


def _is_unfit(error: CimError) -> bool:
    """Whether views refuse a value, and will whenever it comes again."""
    return isinstance(error, Failed) and error.code == UNFIT


def _cannot_project(model: ProjectionModel, record: EventRecord, error: Exception) -> Failed:
    metadata = record.metadata
    logger.error("projection %s failed", model.name, exc_info=error)
    return Failed(
        f"{metadata.message_type} (sequence {metadata.sequence}) cannot be projected by"
        f" {model.name}: {cause(error)}",
        code="cannot_project",
        details={"type": metadata.message_type, "sequence": metadata.sequence},
    )

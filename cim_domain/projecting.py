"""Running a projection: from the log into its views, in order, from its checkpoint on.

A slice of the log becomes one transaction: the changed views and the new checkpoint. A crash
between any two steps repeats nothing and drops nothing.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from enum import StrEnum

from attrs import frozen

from cim_domain.backoff import Backoff
from cim_domain.batching import Batch, Step, rows_of, step_of
from cim_domain.codec import event_headers
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.domain import Domain
from cim_domain.errors import CimError, Failed, RequestError, Unavailable
from cim_domain.projection import ProjectionModel, Projector
from cim_domain.store.port import EventRecord, Log, Slice
from cim_domain.subjects import Subjects
from cim_domain.view import Views
from cim_domain.views.layout import UNFIT
from cim_domain.views.port import (
    Change,
    CheckpointMoved,
    Superseded,
    ViewDatabase,
    ViewStore,
)

logger = logging.getLogger("cim_domain.projections")

IDLE_CHECKPOINT = 1000
"""Events that change no view move the stored checkpoint only every so many: writing costs."""

REST = 0.01
"""Seconds between the transactions of a projection that is up to date, unless a query waits."""

REPLACED_CHECK = 1.0
"""Seconds between looks whether another process has put other views in the place of these."""

STAND_IN_CHECK = 0.05
"""Seconds between looks how far the views of another version are, while a query waits for them."""

_RETRY = Backoff(first_delay=0.1, ceiling=5)


class OnPoison(StrEnum):
    """What happens at an event that cannot be projected, once it is among the dead letters."""

    STOP = "stop"
    SKIP = "skip"


class RunnerState(StrEnum):
    """How a projection fares."""

    STARTING = "starting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    WAITING = "waiting"
    """For its views or the log, which are away; it goes on by itself."""
    STOPPED = "stopped"
    """At an event that cannot be projected; it needs a person."""


@frozen
class ProjectionStatus:
    """How far a projection is, and what is in its way. Positions are sequences of the log."""

    name: str
    version: int
    generation: int
    state: RunnerState
    position: int
    head: int
    error: str | None
    answers_from: int | None
    """The generation that queries read; None: they are answered `rebuilding`."""

    @property
    def lag(self) -> int:
        """How many events of the log it has not read yet."""
        return max(0, self.head - self.position)


@frozen
class Reading:
    """What a query reads, and the sequence of the last event that is in there."""

    views: Views
    sequence: int


class _Poison(Exception):
    """An event that cannot be projected."""

    def __init__(self, record: EventRecord, error: RequestError) -> None:
        super().__init__(error.message)
        self.record = record
        self.error = error


class ProjectionRunner:
    """Keeps the views of one projection up to the log, until it is cancelled."""

    def __init__(
        self,
        domain: Domain,
        model: ProjectionModel,
        log: Log,
        database: ViewDatabase,
        dead_letters: DeadLetters,
        subjects: Subjects,
        on_poison: OnPoison = OnPoison.STOP,
        on_status: Callable[[ProjectionStatus], None] | None = None,
    ) -> None:
        """`on_status` is told how it fares whenever it has gone on, waits, or has stopped."""
        self._domain = domain
        self._model = model
        self._log = log
        self._database = database
        self._dead_letters = dead_letters
        self._subjects = subjects
        self._on_poison = on_poison
        self._on_status = on_status
        self._projectors: dict[str, tuple[Projector, ...]] = {
            event.message_type: projectors for event, projectors in model.events.items()
        }
        self._views: ViewStore | None = None
        self._readable = False
        """Whether the views were live when they were opened, or since: so long as no others are
        open, queries read them even where another process has replaced them."""
        self._stand_in: ViewStore | None = None
        """What queries read before: another version's live views, which look the same."""
        self._replaced = False
        self._opened = asyncio.Event()
        self._look = asyncio.Event()
        self._checkpoint = 0
        self._position = 0
        self._head = 0
        self._state = RunnerState.STARTING
        self._error: str | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._waited_for = asyncio.Event()
        self._failures = 0
        self._stopped_at: int | None = None
        """The event that stopped it, until it is behind it: its letter is written once."""
        self._retry: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> ProjectionStatus:
        """How it fares now."""
        return ProjectionStatus(
            name=self._model.name,
            version=self._model.version,
            generation=self._views.generation if self._views else 0,
            state=self._state,
            position=self._position,
            head=max(self._head, self._position),
            error=self._error,
            answers_from=self._answers_from(),
        )

    @property
    def position(self) -> int:
        """The sequence of the last event that the views have taken in."""
        return self._position

    def reader(self, organization_id: str | None) -> Views:
        """The views as queries may read them.

        Raises `Unavailable` (``rebuilding``) while they are being built for this version.
        """
        views = self._own_live()
        if views is None:
            raise self._rebuilding()
        return views.reader(organization_id)

    async def reading(
        self, organization_id: str | None, min_sequence: int = 0, seconds: float = 0
    ) -> Reading:
        """What a query reads, once the event at `min_sequence` is in there.

        While the views are being built for this version, those of the version before are read if
        they have the same layout. Raises `Unavailable`: ``rebuilding`` where there are none,
        ``behind`` where it takes longer than `seconds`.
        """
        if self._stand_in is None:
            if self._position < min_sequence:
                await self.reached(min_sequence, seconds)
            # Read before the views are: what is answered is never older than what is said.
            sequence = self._position
            return Reading(self.reader(organization_id), sequence)
        reading = await self._reading_stand_in(organization_id)
        if reading.sequence >= min_sequence:
            return reading
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while reading.sequence < min_sequence:
                    # Others write these views, if anybody does, and they tell nobody.
                    await asyncio.sleep(STAND_IN_CHECK)
                    reading = await self._reading_stand_in(organization_id)
        if reading.sequence < min_sequence:
            raise self._behind(reading.sequence, min_sequence, seconds)
        return reading

    async def reached(self, sequence: int, seconds: float) -> None:
        """Wait until the views have taken in the event at `sequence`.

        Raises `Unavailable` (``behind``) when that takes longer than `seconds`.
        """
        if self._position >= sequence:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (sequence, arrived)
        self._waiting.append(entry)
        self._waited_for.set()
        try:
            async with asyncio.timeout(seconds):
                await arrived
        except TimeoutError:
            raise self._behind(self._position, sequence, seconds) from None
        finally:
            with suppress(ValueError):
                self._waiting.remove(entry)

    async def reopened(self, seconds: float) -> bool:
        """Look at once whether other views have taken the place of these; whether it has them."""
        if self._stand_in is not None:
            # Whether it is still the one to read is looked up at every reading.
            return True
        opened = self._opened
        self._look.set()
        try:
            async with asyncio.timeout(seconds):
                await opened.wait()
        except TimeoutError:
            return False
        return True

    async def open(self) -> None:
        """Open the views. Raises `ConfigurationError` and `Unavailable`."""
        views = await self._database.open(self._model)
        checkpoint = await views.checkpoint()
        stand_in = None if views.live else await self._database.stand_in(self._model)
        # At once, so that no query meets views with the position of others. Another generation
        # may well have read less than the one before it.
        self._views, self._replaced, self._readable = views, False, views.live
        self._stand_in = stand_in
        self._checkpoint = self._position = checkpoint
        self._move_to(checkpoint)
        self._opened.set()
        self._opened = asyncio.Event()

    def start(self) -> None:
        """Run in the background until `stop`; where an event stops it, wait there to go on."""
        self._task = asyncio.create_task(self._stay_running())

    async def stop(self) -> None:
        """End what `start` began, between two transactions, and store the checkpoint."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        try:
            await self.save()
        except (Unavailable, CheckpointMoved, Superseded) as error:
            # No more than what was read since is read again.
            logger.info("the checkpoint of %s was not stored: %s", self._model.name, error)

    async def retry(self, sequence: int, seconds: float) -> None:
        """Go on from the event at which it is stopped, now that this may be possible.

        Raises the error that stops it there again; `Failed` (``stopped_before``) while it is
        stopped at an earlier one; `Unavailable` (``behind``) where it does not come to it in time.
        """
        stopped_at = self._stopped_at
        if self._state is RunnerState.STOPPED and stopped_at and stopped_at < sequence:
            raise Failed(
                f"the projection {self._model.name} is stopped at event {stopped_at}, which comes"
                f" before {sequence}: replay that one first",
                code="stopped_before",
                details={"sequence": stopped_at},
            )
        retry = self._retry = asyncio.get_running_loop().create_future()
        self._look.set()
        reached = asyncio.create_task(self.reached(sequence, seconds))
        try:
            await asyncio.wait([reached, retry], return_when=asyncio.FIRST_COMPLETED)
            await (retry if retry.done() else reached)
        finally:
            self._retry = None
            reached.cancel()
            await asyncio.wait([reached])

    async def has_skipped(self, sequence: int) -> bool:
        """Whether the views that queries read were moved over an event without it.

        Raises `Unavailable` (``rebuilding``) while they are being built or replaced.
        """
        if self._views is not None and self._views.live:
            try:
                return await self._views.has_skipped(sequence)
            except Superseded:
                self._look.set()
        raise Unavailable(f"the views of {self._model.name} are being built", code="rebuilding")

    async def run(self) -> None:
        """Read the log into the views until cancelled, or until stopped by an event."""
        while True:
            try:
                await self._follow()
            except Superseded:
                # Queries go on with the views there are until others are open.
                self._replaced = True
            except RequestError as error:
                logger.warning("projection %s waits: %s", self._model.name, error.message)
                await self._wait(error.message)
            except _Poison as poison:
                self._state, self._error = RunnerState.STOPPED, poison.error.message
                self._stopped_at = poison.record.metadata.sequence
                logger.error("projection %s stops: %s", self._model.name, self._error)  # noqa: TRY400
                self._tell()
                if self._retry is not None and not self._retry.done():
                    self._retry.set_exception(poison.error)
                    self._retry.exception()
                return
            except Exception as error:
                logger.exception("projection %s failed", self._model.name)
                await self._wait(f"running it failed: {type(error).__name__}")

    async def build(self, views: ViewStore) -> AsyncGenerator[ProjectionStatus, None]:
        """Read the log into views that are being built, until they are the live ones.

        Gives the status after each step. Not for a runner that runs. Raises `Superseded` where
        somebody else began to build them anew, and the error of an event that cannot be projected.
        """
        self._views = views
        await self._reread_checkpoint(views)
        async with aclosing(self._log.follow(self._position)) as slices:
            async for part in slices:
                try:
                    await self._take_in(part)
                except _Poison as poison:
                    raise poison.error from poison
                yield self.status
                if views.live:
                    return

    async def save(self) -> None:
        """Store the checkpoint, where it has moved over events that changed no view."""
        if self._views is not None and self._position > self._checkpoint:
            await self._commit(self._views, (), self._position)

    def _own_live(self) -> ViewStore | None:
        """The views of this version that queries may read."""
        views = self._views
        return views if views is not None and (self._readable or views.live) else None

    def _answers_from(self) -> int | None:
        views = self._own_live() or self._stand_in
        return None if views is None else views.generation

    async def _reading_stand_in(self, organization_id: str | None) -> Reading:
        """A reading of the version before; of this one, if it has become live meanwhile."""
        while self._stand_in is not None and self._own_live() is None:
            stand_in = self._stand_in
            try:
                return Reading(stand_in.reader(organization_id), await stand_in.checkpoint())
            except Superseded:
                found = await self._database.stand_in(self._model)
                if self._stand_in is stand_in:
                    self._stand_in = found
        sequence = self._position
        return Reading(self.reader(organization_id), sequence)

    def _rebuilding(self) -> Unavailable:
        return Unavailable(
            f"the views of {self._model.name} are being built:"
            f" {self._position} of {max(self._head, self._position)} events are read",
            code="rebuilding",
            details={"position": self._position, "head": self._head},
        )

    def _behind(self, sequence: int, min_sequence: int, seconds: float) -> Unavailable:
        return Unavailable(
            f"the views of {self._model.name} have read up to {sequence}, not to"
            f" {min_sequence}, within {seconds:g} s",
            code="behind",
            details={"sequence": sequence, "min_sequence": min_sequence},
        )

    async def _stay_running(self) -> None:
        while True:
            await self.run()
            await self._stay_stopped()

    async def _stay_stopped(self) -> None:
        """Return when it is asked to try again, or when others have gone on with these views."""
        while self._retry is None or self._retry.done():
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLACED_CHECK):
                    await self._look.wait()
            try:
                if self._views is None or await self._views.checkpoint() > self._position:
                    self._replaced = True
                    return
            except Superseded:
                self._replaced = True
                return
            except CimError as error:
                logger.debug("projection %s stays stopped: %s", self._model.name, error)

    async def _wait(self, problem: str) -> None:
        self._state, self._error = RunnerState.WAITING, problem
        self._tell()
        await asyncio.sleep(_RETRY.delay(self._failures, random.random()))  # noqa: S311
        self._failures += 1

    async def _follow(self) -> None:
        """Read until something comes up: the error of whichever of the two ends first."""
        if self._views is None or self._replaced:
            await self.open()
        tasks = [asyncio.create_task(one) for one in (self._read_log(), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _read_log(self) -> None:
        async with aclosing(self._log.follow(self._position)) as slices:
            async for part in slices:
                await self._take_in(part)
                self._failures = 0
                if part.records and self._state is RunnerState.LIVE:
                    await self._rest()

    async def _rest(self) -> None:
        """Let a few events gather, which then are one transaction; not while somebody waits."""
        if self._waiting:
            return
        self._waited_for.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                await self._waited_for.wait()

    async def _watch(self) -> None:
        """Raise `Superseded` when another process has built these views anew."""
        while True:
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLACED_CHECK):
                    await self._look.wait()
            if self._views is not None:
                await self._views.checkpoint()

    async def _take_in(self, part: Slice) -> None:
        views = self._views
        if views is None:
            raise Superseded
        self._head = max(self._head, part.head)
        records = self._unread(part.records)
        while records:
            await self._project(views, records)
            records = self._unread(records)
        behind = self._head > self._position
        if not behind and not views.live:
            await self._switch_to(views)
            self._readable = views.live
        self._state = RunnerState.CATCHING_UP if behind else RunnerState.LIVE
        self._error = None
        self._tell()

    def _tell(self) -> None:
        if self._on_status is not None:
            self._on_status(self.status)

    async def _switch_to(self, views: ViewStore) -> None:
        # What was read without a change counts, too, where it is asked who has read further.
        try:
            await self.save()
        except CheckpointMoved:
            await self._reread_checkpoint(views)
        if await self._database.switch(views):
            self._stand_in = None
            logger.info("projection %s is built; queries read it now", self._model.name)

    def _unread(self, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        if not records or records[0].metadata.sequence > self._position:
            return records
        return [one for one in records if one.metadata.sequence > self._position]

    async def _project(self, views: ViewStore, records: Sequence[EventRecord]) -> None:
        """Take in records as one transaction: all of them, or those before one that cannot be."""
        steps, poison = self._read(records)
        try:
            poison = await self._change_views(views, records, steps, poison)
        except CheckpointMoved:
            # Another instance was quicker with some of these: go on from where it is.
            await self._reread_checkpoint(views)
            return
        except Exception as error:
            if isinstance(error, CimError) and not _is_unfit(error):
                raise
            if len(records) > 1:
                # Which event it is shows when fewer are taken at once.
                await self._project(views, records[: len(records) // 2])
                return
            poison = _Poison(records[0], _cannot_project(self._model, records[0], error))
        self._move_to(_end(records, poison))
        if poison:
            await self._bury(poison)
            await self._skip(views, poison)

    async def _change_views(
        self,
        views: ViewStore,
        records: Sequence[EventRecord],
        steps: Sequence[Step],
        poison: _Poison | None,
    ) -> _Poison | None:
        """Store what the steps change; gives the first event that cannot be projected."""
        batch = Batch(await rows_of(views, steps))
        for step in steps:
            try:
                batch.apply(step)
            except Exception as error:  # noqa: BLE001 - the model's mistake, at this event alone
                poison = _Poison(step.record, _cannot_project(self._model, step.record, error))
                break
        changes, end = batch.changes(), _end(records, poison)
        if changes or end - self._checkpoint >= IDLE_CHECKPOINT:
            await self._commit(views, changes, end)
        return poison

    def _read(self, records: Sequence[EventRecord]) -> tuple[list[Step], _Poison | None]:
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
                return steps, _Poison(record, error)
            except Exception as error:  # noqa: BLE001 - a key function's mistake, at this event
                return steps, _Poison(record, _cannot_project(self._model, record, error))
        return steps, None

    async def _commit(self, views: ViewStore, changes: Sequence[Change], end: int) -> None:
        await views.commit(changes, expected=self._checkpoint, checkpoint=end)
        self._checkpoint = end

    async def _reread_checkpoint(self, views: ViewStore) -> None:
        self._checkpoint = await views.checkpoint()
        self._move_to(self._checkpoint)

    async def _bury(self, poison: _Poison) -> None:
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
        if self._stopped_at != metadata.sequence:
            await self._dead_letters.put(letter)
        if self._on_poison is OnPoison.STOP:
            raise poison

    async def _skip(self, views: ViewStore, poison: _Poison) -> None:
        sequence = poison.record.metadata.sequence
        try:
            await views.skip(sequence, expected=self._checkpoint)
        except CheckpointMoved:
            await self._reread_checkpoint(views)
            return
        self._checkpoint = sequence
        self._move_to(sequence)
        logger.error("projection %s skips: %s", self._model.name, poison.error.message)

    def _move_to(self, position: int) -> None:
        self._position = max(self._position, position)
        if self._stopped_at is not None and self._stopped_at <= self._position:
            self._stopped_at = None
        for sequence, arrived in self._waiting:
            if sequence <= self._position and not arrived.done():
                arrived.set_result(None)


def _end(records: Sequence[EventRecord], poison: _Poison | None) -> int:
    """The sequence of the last event that is taken in."""
    return poison.record.metadata.sequence - 1 if poison else records[-1].metadata.sequence


def _is_unfit(error: CimError) -> bool:
    """Whether views refuse a value, and will whenever it comes again."""
    return isinstance(error, Failed) and error.code == UNFIT


def _cannot_project(model: ProjectionModel, record: EventRecord, error: Exception) -> Failed:
    metadata = record.metadata
    logger.error("projection %s failed", model.name, exc_info=error)
    return Failed(
        f"{metadata.message_type} (sequence {metadata.sequence}) cannot be projected by"
        f" {model.name}: {type(error).__name__}",
        code="cannot_project",
        details={"type": metadata.message_type, "sequence": metadata.sequence},
    )

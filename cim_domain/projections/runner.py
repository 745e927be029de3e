"""Running a projection: from the log into its views, in order, from its checkpoint on.

A slice of the log becomes one transaction: the changed views and the new checkpoint. A crash
between any two steps repeats nothing and drops nothing.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from cim_domain.backoff import Backoff
from cim_domain.dead_letters import DeadLetters
from cim_domain.errors import CimError, Failed, RequestError, Unavailable
from cim_domain.model.domain import Domain
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.subjects import Subjects
from cim_domain.model.view import Views
from cim_domain.projections.coalescing import TOGETHER, coalesced
from cim_domain.projections.progress import Progress
from cim_domain.projections.reader import ReadableViews, Reading
from cim_domain.projections.standstill import Standstill
from cim_domain.projections.status import OnPoison, ProjectionStatus, RunnerState
from cim_domain.projections.writer import IDLE_CHECKPOINT, Poison, ViewWriter
from cim_domain.store.port import CORRUPT_HISTORY, Log, Slice
from cim_domain.views.port import Checkpoint, CheckpointMoved, Superseded, ViewDatabase, ViewStore

__all__ = ["IDLE_CHECKPOINT", "OnPoison", "ProjectionRunner", "ProjectionStatus", "RunnerState"]

logger = logging.getLogger("cim_domain.projections")

REST = 0.01
"""Seconds between the transactions of a projection that is up to date, unless a query waits."""

REST_AN_EVENT = 0.001
"""More seconds of rest for each event that came: the more come, the more become one transaction."""

LONGEST_REST = 0.1
"""Seconds that a projection rests at most."""

BUILT_TOGETHER = 4000
"""Events of one transaction where views are built and nothing else is done beside it."""

LOOK_EVERY = 0.5
"""Seconds between looks at the views, also where nothing comes: whether others have taken their
place, or have moved them, and whether it is to be stored how far they are read."""

STOPPING = 5.0
"""Seconds for what is under way when it is to stop, and for storing the checkpoint then."""

_NOT_THE_LOG = ("other_log", "another_log", "log_missing")
"""The codes of the errors that say that what is at hand is not the log of these views."""

_RETRY = Backoff(first_delay=0.1, ceiling=5)


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
        self._model = model
        self._log = log
        self._database = database
        self._on_status = on_status
        self._progress = Progress(model.name)
        self._readable = ReadableViews(model, database, self._progress)
        self._writer = ViewWriter(domain, model, dead_letters, subjects, on_poison, self._progress)
        self._standstill = Standstill(model.name)
        self._goal = 0
        """Where the log ended when these views were opened."""
        self._settled = False
        """Whether the database knows that these views have been read so far."""
        self._replaced = True
        self._opened = asyncio.Event()
        self._wake = asyncio.Event()
        self._ending = False
        self._state = RunnerState.STARTING
        self._error: str | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> ProjectionStatus:
        """How it fares now."""
        views, reads = self._readable.writes, self._readable.reads
        return ProjectionStatus(
            name=self._model.name,
            version=self._model.version,
            generation=views.generation if views else 0,
            state=self._state,
            position=self._progress.position,
            head=self._progress.head,
            error=self._error,
            answers_from=reads.generation if reads else None,
        )

    @property
    def position(self) -> int:
        """The sequence of the last event that the views have taken in."""
        return self._progress.position

    @property
    def readable(self) -> bool:
        """Whether queries have views to read: these, or those of the version before."""
        return self._readable.reads is not None and self._readable.refusal is None

    def reader(self, organization_id: str | None) -> Views:
        """The views as queries may read them.

        Raises `Unavailable` (``rebuilding``) while they are being built for this version.
        """
        return self._readable.reader(organization_id)

    async def reading(
        self, organization_id: str | None, min_sequence: int = 0, seconds: float = 0
    ) -> Reading:
        """What a query reads, once the event at `min_sequence` is in there.

        While the views are being built for this version, those of the version before are read if
        they have the same layout. Raises `Unavailable`: ``rebuilding`` where there are none,
        ``behind`` where it takes longer than `seconds`.
        """
        return await self._readable.reading(organization_id, min_sequence, seconds)

    async def reached(self, sequence: int, seconds: float) -> None:
        """Wait until the views have taken in the event at `sequence`.

        Raises `Unavailable` (``behind``) when that takes longer than `seconds`.
        """
        await self._progress.reached(sequence, seconds)

    async def reopened(self, seconds: float) -> bool:
        """Look at once whether other views have taken the place of these; whether it has them."""
        if self._readable.reads is not None and not self._readable.own:
            # Whether it is still the one to read is looked up at every reading.
            return True
        opened = self._opened
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                await opened.wait()
        except TimeoutError:
            return False
        return True

    async def open(self) -> None:
        """Open the views. Raises `ConfigurationError` and `Unavailable`."""
        while True:
            views = await self._database.open(self._model)
            checkpoint = await views.checkpoint()
            if await self._is_in_log(checkpoint):
                break
            logger.warning(
                "projection %s: its views have read events that are not in the log, which was"
                " brought back from an older copy; they are built anew",
                self._model.name,
            )
            await self._database.abandon(views)
        await self._begin(views, checkpoint, await self._stand_in(views))
        self._replaced = False
        self._opened.set()
        self._opened = asyncio.Event()

    def start(self) -> None:
        """Run in the background until `stop`; where an event stops it, wait there to go on."""
        self._ending = False
        self._task = asyncio.create_task(self._stay_running())

    async def stop(self) -> None:
        """End what `start` began, between two transactions, and store the checkpoint."""
        self._ending = True
        self._wake.set()
        if self._task is not None:
            task, self._task = self._task, None
            try:
                await asyncio.wait([task], timeout=STOPPING)
            finally:
                # Only where the log, the views or the dead letters do not answer.
                task.cancel()
            await asyncio.wait([task])
        try:
            async with asyncio.timeout(STOPPING):
                await self.save()
        except (Unavailable, CheckpointMoved, Superseded, TimeoutError) as error:
            # No more than what was read since is read again.
            logger.info("the checkpoint of %s was not stored: %s", self._model.name, error)

    async def retry(self, sequence: int, seconds: float) -> None:
        """Go on from the event at which it is stopped, now that this may be possible.

        Raises the error that stops it there again; `Failed` (``stopped_before``) while it is
        stopped at an earlier one; `Unavailable` (``behind``) where it does not come to it in time.
        """
        self._wake.set()
        await self._standstill.retry(sequence, self.reached(sequence, seconds))

    async def has_skipped(self, sequence: int) -> bool:
        """Whether the views that queries read were moved over an event without it.

        Raises `Unavailable` (``rebuilding``) while they are being built or replaced.
        """
        if self._readable.reads is not None and self._readable.own:
            try:
                return await self._readable.reads.has_skipped(sequence)
            except Superseded:
                self._wake.set()
        raise Unavailable(f"the views of {self._model.name} are being built", code="rebuilding")

    async def run(self) -> None:
        """Read the log into the views until `stop`, or until an event stops it."""
        self._standstill.go_on()
        while not self._ending:
            try:
                await self._follow()
            except Superseded as error:
                # Queries go on with the views there are until others are open.
                logger.info("projection %s: %s", self._model.name, error)
                self._replaced = True
            except RequestError as error:
                level = logging.DEBUG if error.message == self._error else logging.WARNING
                logger.log(level, "projection %s waits: %s", self._model.name, error.message)
                if error.code in _NOT_THE_LOG:
                    self._readable.refusal = error
                await self._wait(error.message)
            except Poison as poison:
                self._state, self._error = RunnerState.STOPPED, poison.error.message
                logger.error("projection %s stops: %s", self._model.name, self._error)  # noqa: TRY400
                self._tell()
                self._standstill.stop(poison.record.metadata.sequence, poison.error)
                return
            except Exception as error:
                logger.exception("projection %s failed", self._model.name)
                await self._wait(f"running it failed: {type(error).__name__}")

    async def build(self, views: ViewStore) -> AsyncGenerator[ProjectionStatus, None]:
        """Read the log into views that are being built, until they are the live ones.

        Gives the status after each step. Not for a runner that runs. Raises `Superseded` where
        somebody else began to build them anew, and the error of an event that cannot be projected.
        """
        await self._begin(views, await views.checkpoint(), None)
        try:
            async with aclosing(self._steps(BUILT_TOGETHER)) as steps:
                async for _ in steps:
                    yield self.status
                    if self._readable.own:
                        return
        except Poison as poison:
            raise poison.error from poison

    async def save(self) -> None:
        """Store the checkpoint, where it has moved over events that changed no view."""
        if self._readable.writes is not None:
            await self._writer.save(self._readable.writes)

    async def _stand_in(self, views: ViewStore) -> ViewStore | None:
        """Those that queries read meanwhile, where these are being built."""
        found = None if views.live else await self._database.stand_in(self._model)
        if found is None or not await self._is_in_log(await found.checkpoint()):
            return None
        return found

    async def _is_in_log(self, checkpoint: Checkpoint) -> bool:
        """Whether the log has the last event that views have taken in, at its place."""
        sequence, event_id = checkpoint
        try:
            return sequence == 0 or await self._log.event_at(sequence) == event_id
        except Failed as error:
            # The log has lost it, and the views may be all that is left of it.
            return error.code == CORRUPT_HISTORY

    async def _begin(
        self, views: ViewStore, checkpoint: Checkpoint, stand_in: ViewStore | None
    ) -> None:
        complete = views.complete
        # That the log goes as far as complete views do was looked at.
        head = checkpoint.sequence
        if not complete:
            head = await self._end_of_log(checkpoint.sequence)
        # At once, so that no query meets views with the position of others.
        self._readable.open(views, views if complete else stand_in)
        self._writer.start_at(checkpoint)
        self._progress.see(head)
        self._goal, self._settled = head, complete
        if views.live:
            await self._complete(views)

    async def _end_of_log(self, after: int) -> int:
        async with aclosing(self._log.follow(after)) as slices:
            return (await anext(slices)).head

    async def _stay_running(self) -> None:
        while not self._ending:
            await self.run()
            await self._stay_stopped()

    async def _stay_stopped(self) -> None:
        """Return when it is asked to try again, or when others have gone on with these views."""
        views = self._readable.writes
        while not (self._ending or self._standstill.asked):
            await self._woken(LOOK_EVERY)
            try:
                stored = 0 if views is None else (await views.checkpoint()).sequence
            except Superseded:
                self._replaced = True
            except CimError as error:
                logger.debug("projection %s stays stopped: %s", self._model.name, error)
                continue
            else:
                self._replaced = not self._writer.checkpoint <= stored <= self._progress.position
            if self._replaced:
                return

    async def _woken(self, seconds: float) -> None:
        """Return after so long, or when there is reason to look."""
        if not self._ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            self._wake.clear()

    async def _wait(self, problem: str) -> None:
        self._state, self._error = RunnerState.WAITING, problem
        self._tell()
        await self._woken(_RETRY.delay(self._failures, random.random()))  # noqa: S311
        self._failures += 1

    async def _follow(self) -> None:
        """Read until something comes up, or until it is to end."""
        if self._replaced:
            await self.open()
        async with aclosing(self._steps(TOGETHER)) as steps:
            async for part in steps:
                if self._ending:
                    return
                if part.records and self._state is RunnerState.LIVE:
                    # Events gather, which then are one transaction.
                    await self._progress.rest(rest_after(len(part.records)))

    async def _steps(self, together: int) -> AsyncGenerator[Slice, None]:
        """Take in one slice of the log after another; an empty one is reason to look around."""
        views = self._readable.writes
        if views is None:
            raise Superseded
        clock = asyncio.get_running_loop().time
        looked = clock()
        async with (
            aclosing(self._log.follow(self._progress.position)) as slices,
            aclosing(coalesced(slices, together, wake=self._wake, idle=LOOK_EVERY)) as larger,
        ):
            async for part in larger:
                self._progress.see(part.head)
                if part.records:
                    self._progress.see(part.records[-1].metadata.sequence)
                    await self._writer.take_in(views, part.records)
                if not part.records or clock() >= looked + LOOK_EVERY:
                    await self._writer.look(views)
                    looked = clock()
                await self._complete(views)
                self._readable.refusal = None
                behind = self._progress.behind
                if part.records or self._state is not RunnerState.WAITING or not behind:
                    # That it can be read tells nothing yet of what was in the way.
                    self._failures, self._error = 0, None
                    self._state = RunnerState.CATCHING_UP if behind else RunnerState.LIVE
                self._tell()
                yield part

    async def _complete(self, views: ViewStore) -> None:
        """Have queries read these views once they have read enough of the log.

        That is where the log ended when they were opened, for want of others to read; beside live
        ones, all of it.
        """
        enough = self._goal if views.live else self._progress.head
        if self._settled or self._progress.position < enough:
            return
        if views.live:
            # Now, so that whoever has waited for the last of these events can read it.
            self._readable.complete()
        # What was read without a change counts, too, where it is asked who has read further.
        try:
            await self.save()
        except CheckpointMoved:
            await self._writer.reread_checkpoint(views)
        if await self._database.switch(views):
            self._readable.complete()
            self._settled = True
            logger.info("projection %s is built; queries read it now", self._model.name)

    def _tell(self) -> None:
        if self._on_status is not None:
            self._on_status(self.status)


def rest_after(events: int) -> float:
    """Seconds for which a projection that is up to date rests when so many events had come."""
    return min(REST + REST_AN_EVENT * (events - 1), LONGEST_REST)

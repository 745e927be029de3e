"""Running a projection: from the log into its views, in order, from its checkpoint on.

A slice of the log becomes one transaction: the changed views and the new checkpoint. A crash
between any two steps repeats nothing and drops nothing.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

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
from cim_domain.projections.status import OnPoison, ProjectionStatus, RunnerState
from cim_domain.projections.writer import IDLE_CHECKPOINT, Poison, ViewWriter
from cim_domain.store.port import Log, Slice
from cim_domain.views.port import CheckpointMoved, Superseded, ViewDatabase, ViewStore

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

REPLACED_CHECK = 1.0
"""Seconds between looks whether another process has put other views in the place of these."""

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
        self._replaced = False
        self._opened = asyncio.Event()
        self._look = asyncio.Event()
        self._state = RunnerState.STARTING
        self._error: str | None = None
        self._failures = 0
        self._retry: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> ProjectionStatus:
        """How it fares now."""
        return ProjectionStatus(
            name=self._model.name,
            version=self._model.version,
            generation=self._readable.views.generation if self._readable.views else 0,
            state=self._state,
            position=self._progress.position,
            head=self._progress.head,
            error=self._error,
            answers_from=self._readable.generation,
        )

    @property
    def position(self) -> int:
        """The sequence of the last event that the views have taken in."""
        return self._progress.position

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
        if self._readable.stood_in_for:
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
        # At once, so that no query meets views with the position of others.
        self._readable.open(views, stand_in)
        self._replaced = False
        self._writer.start_at(checkpoint)
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
        stopped_at = self._writer.stopped_at
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
        if self._readable.views is not None and self._readable.views.live:
            try:
                return await self._readable.views.has_skipped(sequence)
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
            except Poison as poison:
                self._state, self._error = RunnerState.STOPPED, poison.error.message
                self._writer.stopped_at = poison.record.metadata.sequence
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
        self._readable.open(views, stand_in=None)
        await self._writer.reread_checkpoint(views)
        async with self._slices(BUILT_TOGETHER) as slices:
            async for part in slices:
                try:
                    await self._take_in(part)
                except Poison as poison:
                    raise poison.error from poison
                yield self.status
                if views.live:
                    return

    async def save(self) -> None:
        """Store the checkpoint, where it has moved over events that changed no view."""
        if self._readable.views is not None:
            await self._writer.save(self._readable.views)

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
                if (
                    self._readable.views is None
                    or await self._readable.views.checkpoint() > self._progress.position
                ):
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
        if self._readable.views is None or self._replaced:
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
        async with self._slices(TOGETHER) as slices:
            async for part in slices:
                await self._take_in(part)
                self._failures = 0
                if part.records and self._state is RunnerState.LIVE:
                    # Events gather, which then are one transaction.
                    await self._progress.rest(rest_after(len(part.records)))

    @asynccontextmanager
    async def _slices(self, together: int) -> AsyncIterator[AsyncGenerator[Slice, None]]:
        async with (
            aclosing(self._log.follow(self._progress.position)) as slices,
            aclosing(coalesced(slices, together)) as larger,
        ):
            yield larger

    async def _watch(self) -> None:
        """Raise `Superseded` when another process has built these views anew."""
        while True:
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLACED_CHECK):
                    await self._look.wait()
            if self._readable.views is not None:
                await self._readable.views.checkpoint()

    async def _take_in(self, part: Slice) -> None:
        views = self._readable.views
        if views is None:
            raise Superseded
        self._progress.see(part.head)
        await self._writer.take_in(views, part.records)
        behind = self._progress.behind
        if not behind and not views.live:
            await self._switch_to(views)
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
            await self._writer.reread_checkpoint(views)
        switched = await self._database.switch(views)
        self._readable.switch(views, switched=switched)
        if switched:
            logger.info("projection %s is built; queries read it now", self._model.name)


def rest_after(events: int) -> float:
    """Seconds for which a projection that is up to date rests when so many events had come."""
    return min(REST + REST_AN_EVENT * (events - 1), LONGEST_REST)

"""How each kind of consumer handles a dead letter that is replayed.

What came from the log is read from there again, whole and as it is: the letter only says where.
"""

import asyncio
from contextlib import aclosing
from uuid import uuid5

from attrs import field, frozen

from cim_domain.command_queue.worker import QueueWorker, is_final
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.endpoints.commands import CommandHandler
from cim_domain.endpoints.replay_routing import Settled
from cim_domain.errors import Failed, Unavailable
from cim_domain.identity import NAMESPACE
from cim_domain.model.domain import Domain
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.records import EventRecord
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.nats.jetstream.subscriber import Received
from cim_domain.nats.services.responder import Request
from cim_domain.processes.runner import ProcessRunner
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.projections.status import OnPoison
from cim_domain.store.port import Log
from cim_domain.views.port import Superseded, ViewDatabase
from cim_domain.wire.codec import EVENT_ID, read_event

PATIENCE = 30.0
"""Seconds that a projection may take from the event at which it was stopped to the one behind."""

REOPENING = 5.0
"""Seconds that it may take until queries read views that have been built anew."""


@frozen
class CommandReplay:
    """Carries out a command that nobody waited for, under the id that it had."""

    _subjects: Subjects
    _handler: CommandHandler

    async def __call__(self, letter: StoredLetter) -> Settled:
        """See `cim_domain.endpoints.replay_routing.Replay`."""
        found = _whole(letter)
        _require_subject(found.subject, self._subjects.commands)
        made_id = uuid5(NAMESPACE, f"{letter.letter.consumer} {letter.sequence} {letter.time}")
        request = Request(found.subject, found.headers, found.data, "")
        outcome = await self._handler.carry_out(request, lambda: str(made_id))
        if outcome.error is not None and not is_final(outcome.error):
            raise outcome.error
        return Settled.by(outcome)


@frozen
class SubmissionReplay:
    """Carries out a command that was stored first."""

    _subjects: Subjects
    _runner: QueueWorker

    async def __call__(self, letter: StoredLetter) -> Settled:
        """See `cim_domain.endpoints.replay_routing.Replay`."""
        found = _whole(letter)
        _require_subject(found.subject, self._subjects.submissions)
        received = Received(
            found.subject, found.headers, found.data, found.sequence, found.deliveries + 1
        )
        return Settled.by(await self._runner.replay(received))


@frozen
class ProcessReplay:
    """Has a process react. Its commands have the ids that they always have for that event."""

    _link: Link
    _subjects: Subjects
    _runner: ProcessRunner

    async def __call__(self, letter: StoredLetter) -> Settled:
        """See `cim_domain.endpoints.replay_routing.Replay`."""
        await self._runner.replay(await _event(self._link, self._subjects, letter.letter))
        return Settled()


@frozen
class ProjectionReplay:
    """Has a projection take in an event, in its place between the others.

    One that is stopped there tries again and goes on. One that has gone past it is built anew,
    beside the views in use: to apply the event behind those that came after it would make views
    that no reading of the log gives.
    """

    _domain: Domain
    _model: ProjectionModel
    _runner: ProjectionRunner
    _log: Log
    _database: ViewDatabase
    _letters: DeadLetters
    _subjects: Subjects
    _on_poison: OnPoison
    _one_at_a_time: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _closing: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def __call__(self, letter: StoredLetter) -> Settled:
        """See `cim_domain.endpoints.replay_routing.Replay`."""
        sequence = letter.letter.sequence
        event_id = await self._log.event_at(sequence)
        if event_id is None or event_id != letter.letter.headers.get(EVENT_ID, event_id):
            raise _gone(self._subjects, letter.letter)
        async with self._one_at_a_time:
            if self._runner.position < sequence:
                await self._runner.retry(sequence, PATIENCE)
                if not await self._runner.has_skipped(sequence):
                    return Settled()
            elif not await self._runner.has_skipped(sequence):
                return Settled("handled_before", "the views have taken the event in")
            await self._rebuild(sequence)
        return Settled()

    def close(self) -> None:
        """Give up building views, which may take long; those in use stay."""
        self._closing.set()

    async def _rebuild(self, sequence: int) -> None:
        views = await self._database.rebuild(self._model)
        letters = _LettersOfRebuild(self._letters, self._runner, sequence, self._on_poison)
        builder = ProjectionRunner(
            self._domain, self._model, self._log, self._database, letters, self._subjects,
            OnPoison.SKIP,
        )  # fmt: skip
        try:
            async with aclosing(builder.build(views)) as steps:
                async for _ in steps:
                    if self._closing.is_set():
                        raise Unavailable("the service is stopping", code="stopping")
        except Superseded as error:
            raise Unavailable(
                f"somebody else is building the views of {self._model.name} anew: replay it again",
                code="rebuilding",
            ) from error
        await self._runner.reopened(REOPENING)


@frozen
class _LettersOfRebuild:
    """Where a rebuild puts its dead letters: those that are not there from the first time."""

    _letters: DeadLetters
    _runner: ProjectionRunner
    _wanted: int
    _on_poison: OnPoison

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter. Raises the error in the one whose event is to be taken in now."""
        wanted = letter.sequence == self._wanted
        if not wanted and await self._runner.has_skipped(letter.sequence):
            return
        if wanted or self._on_poison is OnPoison.STOP:
            raise Failed(letter.reason, code=letter.code)
        await self._letters.put(letter)

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return await self._letters.count()


def _whole(letter: StoredLetter) -> DeadLetter:
    if letter.cut_from is not None:
        raise Failed(
            f"letter {letter.sequence} holds {len(letter.letter.data)} of the {letter.cut_from}"
            " bytes of its message, for which there was no room: send it again from where it came",
            code="letter_cut",
            details={"kept": len(letter.letter.data), "bytes": letter.cut_from},
        )
    if letter.headers_cut_from is not None:
        raise Failed(
            f"letter {letter.sequence} does not hold the headers of its message, for whose"
            f" {letter.headers_cut_from} bytes there was no room: send it again from where it came",
            code="letter_cut",
            details={"headers": letter.headers_cut_from},
        )
    return letter.letter


def _require_subject(subject: str, pattern: str) -> None:
    if not subject.startswith(pattern.removesuffix(">")):
        raise Failed(f"the letter's message did not come on {pattern}", code="bad_letter")


async def _event(link: Link, subjects: Subjects, letter: DeadLetter) -> EventRecord:
    """The event of a letter as the log has it. Raises `Failed` where the log has another one."""
    found = await message_at(link.requests, subjects.event_stream, letter.sequence)
    wanted = letter.headers.get(EVENT_ID)
    if (
        found is None
        or found.subject != letter.subject
        or (wanted and found.headers.get(EVENT_ID) != wanted)
    ):
        raise _gone(subjects, letter)
    return read_event(found.subject, found.headers, found.data, found.sequence, subjects.service)


def _gone(subjects: Subjects, letter: DeadLetter) -> Failed:
    return Failed(
        f"the event of the letter, {letter.sequence}, is not in {subjects.event_stream}: the log is"
        " not the one that it came from",
        code="event_gone",
    )

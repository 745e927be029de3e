"""Carrying out commands: load the aggregate, decide, append, and again when others were quicker.

Commands to one aggregate wait in its lane: those that wait together are decided one after another
and committed together. Different aggregates run side by side.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence

from cim_domain.commands.decisions import CommandRequest, Decision, Rules, decide_run, logger
from cim_domain.commands.idempotency import (
    IdempotencyStore,
    find_answers,
    keep_answers,
    take_back,
)
from cim_domain.commands.lanes import Deadlines, Lane, Work
from cim_domain.commands.repository import LoadedAggregate, Repository
from cim_domain.commands.results import Answer, id_taken, outcome_of
from cim_domain.errors import Busy, Conflict, Failed, RequestError, Unavailable
from cim_domain.model.aggregate import AggregateModel
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock, utc_now
from cim_domain.store.port import Commit, EventStore, Position, StoreConflict
from cim_domain.wire.outcome import Basis, Outcome

ATTEMPTS = 12
"""So often a decision is taken anew because another instance was quicker, then it is a conflict."""

_PAUSE = 0.02


class Executor:
    """Carries out the commands of a domain.

    `limit` is how many may be waiting or being carried out, whether or not anybody waits for them;
    past it they are answered `busy` at once. Each is answered within `patience` seconds. Without
    `refusals`, a command that left no trace in the log is decided anew when it comes again; what is
    kept names the log by its identity, `log_id`.
    """

    def __init__(
        self,
        domain: Domain,
        store: EventStore,
        repository: Repository,
        *,
        source: str,
        clock: Clock = utc_now,
        limit: int = 2000,
        patience: float = 12.0,
        refusals: IdempotencyStore | None = None,
        log_id: str | None = None,
    ) -> None:
        self._domain = domain
        self._store = store
        self._repository = repository
        self._source = source
        self._clock = clock
        self._limit = limit
        self._patience = patience
        self._refusals = refusals
        self._log_id = log_id
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._rules: dict[str, Rules] = {}
        self._deadlines = Deadlines()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """How many commands are waiting or being carried out."""
        return self._in_flight

    async def execute(self, request: CommandRequest) -> Outcome:
        """Carry out a command whose metadata name its aggregate's id.

        Raises nothing: what goes wrong is in the outcome.
        """
        if self._in_flight >= self._limit:
            busy = Busy(f"{self._in_flight} commands are in flight; send it again later")
            return Outcome.refused(busy, request.metadata)
        loop = asyncio.get_running_loop()
        work = Work(request, loop.create_future(), loop.time() + self._patience)
        lane = self._lane_of(request)
        lane.waiting.append(work)
        lane.size += 1
        self._in_flight += 1
        if lane.task is None:
            lane.task = loop.create_task(self._work_off(lane))
        self._deadlines.add(work)
        try:
            return await work.outcome
        finally:
            self._deadlines.remove(work)

    async def first_outcome(self, request: CommandRequest) -> Outcome | None:
        """What came of a command when it was carried out before; None: that is not known.

        Looked up in the log and in what is kept, whatever is in memory. Raises `RequestError`.
        """
        model = self._domain.aggregate_of(type(request.command))
        aggregate_id = request.metadata.aggregate_id or ""
        known = LoadedAggregate(model.initial)
        known = await self._repository.reload(model, aggregate_id, known)
        answers = await find_answers(self._store, self._refusals, known, [request], {}, ())
        answer = answers.get(request.metadata.message_id)
        return None if answer is None else answer.to(request)

    async def idle(self) -> None:
        """Wait until no command is waiting or being carried out."""
        while self._lanes:
            await asyncio.wait([lane.task for lane in self._lanes.values() if lane.task])

    def _lane_of(self, request: CommandRequest) -> Lane:
        model = self._domain.aggregate_of(type(request.command))
        aggregate_id = request.metadata.aggregate_id or ""
        name = (model.name, aggregate_id)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(self._rules_of(model), aggregate_id)
        return lane

    def _rules_of(self, model: AggregateModel) -> Rules:
        rules = self._rules.get(model.name)
        # The server may be another one by now.
        if rules is None or rules.limits is not self._store.limits:
            rules = Rules(model, self._clock, self._store.limits, self._source)
            self._rules[model.name] = rules
        return rules

    async def _work_off(self, lane: Lane) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while lane.waiting:
                if works := lane.next_run(clock()):
                    left = await self._answer_run(lane, works)
                    lane.waiting.extendleft(reversed(left))
                self._count(lane, len(lane.waiting))
        finally:
            # Whatever happened, the next command to this aggregate begins anew.
            del self._lanes[lane.rules.model.name, lane.aggregate_id]
            self._count(lane, 0)
            _refuse_all(lane.waiting, Unavailable("the service is ending; send it again"))

    def _count(self, lane: Lane, size: int) -> None:
        self._in_flight += size - lane.size
        lane.size = size

    async def _answer_run(self, lane: Lane, works: Sequence[Work]) -> Sequence[Work]:
        """Carry out commands, and answer each of them; gives back those for another run."""
        try:
            return await self._carry_out(lane, works)
        except RequestError as error:
            _refuse_all(works, error)
        except asyncio.CancelledError:
            _refuse_all(
                works,
                Unavailable(
                    "carrying it out was cancelled; whether it had an effect is unknown until it is"
                    " sent again with the same id"
                ),
            )
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody wants this task to end: the model raised it, or the store gave up.
            logger.exception("carrying out %d commands was cancelled", len(works))
        except Exception as error:  # noqa: BLE001 - every request gets a reply
            logger.exception("carrying out %d commands failed", len(works))
            _refuse_all(works, Failed(f"the service failed: {type(error).__name__}"))
        return ()

    async def _carry_out(self, lane: Lane, works: Sequence[Work]) -> Sequence[Work]:
        """Decide, append and answer; gives back the commands that are for another run."""
        model, aggregate_id = lane.rules.model, lane.aggregate_id
        requests = [work.request for work in works]
        answers: Mapping[str, Answer] = {}
        known = await self._repository.load(model, aggregate_id)
        fresh = False
        for attempt in range(ATTEMPTS):
            kept = {work.request.metadata.message_id for work in works if work.kept}
            answers = await find_answers(
                self._store, self._refusals, known, requests, answers, kept
            )
            decisions = decide_run(
                lane.rules, known, requests, answers, kept if self._refusals else None
            )
            records = tuple(event for decision in decisions for event in decision.events)
            elsewhere = False
            if records:
                if told := await self._told_meanwhile(works, decisions):
                    answers = {**answers, **told}
                    continue
                commit = Commit(model.name, aggregate_id, known.position, records)
                try:
                    (position,) = await self._store.append([commit])
                except StoreConflict as conflict:
                    if not conflict.refused and len(requests) == 1:
                        works[0].refuse(id_taken(requests[0]))
                        return works[1:]
                    if not conflict.refused:
                        # An id among these is taken: half of them, until it is found.
                        requests = requests[: len(requests) // 2]
                        continue
                    elsewhere = aggregate_id in conflict.refused
                    await asyncio.sleep(_PAUSE * attempt * random.random())  # noqa: S311
                else:
                    return await self._answer(lane, known, works, decisions, answers, position)
            elif fresh or all(_is_stored(answers, one) for one in decisions):
                return await self._answer(lane, known, works, decisions, answers, known.position)
            # Refused by the log; or nothing is to be stored, and so nothing but a look at the log
            # tells whether what is known of the aggregate is still so.
            before = known.position
            known = await self._repository.reload(model, aggregate_id, known)
            if elsewhere and known.position == before:
                # As many events, and yet others: what was known is of another log.
                known = LoadedAggregate(model.initial)
                known = await self._repository.reload(model, aggregate_id, known)
            fresh = True
        raise Conflict(
            f"others change this {model.name} faster than it can be decided on"
            f" ({ATTEMPTS} attempts): send it again"
        )

    async def _answer(
        self,
        lane: Lane,
        known: LoadedAggregate,
        works: Sequence[Work],
        decisions: Sequence[Decision],
        answers: Mapping[str, Answer],
        last: Position,
    ) -> Sequence[Work]:
        """Take in what was stored, its last event at `last`, and answer each command.

        Gives back the commands that are for another run.
        """
        sequence = last.sequence - sum(len(decision.events) for decision in decisions)
        answers = dict(answers)
        traceless: list[Work] = []
        for work, decision in zip(works, decisions, strict=False):
            for record, state in zip(decision.events, decision.states, strict=True):
                sequence += 1
                known.take_in(state, record.metadata, sequence)
            request = work.request
            command_id = request.metadata.message_id
            if not decision.answered and not decision.first:
                outcome = outcome_of(decision, known.position, self._basis(known))
                kept = work.kept if decision.traceless else None
                answers[command_id] = kept or Answer(outcome, request.digest)
            to_be_kept = (decision.first or decision).traceless and request.repeatable
            if self._refusals and to_be_kept and not work.kept:
                traceless.append(work)
            else:
                work.give(answers[command_id].to(request))
        if known.position.version:
            self._repository.store(lane.rules.model, lane.aggregate_id, known)
        left = works[len(decisions) :]
        if self._refusals and traceless:
            left = [*await self._keep(self._refusals, lane, known, traceless, answers), *left]
        return left

    def _basis(self, known: LoadedAggregate) -> Basis | None:
        if self._log_id is None:
            return None
        return Basis(self._log_id, known.position.sequence, known.last_event)

    async def _keep(
        self,
        refusals: IdempotencyStore,
        lane: Lane,
        known: LoadedAggregate,
        works: Sequence[Work],
        answers: Mapping[str, Answer],
    ) -> Sequence[Work]:
        """Keep what came of commands that left no trace in the log, and answer them then.

        Where the aggregate has moved on meanwhile, another instance may be about to accept a copy
        on what it has become, and has not seen what was kept: they are decided about once more, and
        given back for that. Whoever sees the aggregate as it is now finds what was kept.
        """
        position = known.position
        kept = await keep_answers(
            refusals,
            {
                work.request.metadata.message_id: (
                    work.request,
                    answers[work.request.metadata.message_id].outcome,
                )
                for work in reversed(works)
            },
        )
        known = await self._repository.reload(lane.rules.model, lane.aggregate_id, known)
        again: list[Work] = []
        for work in works:
            answer = kept[work.request.metadata.message_id]
            failed = answer.digest is None
            if failed or known.position == position:
                work.give(answer.to(work.request))
            else:
                work.kept = answer if answer.revision else None
                again.append(work)
        return again

    async def _told_meanwhile(
        self, works: Sequence[Work], decisions: Sequence[Decision]
    ) -> Mapping[str, Answer]:
        """Take back what was kept of commands that are now to have events.

        Gives the answers that could not be, since others may have told them: they count.
        """
        told: dict[str, Answer] = {}
        for work, decision in zip(works, decisions, strict=False):
            if self._refusals and work.kept and decision.events:
                if answer := await take_back(self._refusals, work.request, work.kept):
                    told[work.request.metadata.message_id] = answer
                work.kept = None
        return told


def _is_stored(answers: Mapping[str, Answer], decision: Decision) -> bool:
    return decision.answered and answers[decision.request.metadata.message_id].stored


def _refuse_all(works: Iterable[Work], error: RequestError) -> None:
    for work in works:
        work.refuse(error)

"""Carrying out commands: load the aggregate, decide, append, and again when others were quicker.

Commands to one aggregate wait in its lane: those that wait together are decided one after another
and committed together. Different aggregates run side by side.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field

from cim_domain.commands.decisions import (
    NOTHING_KEPT,
    CommandRequest,
    Decision,
    Rules,
    decide_run,
    logger,
)
from cim_domain.commands.idempotency import IdempotencyStore, find_all, keep_all
from cim_domain.commands.repository import LoadedAggregate, Repository
from cim_domain.commands.results import id_taken, outcome_of
from cim_domain.errors import Busy, Conflict, Failed, RequestError, Unavailable
from cim_domain.model.aggregate import AggregateModel
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock, utc_now
from cim_domain.store.port import Commit, EventStore, Position, StoreConflict
from cim_domain.wire.outcome import Outcome

ATTEMPTS = 12
"""So often a decision is taken anew because another instance was quicker, then it is a conflict."""

RUN = 200
"""So many commands to one aggregate are committed together at most."""

_PAUSE = 0.02


@define
class _Work:
    """A command that waits, and where its outcome is wanted."""

    request: CommandRequest
    outcome: asyncio.Future[Outcome]


@define
class _Lane:
    """The commands that wait for one aggregate, and the task that works them off."""

    rules: Rules
    aggregate_id: str
    waiting: deque[_Work] = field(factory=deque)
    task: asyncio.Task[None] | None = None


class Executor:
    """Carries out the commands of a domain.

    `limit` is how many may be in flight; past it they are answered `busy` at once. Without
    `refusals`, a command that left no trace in the log is decided anew when it comes again.
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
        refusals: IdempotencyStore | None = None,
    ) -> None:
        self._domain = domain
        self._store = store
        self._repository = repository
        self._source = source
        self._clock = clock
        self._limit = limit
        self._refusals = refusals
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._rules: dict[str, Rules] = {}
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
        work = _Work(request, asyncio.get_running_loop().create_future())
        lane = self._lane_of(request)
        lane.waiting.append(work)
        if lane.task is None:
            lane.task = asyncio.create_task(self._work_off(lane))
        self._in_flight += 1
        try:
            return await work.outcome
        finally:
            self._in_flight -= 1

    async def idle(self) -> None:
        """Wait until no command is waiting or being carried out."""
        while self._lanes:
            await asyncio.wait([lane.task for lane in self._lanes.values() if lane.task])

    def _lane_of(self, request: CommandRequest) -> _Lane:
        model = self._domain.aggregate_of(type(request.command))
        aggregate_id = request.metadata.aggregate_id or ""
        name = (model.name, aggregate_id)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(self._rules_of(model), aggregate_id)
        return lane

    def _rules_of(self, model: AggregateModel) -> Rules:
        rules = self._rules.get(model.name)
        # The server may be another one by now.
        if rules is None or rules.limits is not self._store.limits:
            rules = Rules(model, self._clock, self._store.limits, self._source)
            self._rules[model.name] = rules
        return rules

    async def _work_off(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                works = [lane.waiting.popleft() for _ in range(min(RUN, len(lane.waiting)))]
                lane.waiting.extendleft(reversed(await self._answer_run(lane, works)))
        finally:
            # Whatever happened, the next command to this aggregate begins anew.
            del self._lanes[lane.rules.model.name, lane.aggregate_id]
            _answer_all(lane.waiting, Unavailable("the service is ending; send it again"))

    async def _answer_run(self, lane: _Lane, works: Sequence[_Work]) -> Sequence[_Work]:
        """Carry out commands, and answer each of them; gives back those that found no place."""
        try:
            return await self._carry_out(lane, works)
        except RequestError as error:
            _answer_all(works, error)
        except asyncio.CancelledError:
            _answer_all(
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
            _answer_all(works, Failed(f"the service failed: {type(error).__name__}"))
        return ()

    async def _carry_out(self, lane: _Lane, works: Sequence[_Work]) -> Sequence[_Work]:
        """Decide, append and answer; gives back the commands that found no place in the commit."""
        rules, aggregate_id = lane.rules, lane.aggregate_id
        requests = [work.request for work in works]
        known = await self._repository.load(rules.model, aggregate_id)
        fresh = False
        kept = NOTHING_KEPT
        for attempt in range(ATTEMPTS):
            if any(known.commands.may_have_forgotten(one.metadata.message_id) for one in requests):
                known = await self._repository.load_whole(rules.model, aggregate_id)
            kept = await find_all(self._refusals, known, requests, kept)
            verdicts = decide_run(rules, known, requests, kept)
            records = tuple(event for verdict in verdicts for event in verdict.events)
            if records:
                commit = Commit(rules.model.name, aggregate_id, known.position, records)
                try:
                    (position,) = await self._store.append([commit])
                except StoreConflict as conflict:
                    if not conflict.refused and fresh:
                        # Nobody was quicker: an id among these is taken in another aggregate.
                        if len(requests) == 1:
                            _answer_all(works[:1], id_taken(requests[0]))
                            return works[1:]
                        requests = requests[:1]
                    await asyncio.sleep(_PAUSE * attempt * random.random())  # noqa: S311
                else:
                    await self._answer(lane, known, works, verdicts, position)
                    return works[len(verdicts) :]
            elif fresh:
                await self._answer(lane, known, works, verdicts, known.position)
                return works[len(verdicts) :]
            # Refused by the log; or nothing is to be stored, and so nothing but a look at the log
            # tells whether what is known of the aggregate is still so.
            known = await self._repository.reload(rules.model, aggregate_id, known)
            fresh = True
        raise Conflict(
            f"others change this {rules.model.name} faster than it can be decided on"
            f" ({ATTEMPTS} attempts): send it again"
        )

    async def _answer(
        self,
        lane: _Lane,
        known: LoadedAggregate,
        works: Sequence[_Work],
        verdicts: Sequence[Decision],
        last: Position,
    ) -> None:
        """Take in what was stored, its last event at `last`, and answer each command."""
        sequence = last.sequence - sum(len(verdict.events) for verdict in verdicts)
        traceless: list[tuple[_Work, Outcome]] = []
        for work, verdict in zip(works, verdicts, strict=False):
            for record, state in zip(verdict.events, verdict.states, strict=True):
                sequence += 1
                known.take_in(state, record.metadata, sequence)
            outcome = outcome_of(verdict, known)
            original = verdict.first or verdict
            if self._refusals and original.traceless and original.request.repeatable:
                traceless.append((work, outcome))
            else:
                _give(work, outcome)
        known.commands.keep_recent()
        if known.position.version:
            self._repository.store(lane.rules.model, lane.aggregate_id, known)
        if self._refusals and traceless:
            await self._keep(self._refusals, lane, known, traceless)

    async def _keep(
        self,
        refusals: IdempotencyStore,
        lane: _Lane,
        known: LoadedAggregate,
        traceless: Sequence[tuple[_Work, Outcome]],
    ) -> None:
        """Keep what came of commands that left no trace in the log, and answer them then."""
        model = lane.rules.model
        kept = await keep_all(refusals, [(work.request, outcome) for work, outcome in traceless])
        # Another instance may have accepted a copy in the meantime, and what the log has counts.
        known = await self._repository.reload(model, lane.aggregate_id, known)
        if any(map(known.commands.may_have_forgotten, kept)):
            known = await self._repository.load_whole(model, lane.aggregate_id)
        for work, _ in traceless:
            command_id = work.request.metadata.message_id
            done = known.commands.get(command_id)
            verdict = Decision(request=work.request, done=done, kept=kept[command_id])
            _give(work, outcome_of(verdict, known))


def _answer_all(works: Iterable[_Work], error: RequestError) -> None:
    for work in works:
        _give(work, Outcome.refused(error, work.request.metadata))


def _give(work: _Work, outcome: Outcome) -> None:
    # Whoever asked may have given up; the command was carried out all the same.
    if not work.outcome.done():
        work.outcome.set_result(outcome)

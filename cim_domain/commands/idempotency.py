"""What a command was answered when it came before: as the log tells, or as it was kept.

Of a command that led to events the log has these, and they tell what it was answered. Of others,
refused or accepted without events, nothing does: so it is kept what they were answered, by the id
of the command and the organization that it is of. The first that is kept is what counts, unless the
log comes to have the command after all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Container, Mapping, Sequence
from typing import Protocol

from attrs import evolve

from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.processed_commands import Place
from cim_domain.commands.repository import LoadedAggregate
from cim_domain.commands.results import Answer
from cim_domain.errors import RequestError
from cim_domain.model.metadata import Metadata
from cim_domain.model.records import EventRecord
from cim_domain.store.port import EventStore
from cim_domain.wire.command_status import status_key
from cim_domain.wire.outcome import Basis, EventReference, Outcome

KEPT = 1_000_000
"""So many are kept at most; the oldest go first."""

LARGEST = 16 * 1024
"""Bytes of one reply, as it is kept. Of a larger one the reason is shortened."""


class IdempotencyStore(Protocol):
    """Keeps answers of which the log does not tell. `command` is a command's metadata."""

    def may_have(self, command: Metadata) -> bool:
        """Whether one may be kept of the command; of most that come for the first time: no."""

    async def find(self, command: Metadata) -> Answer | None:
        """What the command was answered, if that is kept; from now on nobody takes it back.

        Raises `Busy`, `Unavailable` and `Failed`.
        """

    async def keep(self, command: Metadata, answer: Answer) -> Answer:
        """Keep what a command is to be answered. Gives it with its revision; or what was kept
        before, without one, and from now on nobody takes that back.

        Raises as `find` does: nobody may be told the answer then.
        """

    async def take_back(self, command: Metadata, revision: int) -> bool:
        """Keep no longer what nobody has been told; whether it is kept no longer. False where
        somebody may have been told.

        Raises as `find` does.
        """


class MemoryIdempotencyStore:
    """Keeps the latest `number` of them for as long as the process runs; instances share it."""

    def __init__(self, number: int = KEPT) -> None:
        self._number = number
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._revision = 0

    def may_have(self, command: Metadata) -> bool:
        """See `IdempotencyStore.may_have`."""
        return idempotency_key(command) in self._kept

    async def find(self, command: Metadata) -> Answer | None:
        """See `IdempotencyStore.find`."""
        key = idempotency_key(command)
        found = self._kept.get(key)
        if found:
            found = self._kept[key] = evolve(found, revision=None)
        return found

    async def keep(self, command: Metadata, answer: Answer) -> Answer:
        """See `IdempotencyStore.keep`."""
        if first := await self.find(command):
            return first
        self._revision += 1
        outcome = answer.outcome.within(LARGEST)
        answer = evolve(answer, outcome=outcome, revision=self._revision)
        self._kept[idempotency_key(command)] = answer
        while len(self._kept) > self._number:
            self._kept.popitem(last=False)
        return answer

    async def take_back(self, command: Metadata, revision: int) -> bool:
        """See `IdempotencyStore.take_back`."""
        key = idempotency_key(command)
        found = self._kept.get(key)
        if found and found.revision == revision:
            del self._kept[key]
        return key not in self._kept


def idempotency_key(command: Metadata) -> str:
    """Under which key it is kept what came of a command."""
    return status_key(command.message_id, command.organization_id)


async def find_answers(
    log: EventStore,
    store: IdempotencyStore | None,
    known: LoadedAggregate,
    requests: Sequence[CommandRequest],
    found: Mapping[str, Answer],
    own: Container[str],
) -> Mapping[str, Answer]:
    """What commands were answered before, by their ids, beside what was `found` already.

    What was kept of those in `own` is not looked for. Where it cannot be seen what one command was
    answered, that is its answer. Raises nothing.
    """
    asked: dict[str, Awaitable[Answer | None]] = {}
    for request in requests:
        command_id = request.metadata.message_id
        before = found.get(command_id)
        if command_id in asked or (before and before.stored):
            continue
        places = known.commands.places(command_id)
        kept = (
            store
            if store
            and before is None
            and command_id not in own
            and request.repeatable
            and store.may_have(request.metadata)
            else None
        )
        if places or kept:
            asked[command_id] = _find(log, kept, request.metadata, places)
    if not asked:
        return found
    answers = await asyncio.gather(*asked.values())
    return {**found, **{one: it for one, it in zip(asked, answers, strict=True) if it}}


async def _find(
    log: EventStore, store: IdempotencyStore | None, command: Metadata, places: Sequence[Place]
) -> Answer | None:
    try:
        for place in places:
            slices = log.read(place.first - 1, place.first + place.count - 1)
            events = [one async for part in slices for one in part.records]
            own = [one for one in events if _is_of(command, one.metadata)]
            if len(own) == place.count:
                return _stored(command, own, (await log.identity()).log_id)
        return await store.find(command) if store else None
    except RequestError as error:
        return Answer(Outcome.refused(error, command))


def _is_of(command: Metadata, event: Metadata) -> bool:
    return (event.causation_id, event.aggregate_id) == (command.message_id, command.aggregate_id)


def _stored(command: Metadata, events: Sequence[EventRecord], log_id: str) -> Answer:
    """What the command was answered that led to these events."""
    last = events[-1].metadata
    outcome = Outcome(
        status="accepted",
        command_id=command.message_id,
        correlation_id=last.correlation_id,
        aggregate_id=command.aggregate_id,
        version=last.aggregate_version,
        sequence=last.sequence,
        events=tuple(
            EventReference(one.metadata.message_id, one.metadata.message_type) for one in events
        ),
        basis=Basis(log_id, last.sequence, last.message_id),
    )
    return Answer(outcome, events[0].metadata.command_digest, stored=True)


async def keep_answers(
    store: IdempotencyStore, answers: Mapping[str, tuple[CommandRequest, Outcome]]
) -> dict[str, Answer]:
    """Keep what commands are to be answered, by their ids; see `IdempotencyStore.keep`."""
    kept = await asyncio.gather(*(_keep(store, *one) for one in answers.values()))
    return dict(zip(answers, kept, strict=True))


async def _keep(store: IdempotencyStore, request: CommandRequest, outcome: Outcome) -> Answer:
    try:
        return await store.keep(request.metadata, Answer(outcome, request.digest))
    except RequestError as error:
        # It had no effect, and could be answered all the same. But whoever is told that it was
        # rejected takes that for the last word, and it would be decided anew when it comes again.
        return Answer(Outcome.refused(error, request.metadata))


async def take_back(
    store: IdempotencyStore, request: CommandRequest, kept: Answer
) -> Answer | None:
    """Keep no longer what a command, decided about once more, is not to be answered after all.

    Gives what it is to be answered where that cannot be: somebody else may have told it. Raises
    nothing.
    """
    try:
        return None if await store.take_back(request.metadata, kept.revision or 0) else kept
    except RequestError as error:
        return Answer(Outcome.refused(error, request.metadata))

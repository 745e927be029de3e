"""What came of commands that leave no trace in the log: refused, or accepted without events.

Of a command that led to events the aggregate's history tells, when it comes again. Of these nothing
does, so it is kept what they were answered: by the id of the command and the organization that it
is of. The first that is kept is what counts.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from cim_domain.commands.decisions import NOTHING_KEPT, CommandRequest
from cim_domain.commands.repository import LoadedAggregate
from cim_domain.errors import RequestError
from cim_domain.model.metadata import Metadata
from cim_domain.wire.command_status import status_key
from cim_domain.wire.outcome import Outcome

KEPT = 500_000
"""So many are kept at most; the oldest go first."""

LARGEST = 16 * 1024
"""Bytes of one reply, as it is kept. Of a larger one the reason is shortened."""


class IdempotencyStore(Protocol):
    """Keeps such outcomes. `command` is the metadata of the command as it came."""

    def may_have(self, command: Metadata) -> bool:
        """Whether one may be kept of the command; of most that come for the first time: no."""

    async def find(self, command: Metadata) -> Outcome | None:
        """What the command was answered, if that is kept.

        Raises `Busy`, `Unavailable` and `Failed`.
        """

    async def keep(self, command: Metadata, outcome: Outcome) -> Outcome:
        """Keep what a command is to be answered; what it is to be answered then.

        That is another one where one was kept before. Raises as `find` does: nobody may be told
        the outcome then.
        """


class MemoryIdempotencyStore:
    """Keeps the latest `number` of them for as long as the process runs; instances share it."""

    def __init__(self, number: int = KEPT) -> None:
        self._number = number
        self._kept: OrderedDict[str, Outcome] = OrderedDict()

    def may_have(self, command: Metadata) -> bool:
        """See `IdempotencyStore.may_have`."""
        return idempotency_key(command) in self._kept

    async def find(self, command: Metadata) -> Outcome | None:
        """See `IdempotencyStore.find`."""
        return self._kept.get(idempotency_key(command))

    async def keep(self, command: Metadata, outcome: Outcome) -> Outcome:
        """See `IdempotencyStore.keep`."""
        first = self._kept.setdefault(idempotency_key(command), outcome.within(LARGEST))
        while len(self._kept) > self._number:
            self._kept.popitem(last=False)
        return first


def idempotency_key(command: Metadata) -> str:
    """Under which key it is kept what came of a command."""
    return status_key(command.message_id, command.organization_id)


async def find_all(
    refusals: IdempotencyStore | None,
    known: LoadedAggregate,
    requests: Sequence[CommandRequest],
    found: Mapping[str, Outcome] = NOTHING_KEPT,
) -> Mapping[str, Outcome]:
    """What is kept of the commands, by their ids, beside what was `found` already.

    Raises as `IdempotencyStore.find` does.
    """
    if refusals is None:
        return NOTHING_KEPT
    asked = {
        one.metadata.message_id: one.metadata
        for one in requests
        if one.repeatable
        and refusals.may_have(one.metadata)
        and one.metadata.message_id not in found
        and not known.commands.get(one.metadata.message_id)
    }
    if not asked:
        return found
    kept = await asyncio.gather(*map(refusals.find, asked.values()))
    return {**found, **{id_: one for id_, one in zip(asked, kept, strict=True) if one}}


async def keep_all(
    refusals: IdempotencyStore, answers: Sequence[tuple[CommandRequest, Outcome]]
) -> dict[str, Outcome]:
    """Keep what commands are to be answered; what they are to be answered then, by their ids."""
    first: dict[str, tuple[Metadata, Outcome]] = {}
    for request, outcome in answers:
        first.setdefault(request.metadata.message_id, (request.metadata, outcome))
    kept = await asyncio.gather(*(_keep(refusals, *one) for one in first.values()))
    return dict(zip(first, kept, strict=True))


async def _keep(refusals: IdempotencyStore, command: Metadata, outcome: Outcome) -> Outcome:
    try:
        return await refusals.keep(command, outcome)
    except RequestError as error:
        # It had no effect, and could be answered all the same. But whoever is told that it was
        # rejected takes that for the last word, and it would be decided anew when it comes again.
        return Outcome.refused(error, command)

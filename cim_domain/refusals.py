"""What came of commands that leave no trace in the log: refused, or accepted without events.

Of a command that led to events the aggregate's history tells, when it comes again. Of these nothing
does, so it is kept what they were answered: by the id of the command and the organization that it
is of. The first that is kept is what counts.
"""

from collections import OrderedDict
from typing import Protocol

from cim_domain.metadata import Metadata
from cim_domain.outcome import Outcome
from cim_domain.standing import standing_key

KEPT = 500_000
"""So many are kept at most; the oldest go first."""

LARGEST = 16 * 1024
"""Bytes of one reply, as it is kept. Of a larger one the reason is shortened."""


class Refusals(Protocol):
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


class MemoryRefusals:
    """Keeps the latest `number` of them for as long as the process runs; instances share it."""

    def __init__(self, number: int = KEPT) -> None:
        self._number = number
        self._kept: OrderedDict[str, Outcome] = OrderedDict()

    def may_have(self, command: Metadata) -> bool:
        """See `Refusals.may_have`."""
        return refusal_key(command) in self._kept

    async def find(self, command: Metadata) -> Outcome | None:
        """See `Refusals.find`."""
        return self._kept.get(refusal_key(command))

    async def keep(self, command: Metadata, outcome: Outcome) -> Outcome:
        """See `Refusals.keep`."""
        first = self._kept.setdefault(refusal_key(command), outcome.within(LARGEST))
        while len(self._kept) > self._number:
            self._kept.popitem(last=False)
        return first


def refusal_key(command: Metadata) -> str:
    """Under which key it is kept what came of a command."""
    return standing_key(command.message_id, command.organization_id)

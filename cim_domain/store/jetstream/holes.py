"""Events that the log has lost: it has no gaps, so a sequence without a message is damage.

A flipped byte leaves the server's numbers as they were, and a message that cannot be read; a block
that was cut, or a message deleted by hand, is missing in the numbers, too. A replica may lack what
its leader has, so the leader alone is believed that something is not there.
"""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from cim_domain.errors import Failed
from cim_domain.nats.connection.requests import Requests
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import StoredMessage, get_range
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.store.port import CORRUPT_HISTORY

_PAGE = 1000
"""Messages among which a lost one is looked for."""


@define(eq=False)
class Holes:
    """What is known of the log's losses. `answer` is how many seconds each answer may take.

    Raises `NoAnswer` and `ApiError` where another try may tell more.
    """

    _requests: Requests
    _stream: str
    _answer: float
    _met: int | None = field(default=None, init=False)
    """One that somebody came upon, which the server's numbers may not show."""

    async def first(self) -> int | None:
        """The sequence of the first event that is known to be lost, if one is."""
        met, self._met = self._met, None
        if met is not None and await message_at(self._requests, self._stream, met) is None:
            self._note(met)
        known = (first_missing(await self._state()), self._met)
        return min((one for one in known if one is not None), default=None)

    async def at(self, sequence: int) -> StoredMessage | None:
        """The message at a place, as the leader has it; None where the log does not go that far.

        Raises `Failed` (``corrupt_history``) where it has been lost.
        """
        found = await message_at(self._requests, self._stream, sequence)
        if found is None:
            if int((await self._state())["last_seq"]) < sequence:
                return None
            # Of a leader that goes that far: another one may have been asked before.
            found = await message_at(self._requests, self._stream, sequence)
        if found is None:
            self._note(sequence)
            raise Failed(
                f"event {sequence} of the log {self._stream} is missing or cannot be read: the log"
                " is damaged there, and nothing behind that is guessed at; bring it back from a"
                " backup",
                code=CORRUPT_HISTORY,
                details={"sequence": sequence},
            )
        return found

    async def require_none(self, after: int, before: int | None) -> None:
        """Raise `Failed` for the first event that is lost between two sequences, if it is near."""
        page = await get_range(
            self._requests, self._stream, start=after + 1, limit=_PAGE, timeout=self._answer
        )
        due = after + 1
        for message in page:
            if message.sequence != due:
                break
            due += 1
        if before is None or due < before:
            await self.at(due)

    def _note(self, sequence: int) -> None:
        self._met = sequence if self._met is None else min(self._met, sequence)

    async def _state(self) -> Mapping[str, Any]:
        info = await call(
            self._requests,
            f"STREAM.INFO.{self._stream}",
            {"deleted_details": True},
            timeout=self._answer,
        )
        state: Mapping[str, Any] = info["state"]
        return state


def first_missing(state: Mapping[str, Any]) -> int | None:
    """The first sequence that a stream's state, with its details, says to be without a message."""
    if int(state["messages"]) == int(state["last_seq"]):
        return None
    if int(state["first_seq"]) > 1:
        return 1
    return min(map(int, state.get("deleted") or ()), default=None)

"""What each command has done to an aggregate, for those that come again.

The latest are remembered in full, at some 300 bytes each. Of the older ones four bytes each are
kept: enough to tell that a command may have been carried out, and that only the whole history knows
what it did. Once that many are forgotten, one in 40,000 new commands (at 100,000) has the whole
history read for nothing.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from struct import iter_unpack, pack

from attrs import define, field, frozen

from cim_domain.identity import caused_id
from cim_domain.model.metadata import Metadata
from cim_domain.wire.outcome import EventReference

RECENT = 256
"""So many commands at least are remembered in full, if there are as many; twice as many at most."""

_MARK_BYTES = 4


@frozen
class ProcessedCommand:
    """What one command has done: the aggregate's version and log sequence after it, its events."""

    version: int
    sequence: int
    event_types: tuple[str, ...]

    def events(self, command_id: str) -> tuple[EventReference, ...]:
        """The events, whose ids follow from the command's."""
        return tuple(
            EventReference(caused_id(command_id, index), event_type)
            for index, event_type in enumerate(self.event_types)
        )


@define
class ProcessedCommands:
    """The commands that an aggregate has seen. `recent` of them, or more, are known in full."""

    recent: int = RECENT
    _done: dict[str, ProcessedCommand] = field(factory=dict)
    _older: list["array[int]"] = field(factory=list)
    """Marks of older ones, in runs that are in order, each longer than the next: seldom sorted."""

    def take_in(self, event: Metadata, sequence: int) -> None:
        """Take note of an event, stored at `sequence`, and so of the command that led to it."""
        before = self._done.get(event.causation_id)
        types = (*before.event_types, event.message_type) if before else (event.message_type,)
        self._done[event.causation_id] = ProcessedCommand(event.aggregate_version, sequence, types)
        if before is None and len(self._done) > 2 * self.recent:
            self._forget()

    @property
    def everything(self) -> bool:
        """Whether nothing is forgotten, for now."""
        return self.recent == sys.maxsize

    def keep_recent(self, recent: int = RECENT) -> None:
        """Remember no more than about so many in full from now on."""
        if self.recent != recent:
            self.recent = recent
            self._forget()

    def _forget(self) -> None:
        forgotten = list(self._done)[: max(0, len(self._done) - self.recent)]
        for command_id in forgotten:
            del self._done[command_id]
        run = array("I", sorted(map(_mark, forgotten)))
        while self._older and len(self._older[-1]) <= len(run):
            run = array("I", sorted(chain(self._older.pop(), run)))
        if run:
            self._older.append(run)

    def get(self, command_id: str) -> ProcessedCommand | None:
        """What a command has done, if it is remembered in full."""
        return self._done.get(command_id)

    def may_have_forgotten(self, command_id: str) -> bool:
        """Whether a command was probably carried out, so long ago that it is not known in full."""
        if not self._older or command_id in self._done:
            return False
        mark = _mark(command_id)
        return any(_holds(run, mark) for run in self._older)

    def in_full(self) -> Iterator[tuple[str, ProcessedCommand]]:
        """The commands that are known in full, by id, from old to new."""
        return iter(self._done.items())

    def marks(self) -> bytes:
        """What is kept of the older ones, four bytes each."""
        return b"".join(pack(f"<{len(run)}I", *run) for run in self._older)

    @classmethod
    def restored(
        cls, done: Iterable[tuple[str, ProcessedCommand]], marks: bytes
    ) -> "ProcessedCommands":
        """The same again from `in_full` and `marks`. Raises `struct.error` for no marks at all."""
        run = array("I", sorted(mark for (mark,) in iter_unpack("<I", marks)))
        return cls(done=dict(done), older=[run] if run else [])


def _holds(run: "array[int]", mark: int) -> bool:
    place = bisect_left(run, mark)
    return place < len(run) and run[place] == mark


def _mark(command_id: str) -> int:
    # Of the whole id: parts of it are alike in many of them, in those that tell the time.
    return int.from_bytes(blake2b(command_id.encode(), digest_size=_MARK_BYTES).digest())

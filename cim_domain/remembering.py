"""What each command has done to an aggregate, for those that come again.

The latest are remembered in full. Of the older ones eight bytes each are kept: enough to tell that
a command may have been carried out, and that only the whole history knows what it did.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from attrs import define, field, frozen

from cim_domain.identity import caused_id
from cim_domain.metadata import Metadata
from cim_domain.outcome import EventReference
from cim_domain.store.port import Position

RECENT = 256
"""So many commands at least are remembered in full."""

_MARK_BYTES = 8


@frozen
class Done:
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
class Remembered:
    """The commands that an aggregate has seen. `recent` of them, or more, are known in full."""

    recent: int = RECENT
    _done: dict[str, Done] = field(factory=dict)
    _older: set[int] = field(factory=set)

    def take_in(self, event: Metadata, position: Position) -> None:
        """Take note of an event, stored at `position`, and so of the command that led to it."""
        before = self._done.get(event.causation_id)
        types = before.event_types if before else ()
        self._done[event.causation_id] = Done(
            position.version, position.sequence, (*types, event.message_type)
        )
        if before is None and len(self._done) > 2 * self.recent:
            self._forget()

    def keep_recent(self, recent: int = RECENT) -> None:
        """Remember no more than about so many in full from now on."""
        if self.recent != recent:
            self.recent = recent
            self._forget()

    def _forget(self) -> None:
        for command_id in list(self._done)[: max(0, len(self._done) - self.recent)]:
            del self._done[command_id]
            self._older.add(_mark(command_id))

    def get(self, command_id: str) -> Done | None:
        """What a command has done, if it is remembered in full."""
        return self._done.get(command_id)

    def may_have_forgotten(self, command_id: str) -> bool:
        """Whether a command was probably carried out, so long ago that it is not known in full."""
        return bool(self._older) and _mark(command_id) in self._older

    def in_full(self) -> Iterator[tuple[str, Done]]:
        """The commands that are known in full, by id, from old to new."""
        return iter(self._done.items())

    def marks(self) -> bytes:
        """What is kept of the older ones, eight bytes each."""
        return b"".join(mark.to_bytes(_MARK_BYTES) for mark in sorted(self._older))

    @classmethod
    def restored(cls, done: Iterable[tuple[str, Done]], marks: bytes) -> "Remembered":
        """The same again from `in_full` and `marks`."""
        older = {
            int.from_bytes(marks[start : start + _MARK_BYTES])
            for start in range(0, len(marks), _MARK_BYTES)
        }
        return cls(done=dict(done), older=older)


def _mark(command_id: str) -> int:
    # The low half of a UUID: all chance, or all hash, but for two bits.
    return UUID(command_id).int & 0xFFFFFFFFFFFFFFFF

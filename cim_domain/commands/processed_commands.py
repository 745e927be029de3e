"""Which commands an aggregate has seen, and where in the log their events are.

For each command 16 bytes are kept, however many there are: enough to find its events with one read,
and they tell what it has done. They lie in chunks, of which all but the newest never change.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from attrs import define, field, frozen

from cim_domain.model.metadata import Metadata

CHUNK = 4096
"""So many commands are in a chunk."""

_COUNT_BITS = 10
_MOST = 1 << _COUNT_BITS


@frozen
class Place:
    """Where a command's events are: the sequence of the first, and how many there are."""

    first: int
    count: int


@define
class Chunk:
    """Commands by their hashes, which are in order."""

    hashes: "array[int]" = field(factory=lambda: array("Q"))
    places: "array[int]" = field(factory=lambda: array("Q"))
    """A sequence, and in the lowest bits how many events there are besides its own."""

    def __len__(self) -> int:
        return len(self.hashes)

    def add(self, number: int, place: int) -> None:
        """Take note of a command."""
        at = bisect_right(self.hashes, number)
        self.hashes.insert(at, number)
        self.places.insert(at, place)

    def indexes(self, number: int) -> Iterator[int]:
        """Where commands with this hash are: hardly ever more than one."""
        at = bisect_left(self.hashes, number)
        while at < len(self.hashes) and self.hashes[at] == number:
            yield at
            at += 1

    def to_bytes(self) -> bytes:
        """All of it, 16 bytes a command."""
        return _little(self.hashes).tobytes() + _little(self.places).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Chunk":
        """The same again. Raises `ValueError` for what is none."""
        if len(data) % 16:
            raise ValueError("a chunk has 16 bytes for each command")
        half = len(data) // 2
        return cls(_little(array("Q", data[:half])), _little(array("Q", data[half:])))


@define
class ProcessedCommands:
    """The commands that an aggregate has seen, `size` of them in a chunk."""

    full: list[Chunk] = field(factory=list)
    newest: Chunk = field(factory=Chunk)
    size: int = CHUNK
    _last: tuple[str, int, int] = field(default=("", 0, 0), eq=False)
    """The id, hash and place of the command taken in last."""

    def take_in(self, event: Metadata, sequence: int) -> None:
        """Take note of an event, stored at `sequence`, and so of the command that led to it."""
        command_id, number, place = self._last
        if event.causation_id == command_id and sequence == _end(place) and ~place % _MOST:
            # The events of a commit follow one another.
            at = next(
                one for one in self.newest.indexes(number) if self.newest.places[one] == place
            )
            self.newest.places[at] = place = place + 1
        else:
            if len(self.newest) >= self.size:
                self.full.append(self.newest)
                self.newest = Chunk()
            number, place = _hash(event.causation_id), sequence << _COUNT_BITS
            self.newest.add(number, place)
        self._last = (event.causation_id, number, place)

    def places(self, command_id: str) -> Sequence[Place]:
        """Where the events of a command are; empty for one that was not seen.

        Hardly ever there is one of another command: whoever reads it sees.
        """
        if not self.newest:
            return []
        number = _hash(command_id)
        return [
            Place(place >> _COUNT_BITS, place % _MOST + 1)
            for chunk in (*self.full, self.newest)
            for place in (chunk.places[at] for at in chunk.indexes(number))
        ]


def _end(place: int) -> int:
    return (place >> _COUNT_BITS) + place % _MOST + 1


def _little(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers


def _hash(command_id: str) -> int:
    # Of the whole id: parts of it are alike in many of them, in those that tell the time.
    return int.from_bytes(blake2b(command_id.encode(), digest_size=8).digest())

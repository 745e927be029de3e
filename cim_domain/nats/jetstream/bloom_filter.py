"""Telling in memory which of very many keys cannot be there, without keeping the keys."""

from collections.abc import Callable
from hashlib import blake2b
from time import monotonic

_BITS = 64
"""For each key that a generation may have; in the fullest two, one in 32 other keys looks known."""


class RotatingBloomFilter:
    """Keys that were added: of one that was, `may_have` is true; of another it seldom is.

    A key stays until `number` others were added after it or `period` seconds have gone by,
    whichever is first, and up to twice as long. Memory is bounded: 16 bytes for each of `number`,
    taken as keys come.
    """

    def __init__(self, number: int, period: float, clock: Callable[[], float] = monotonic) -> None:
        if number < 1:
            raise ValueError("the number of keys is 1 or more")
        self._number = number
        self._period = period
        self._clock = clock
        self._size = number * _BITS
        self._older = self._empty()
        self._newer = self._empty()
        self._added = 0
        self._begun = clock()

    def add(self, key: str) -> None:
        """Take note of a key."""
        place, bit = self._mark(key)
        if self._newer[place] & bit:
            return
        if self._added >= self._number or self._clock() - self._begun >= self._period:
            self._older, self._newer = self._newer, self._empty()
            self._added, self._begun = 0, self._clock()
        self._newer[place] |= bit
        self._added += 1

    def may_have(self, key: str) -> bool:
        """Whether a key may have been added."""
        place, bit = self._mark(key)
        return bool((self._newer[place] | self._older[place]) & bit)

    def _mark(self, key: str) -> tuple[int, int]:
        mark = int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % self._size
        return mark >> 3, 1 << (mark & 7)

    def _empty(self) -> bytearray:
        return bytearray(self._size // 8)

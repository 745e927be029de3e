"""Dead letters: what could not be handled, kept with the reason instead of being lost."""

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from cim_domain.errors import RequestError


@frozen(kw_only=True)
class DeadLetter:
    """A message that could not be handled, as it came, and why."""

    consumer: str
    """Who could not handle it: ``projection.flakes``, ``process.builder``, ``commands``."""
    subject: str
    headers: Mapping[str, str] = field(factory=dict)
    data: bytes
    code: str
    reason: str
    sequence: int = 0
    """Its place in the stream it comes from; 0 for one that was in none."""
    deliveries: int = 1

    @classmethod
    def about(
        cls,
        error: RequestError,
        *,
        consumer: str,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        sequence: int = 0,
        deliveries: int = 1,
    ) -> "DeadLetter":
        """The letter for a message that led to an error."""
        return cls(
            consumer=consumer,
            subject=subject,
            headers=headers or {},
            data=data,
            code=error.code,
            reason=error.message,
            sequence=sequence,
            deliveries=deliveries,
        )

    def same_as(self, other: "DeadLetter") -> bool:
        """Whether both are about one message of a stream, for one consumer."""
        return (self.consumer, self.subject, self.sequence) == (
            other.consumer, other.subject, other.sequence,
        )  # fmt: skip


class DeadLetters(Protocol):
    """Where dead letters are kept."""

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter. One about the same message of a stream that is there stays as it is.

        Raises `Unavailable`.
        """

    async def count(self) -> int:
        """How many there are. Raises `Unavailable`."""


class MemoryDeadLetters:
    """Dead letters that end with the process."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    async def put(self, letter: DeadLetter) -> None:
        """See `DeadLetters.put`."""
        if not (letter.sequence and any(map(letter.same_as, self.letters))):
            self.letters.append(letter)

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return len(self.letters)

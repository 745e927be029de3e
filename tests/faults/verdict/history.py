"""What clients have sent and what they were answered, with times; all that a checker may go by."""

from typing import Literal

from attrs import define, field, frozen

Kind = Literal["request", "submit", "standing"]
"""Sent and answered at once; stored for later; or asked what came of one that was stored."""

UNAVAILABLE = 503


@frozen(kw_only=True)
class Reply:
    """One reply to an attempt; `at` in seconds of one clock for all. `http` is that of an error."""

    at: float
    status: str
    code: str = ""
    http: int = 0
    version: int | None = None
    sequence: int | None = None
    events: tuple[str, ...] = ()
    """Their ids."""

    @property
    def is_definite(self) -> bool:
        """Whether it says what came of the command; where the store was away, nobody knows."""
        return self.http != UNAVAILABLE and self.status != "stored"


@define
class Attempt:
    """A command, sent once."""

    kind: Kind
    sent: float
    replies: list[Reply] = field(factory=list)

    @property
    def is_definite(self) -> bool:
        return any(reply.is_definite for reply in self.replies)


@define
class Sent:
    """A command with its own id, and every attempt to have it carried out."""

    command_id: str
    message_type: str
    data: bytes
    expected_version: int | None = None
    aggregate_id: str | None = None
    """None for what no aggregate would take."""
    attempts: list[Attempt] = field(factory=list)

    @property
    def accepted(self) -> list[Reply]:
        """Every reply that says that it was carried out."""
        return [
            reply
            for attempt in self.attempts
            for reply in attempt.replies
            if reply.status == "accepted"
        ]

    @property
    def is_settled(self) -> bool:
        """Whether the latest attempt says what came of it."""
        return bool(self.attempts) and self.attempts[-1].is_definite

    @property
    def was_unknown(self) -> bool:
        """Whether it was unknown at some time what came of it."""
        return any(not one.is_definite for one in self.attempts if one.kind == "request")


@define
class History:
    """Everything that was sent, by the ids of the commands."""

    sent: dict[str, Sent] = field(factory=dict)

    def add(self, sent: Sent) -> Sent:
        assert sent.command_id not in self.sent
        self.sent[sent.command_id] = sent
        return sent

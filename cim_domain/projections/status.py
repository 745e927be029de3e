"""What is said of a projection: how it fares, how far it is, and what is in its way."""

from enum import StrEnum

from attrs import frozen


class OnPoison(StrEnum):
    """What happens at an event that cannot be projected, once it is among the dead letters."""

    STOP = "stop"
    SKIP = "skip"


class RunnerState(StrEnum):
    """How a projection fares."""

    STARTING = "starting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    WAITING = "waiting"
    """For its views or the log, which are away, or for newer code; it goes on by itself."""
    STOPPED = "stopped"
    """At an event that cannot be projected; it needs a person."""


@frozen
class ProjectionStatus:
    """How far a projection is, and what is in its way. Positions are sequences of the log."""

    name: str
    version: int
    generation: int
    state: RunnerState
    position: int
    head: int
    error: str | None
    answers_from: int | None
    """The generation that queries read; None: they are answered `rebuilding`."""

    @property
    def lag(self) -> int:
        """How many events of the log it has not read yet.

        Negative where its views have taken in more than the log is known to have: another instance
        was quicker just now, or, where it stays so, the log was cut or is another one.
        """
        return self.head - self.position

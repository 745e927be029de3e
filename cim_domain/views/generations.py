"""The generations of a projection's views: which one a version reads, and what a switch retires."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from attrs import frozen

from cim_domain.errors import Unavailable
from cim_domain.views.port import Superseded


class State(StrEnum):
    """A generation is built or live from the start, retired by a switch, dropped by the next."""

    LIVE = "live"
    BUILDING = "building"
    RETIRED = "retired"
    DROPPED = "dropped"


VIEWS_REPLACED = "views_replaced"
"""The code of the error for a question to views that have been dropped."""

TAKES_EVENTS = (State.LIVE, State.BUILDING)


@frozen
class Generation:
    """What is known of one generation."""

    number: int
    version: int
    layout: str
    checkpoint: int
    state: State


def live_of(generations: Iterable[Generation]) -> Generation | None:
    """The live one."""
    return next((found for found in generations if found.state is State.LIVE), None)


def fitting(generations: Sequence[Generation], version: int, layout: str) -> Generation | None:
    """The one that code of this version and layout goes on with: live, or the newest being built.

    A layout that differs under the same version counts as another version.
    """
    usable = [
        found
        for found in generations
        if found.state in TAKES_EVENTS and (found.version, found.layout) == (version, layout)
    ]
    return live_of(usable) or max(usable, key=lambda found: found.number, default=None)


def next_number(generations: Iterable[Generation]) -> int:
    """The number of a new generation. Dropped ones keep theirs, so that no holder mistakes it."""
    return max((found.number for found in generations), default=0) + 1


def may_switch(generations: Sequence[Generation], number: int, name: str) -> bool:
    """Whether the live one has not read further than this one. Raises `Superseded`."""
    rebuilt = next((found for found in generations if found.number == number), None)
    if rebuilt is None or rebuilt.state not in TAKES_EVENTS:
        raise superseded(name, number)
    live = live_of(generations)
    return live is None or live.checkpoint <= rebuilt.checkpoint


def dropped_by_switch(generations: Iterable[Generation], number: int) -> list[Generation]:
    """What nobody needs once generation `number` is live: retired ones, and older unfinished."""
    return [
        found
        for found in generations
        if found.state is State.RETIRED or (found.state is State.BUILDING and found.number < number)
    ]


def superseded(name: str, number: int) -> Superseded:
    """The error for who still holds a generation that takes no events any more."""
    return Superseded(f"generation {number} of the views {name!r} has been replaced; open them")


def gone(name: str, number: int) -> Unavailable:
    """The error for a question to a generation that has been dropped."""
    return Unavailable(
        f"generation {number} of the views {name!r} has been replaced; ask again",
        code=VIEWS_REPLACED,
    )


def closed() -> Unavailable:
    """The error for every call after `close`."""
    return Unavailable("the views are closed", code="views_closed")

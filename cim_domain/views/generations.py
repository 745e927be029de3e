"""The generations of a projection's views: which one a version reads, and what a switch retires.

Being live is per version and layout of the code: instances of two versions run side by side, each
on its own live generation, while one takes the place of the other, be it forth or back.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from attrs import frozen

from cim_domain.errors import Unavailable
from cim_domain.views.port import Superseded


class State(StrEnum):
    """Built, or live from the start; retired by a switch, dropped by the next of its version."""

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
    used: int = 0
    """Rises over the generations of a projection, each time that another one comes into use."""

    def of(self, version: int, layout: str) -> bool:
        """Whether code of this version and layout goes on with it.

        A layout that differs under the same version counts as another version.
        """
        return (self.version, self.layout) == (version, layout)


def live_of(generations: Iterable[Generation], version: int, layout: str) -> Generation | None:
    """The live one of a version and layout."""
    return next(
        (found for found in _live(generations) if found.of(version, layout)),
        None,
    )


def fitting(generations: Sequence[Generation], version: int, layout: str) -> Generation | None:
    """The one that code of this version and layout goes on with: live, or built, the newest."""
    building = [
        found
        for found in generations
        if found.state is State.BUILDING and found.of(version, layout)
    ]
    return live_of(generations, version, layout) or max(building, key=_number, default=None)


def standing_in(generations: Iterable[Generation], version: int, layout: str) -> Generation | None:
    """The live one of another version that looks the same; of several, the one used last."""
    alike = (
        found for found in _live(generations) if found.layout == layout and found.version != version
    )
    return max(alike, key=_used, default=None)


def first_state(generations: Iterable[Generation]) -> State:
    """What a new generation is: live where it is the first, so that queries have one to read."""
    return State.BUILDING if any(_live(generations)) else State.LIVE


def next_number(generations: Iterable[Generation]) -> int:
    """The number of a new generation. Dropped ones keep theirs, so that no holder mistakes it."""
    return max((found.number for found in generations), default=0) + 1


def next_use(generations: Iterable[Generation]) -> int:
    """What `used` becomes for a generation that comes into use now."""
    return max((found.used for found in generations), default=0) + 1


def comes_into_use(generations: Iterable[Generation], opened: Generation) -> bool:
    """Whether this live generation is not the one used last already."""
    return opened.state is State.LIVE and opened.used != max(map(_used, _live(generations)))


def may_switch(generations: Sequence[Generation], number: int, name: str) -> bool:
    """Whether no live one has read further than this one. Raises `Superseded`."""
    rebuilt = next((found for found in generations if found.number == number), None)
    if rebuilt is None or rebuilt.state not in TAKES_EVENTS:
        raise superseded(name, number)
    return all(found.checkpoint <= rebuilt.checkpoint for found in _live(generations))


@frozen
class Switch:
    """What happens to the others where a generation becomes live."""

    retired: Generation | None
    """The live one of the same version, if there was one."""
    dropped: tuple[Generation, ...]


def plan_switch(generations: Sequence[Generation], number: int) -> Switch:
    """What a switch to generation `number` does.

    Of its own version, what was retired before and what was begun earlier goes. Where the version
    was not live yet, so does that of all the others, save the live one that was used last: whoever
    goes back one version finds its views.
    """
    rebuilt = next(found for found in generations if found.number == number)
    replaced = live_of(generations, rebuilt.version, rebuilt.layout)
    others = [found for found in generations if not found.of(rebuilt.version, rebuilt.layout)]
    unneeded = [
        found
        for found in generations
        if found.of(rebuilt.version, rebuilt.layout) and _is_spent(found, number)
    ]
    if replaced is None:
        live = list(_live(others))
        kept = max(live, key=_used, default=None)
        unneeded += [found for found in live if found is not kept]
        unneeded += [found for found in others if _is_spent(found, number)]
    return Switch(replaced, tuple(unneeded))


def _is_spent(found: Generation, number: int) -> bool:
    """Whether nobody needs it once generation `number` is live: retired, or older unfinished."""
    return found.state is State.RETIRED or (found.state is State.BUILDING and found.number < number)


def _live(generations: Iterable[Generation]) -> Iterator[Generation]:
    return (found for found in generations if found.state is State.LIVE)


def _number(generation: Generation) -> int:
    return generation.number


def _used(generation: Generation) -> int:
    return generation.used


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

"""The generations of a projection's views: which one a version reads, and what a switch retires.

Being live is per code, that is version, layout and events handled: instances of two versions run
side by side, each on its own live generation, while one takes the place of the other, be it forth
or back.

What happens to generations is decided here, from the list of those that there are; a database
carries it out in the transaction in which it has read the list.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum

from attrs import evolve, frozen

from cim_domain.errors import Unavailable
from cim_domain.views.port import START, Checkpoint, Superseded


class State(StrEnum):
    """Retired by a switch, dropped by the next of its version."""

    FIRST = "first"
    """Live, because there is no other, and not yet known to have read the log to its end."""
    LIVE = "live"
    BUILDING = "building"
    RETIRED = "retired"
    DROPPED = "dropped"


VIEWS_REPLACED = "views_replaced"
"""The code of the error for a question to views that have been dropped."""

IS_LIVE = (State.FIRST, State.LIVE)
TAKES_EVENTS = (*IS_LIVE, State.BUILDING)


@frozen
class Code:
    """By what code views are made. Where any of it differs, they are others.

    A layout that differs under the same version counts as another version. So do other events:
    views lack what was passed by before the code began to handle it.
    """

    version: int
    layout: str
    handles: tuple[str, ...] = ()
    """The types of stored events that change them, in order."""


@frozen
class Generation:
    """What is known of one generation."""

    number: int
    code: Code
    checkpoint: Checkpoint
    state: State
    used: int = 0
    """Rises over the generations of a projection, each time that another one comes into use."""


@frozen
class Plan:
    """What becomes of the generations of a projection, all at once."""

    found: Generation
    """The one that it is about, as it will be."""
    made: bool = False
    """Whether it is new."""
    changed: tuple[Generation, ...] = ()
    """All whose state or use is another one now, as they will be."""
    beside: Generation | None = None
    """The live one of the same version that other code has made, where one is made."""


Decide = Callable[[Sequence[Generation]], Plan | None]
"""From the generations that there are to what becomes of them; None: nothing."""


def opening(code: Code) -> Decide:
    """The live one of this code comes into use; or else one is built, the newest begun or new.

    The first one is live from the beginning, so that queries have one to read.
    """

    def decide(known: Sequence[Generation]) -> Plan:
        own = [found for found in known if found.code == code]
        live = next(_live(own), None)
        if live is not None:
            if live.used == max(found.used for found in _live(known)):
                return Plan(live)
            live = evolve(live, used=_next_use(known))
            return Plan(live, changed=(live,))
        building = [found for found in own if found.state is State.BUILDING]
        if building:
            return Plan(max(building, key=lambda found: found.number))
        first = next(_live(known), None) is None
        state, used = (State.FIRST, _next_use(known)) if first else (State.BUILDING, 0)
        made = _new(known, code, state, used)
        return Plan(made, made=True, beside=_of_other_code(known, code))

    return decide


def rebuilding(code: Code) -> Decide:
    """A new one is built, and what was being built for this code is dropped."""

    def decide(known: Sequence[Generation]) -> Plan:
        begun = tuple(
            evolve(found, state=State.DROPPED)
            for found in known
            if found.state is State.BUILDING and found.code == code
        )
        made = _new(known, code, State.BUILDING, 0)
        return Plan(made, made=True, changed=begun)

    return decide


def switching(name: str, number: int) -> Decide:
    """Generation `number` becomes live, unless a live one has read further.

    Of its own version, what was retired before and what was begun earlier is dropped. Where the
    version was not live yet, so is that of all the others, save the live one that was used last:
    whoever goes back one version finds its views. Raises `Superseded`.
    """

    def decide(known: Sequence[Generation]) -> Plan | None:
        found = next((one for one in known if one.number == number), None)
        if found is None or found.state not in TAKES_EVENTS:
            raise superseded(name, number)
        if any(one.checkpoint.sequence > found.checkpoint.sequence for one in _live(known)):
            return None
        live = evolve(found, state=State.LIVE)
        if found.state in IS_LIVE:
            return Plan(live, changed=() if found == live else (live,))
        live = evolve(live, used=_next_use(known))
        own = [one for one in known if one.code == found.code]
        replaced = tuple(evolve(one, state=State.RETIRED) for one in _live(own))
        spent = [one for one in own if _is_spent(one, number)]
        if not replaced:
            others = [one for one in known if one not in own]
            kept = max(_live(others), key=lambda one: one.used, default=None)
            spent += [one for one in _live(others) if one is not kept]
            spent += [one for one in others if _is_spent(one, number)]
        dropped = tuple(evolve(one, state=State.DROPPED) for one in spent)
        return Plan(live, changed=(*dropped, *replaced, live))

    return decide


def abandoning(number: int) -> Decide:
    """Generation `number` is dropped."""

    def decide(known: Sequence[Generation]) -> Plan | None:
        found = next((one for one in known if one.number == number), None)
        if found is None or found.state is State.DROPPED:
            return None
        dropped = evolve(found, state=State.DROPPED)
        return Plan(dropped, changed=(dropped,))

    return decide


def standing_in(known: Iterable[Generation], code: Code) -> Generation | None:
    """The live one of other code that looks the same; of several, the one used last."""
    alike = (one for one in _live(known) if one.code.layout == code.layout and one.code != code)
    return max(alike, key=lambda one: one.used, default=None)


def _of_other_code(known: Iterable[Generation], code: Code) -> Generation | None:
    alike = (one for one in _live(known) if one.code.version == code.version)
    return max(alike, key=lambda one: one.used, default=None)


def _new(known: Sequence[Generation], code: Code, state: State, used: int) -> Generation:
    # Dropped ones keep their numbers, so that no holder mistakes another one for his.
    number = max((found.number for found in known), default=0) + 1
    return Generation(number, code, START, state, used)


def _next_use(known: Sequence[Generation]) -> int:
    return max((found.used for found in known), default=0) + 1


def _is_spent(found: Generation, number: int) -> bool:
    """Whether nobody needs it once generation `number` is live: retired, or older unfinished."""
    return found.state is State.RETIRED or (found.state is State.BUILDING and found.number < number)


def _live(known: Iterable[Generation]) -> Iterator[Generation]:
    return (found for found in known if found.state in IS_LIVE)


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

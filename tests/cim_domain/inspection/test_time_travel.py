"""Aggregates as they were: at a version, at a time, and what each event changed."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Self

import pytest
from attrs import evolve, field, frozen

from cim_domain import Aggregate, Command, Domain, Event, decides, evolves, upcasts
from cim_domain.errors import NotFound
from cim_domain.inspection.time_travel import Changed, as_of, changes, history_of, state_fields
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import event, new_id

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Open(Command, type="door.open"):
    name: str


class Opened(Event, type="door.opened", version=2):
    name: str
    degrees: int


@upcasts(Opened, 1)
def to_degrees(old: dict[str, Any]) -> dict[str, Any]:
    return {"name": old["name"], "degrees": 90}


@frozen
class Door(Aggregate, key="name"):
    degrees: int = 0
    opened: tuple[datetime, ...] = ()

    @decides
    def open(self, command: Open) -> Opened:
        return Opened(name=command.name, degrees=90)

    @evolves
    def was_opened(self, event: Opened) -> Self:
        return evolve(self, degrees=event.degrees)


DOMAIN = Domain("doors", aggregates=[Door])


@pytest.fixture
async def door():
    """A door with three events an hour apart, the first in an older version, and its log."""
    log, identifier = MemoryEvents(), new_id()
    first = event(identifier, 1, "door.opened", b'{"name":"front"}', timestamp=NOON)
    later = [
        event(
            identifier,
            version,
            "door.opened",
            b'{"name":"front","degrees":%d}' % (version * 10),
            schema_version=2,
            timestamp=NOON + timedelta(hours=version - 1),
        )
        for version in (2, 3)
    ]
    await log.append([Commit("door", identifier, START, (first, *later))])
    return log, identifier


async def degrees(door, **when: Any) -> tuple[int, int]:
    log, identifier = door
    past = await as_of(DOMAIN, log, "door", identifier, **when)
    assert isinstance(past.state, Door)
    return past.version, past.state.degrees


async def test_without_a_when_it_is_as_it_is(door):
    assert await degrees(door) == (3, 30)


@pytest.mark.parametrize(("version", "expected"), [(1, 90), (2, 20), (3, 30)])
async def test_at_a_version_that_event_is_included(door, version, expected):
    assert await degrees(door, version=version) == (version, expected)


@pytest.mark.parametrize(
    ("after_noon", "version"),
    [
        (timedelta(0), 1),
        (timedelta(hours=1) - timedelta(microseconds=1), 1),
        (timedelta(hours=1), 2),
        (timedelta(days=1), 3),
    ],
)
async def test_at_a_time_the_event_exactly_then_is_included(door, after_noon, version):
    assert (await degrees(door, time=NOON + after_noon))[0] == version


async def test_a_time_in_another_zone_is_the_same_time(door):
    time = datetime(2026, 11, 21, 14, tzinfo=timezone(timedelta(hours=1)))
    assert (await degrees(door, time=time))[0] == 2


async def test_with_both_it_is_what_came_first(door):
    assert (await degrees(door, version=1, time=NOON + timedelta(days=1)))[0] == 1
    assert (await degrees(door, version=3, time=NOON))[0] == 1
    assert (await degrees(door, version=9, time=NOON))[0] == 1


async def test_a_time_without_a_zone_is_refused(door):
    with pytest.raises(ValueError, match="time zone"):
        await degrees(door, time=datetime(2026, 11, 21, 12))  # noqa: DTZ001


@pytest.mark.parametrize("when", [{"version": 4}, {"time": NOON - timedelta(microseconds=1)}])
async def test_before_its_first_event_and_behind_its_last_there_is_nothing(door, when):
    with pytest.raises(NotFound):
        await degrees(door, **when)


async def test_what_the_domain_does_not_have_is_not_found(door):
    log, identifier = door
    with pytest.raises(NotFound, match="it has door"):
        await as_of(DOMAIN, log, "window", identifier)
    with pytest.raises(NotFound, match="no event"):
        await as_of(DOMAIN, log, "door", new_id())


async def test_events_of_older_versions_are_upcast(door):
    log, identifier = door
    found = [recorded.event async for recorded, _ in history_of(DOMAIN, log, "door", identifier)]
    assert found[0] == Opened(name="front", degrees=90)
    assert [one.degrees for one in found[1:]] == [20, 30]


def test_changes_are_the_fields_that_differ_as_json_has_them():
    before, after = Door(degrees=1), Door(degrees=1, opened=(NOON,))
    assert changes(before, before) == {}
    assert changes(before, after) == {"opened": Changed([], ["2026-11-21T12:00:00+00:00"])}


class Place(Command, type="shelf.place"):
    name: str


class Placed(Event, type="shelf.placed"):
    name: str


@frozen
class Shelf(Aggregate, key="name"):
    last: Placed | None = None
    depth: complex = 1j
    by_number: dict[int, str] = field(factory=dict)

    @decides
    def place(self, command: Place) -> Placed:
        return Placed(name=command.name)

    @evolves
    def was_placed(self, event: Placed) -> Self:
        return evolve(self, last=event)


def test_a_state_of_values_that_json_does_not_have_is_shown_all_the_same():
    shelf = Shelf(last=Placed(name="vase"), by_number={1: "one"})
    assert state_fields(shelf) == {
        "last": {"name": "vase"}, "depth": "1j", "by_number": {"1": "one"},
    }  # fmt: skip

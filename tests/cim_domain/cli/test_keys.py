"""How a key is read that somebody wrote: as an id, as text, in the forms that its type has."""

from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import pytest
from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Domain, Event, decides, evolves
from cim_domain.cli.exit_codes import Usage
from cim_domain.cli.reading.keys import read_id

ROOM = UUID("6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Book(Command, type="slot.book"):
    room: UUID
    at: datetime


class Booked(Event, type="slot.booked"):
    room: UUID


@frozen
class Slot(Aggregate, key=("room", "at")):
    booked: bool = False

    @decides
    def book(self, command: Book) -> Booked:
        return Booked(room=command.room)

    @evolves
    def was_booked(self, event: Booked) -> Self:
        return evolve(self, booked=True)


DOMAIN = Domain("rooms", aggregates=[Slot])
MODEL = DOMAIN.aggregates["slot"]


@pytest.mark.parametrize(
    "text",
    [
        f'["{ROOM}", "2026-03-01T12:00:00.000000Z"]',
        f'["{str(ROOM).upper()}", "2026-03-01T13:00:00+01:00"]',
        f'["{ROOM.hex}", "2026-03-01T12:00Z"]',
    ],
)
def test_a_key_may_be_written_in_any_form_of_its_type(text):
    wanted = DOMAIN.id_for(Book(room=ROOM, at=NOON), "acme")
    assert read_id("rooms", "acme", "slot", text, MODEL) == wanted


def test_an_id_is_an_id():
    assert read_id("rooms", None, "slot", str(ROOM).upper(), MODEL) == str(ROOM)


def test_without_the_code_a_key_is_its_text():
    text = f'["{ROOM}", "2026-03-01T12:00:00.000000Z"]'
    assert read_id("rooms", None, "slot", text) == DOMAIN.id_for(Book(room=ROOM, at=NOON))


@pytest.mark.parametrize(
    "text",
    ["front", '["x", "y"]', f'["{ROOM}", "2026-03-01T12:00:00"]', f'["{ROOM}"]', "[1]", "[x"],
)
def test_what_is_no_key_ends_the_command(text):
    with pytest.raises(Usage, match="key"):
        read_id("rooms", None, "slot", text, MODEL)

"""mypy finds handlers that return the wrong thing, and nothing to complain about in right ones."""

import re
from pathlib import Path

from mypy import api

MODEL = """\
from typing import Self
from attrs import evolve, frozen
from cim_domain import (
    Aggregate, Command, Event, Metadata, Page, Process, Projection, Query, View, Views,
    answers, decides, evolves, projects, reacts,
)
from cim_domain.client import DomainClient, SyncDomainClient

class Open(Command, type="door.open"):
    name: str
class Opened(Event, type="door.opened"):
    name: str
class DoorView(View):
    name: str
class GetDoor(Query, type="door.get"):
    name: str

@frozen
class Door(Aggregate, key="name"):
    open: bool = False

    @decides
    def one(self, command: Open) -> Opened:
        return Opened(name=command.name)

    @decides
    def several(self, command: Open, metadata: Metadata) -> list[Opened]:
        return []

    @decides
    def perhaps(self, command: Open) -> Opened | None:
        return None

    @evolves
    def opened(self, event: Opened) -> Self:
        return evolve(self, open=True)

    @decides
    def a_command(self, command: Open) -> Open:  # wrong
        return command

    @decides
    def a_text(self, command: Open) -> str:  # wrong
        return "opened"

    @evolves
    def nothing(self, event: Opened) -> None:  # wrong
        return None

    @evolves
    def an_event(self, event: Opened) -> Opened:  # wrong
        return event

class Doors(Projection):
    @projects
    def opened(self, view: DoorView | None, event: Opened) -> DoorView:
        return DoorView(name=event.name)

    @projects(key=lambda event, metadata: event.name)
    def gone(self, view: DoorView | None, event: Opened) -> None:
        return None

    @projects
    def a_text(self, view: DoorView | None, event: Opened) -> str:  # wrong
        return event.name

    @answers
    async def get(self, query: GetDoor, views: Views) -> DoorView | None:
        return await views.first(DoorView, name=query.name)

    @answers
    def at_once(self, query: GetDoor, views: Views) -> int:  # wrong
        return 1

class Doorman(Process):
    @reacts
    async def opened(self, event: Opened) -> Open | None:
        return None

    @reacts
    async def an_event(self, event: Opened) -> Opened:  # wrong
        return event

async def ask(client: DomainClient, other: SyncDomainClient) -> None:
    found: DoorView = await client.ask(GetDoor(name="front"), DoorView)
    again: DoorView = other.ask(GetDoor(name="front"), DoorView, min_sequence=1)
    page = await client.ask(GetDoor(name="front"), Page[DoorView], actor_id="ann")
    page.items[0].name
    (await client.ask(GetDoor(name="front"))).json()
    other.send(Open(name="front"), actor_id="ann").status
    wrong: Door = await client.ask(GetDoor(name="front"), DoorView)  # wrong
    other.send(Open(name="front"), actor="ann")  # wrong

Door().one(Open(name="front")).name
Door().one(Open(name=1))  # wrong
Opened(nam="front")  # wrong
"""


def test_wrong_handlers_are_type_errors_and_right_ones_are_none(tmp_path: Path) -> None:
    file = tmp_path / "doors.py"
    file.write_text(MODEL)
    project = Path(__file__).parents[3]
    report, problems, _ = api.run(
        [
            "--config-file",
            str(project / "pyproject.toml"),
            "--cache-dir",
            str(project / ".mypy_cache"),
            "--no-error-summary",
            "--hide-error-context",
            str(file),
        ]
    )
    assert problems == ""
    found = {int(line) for line in re.findall(r"doors\.py:(\d+): error", report)}
    # A decorator's error is told at the decorator, the line before the method.
    expected = set()
    for number, line in enumerate(MODEL.splitlines(), 1):
        if line.endswith("# wrong"):
            expected.add(number - 1 if "def " in line else number)
    assert found == expected, report

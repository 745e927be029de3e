"""Every mistake in a model is found when the domain is put together, and said with class and file.

Each case is a module of its own, as a user writes it: some with annotations that are text, because
``from __future__ import annotations`` stands at the top.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cim_domain import Domain, ModelError
from tests.cim_domain.model.models import READ, SOUND, Load, compose, load_model, without


@pytest.fixture(params=["", "from __future__ import annotations\n"], ids=["plain", "future"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Load]:
    """Makes a module of some code and imports it."""
    before = set(sys.modules)
    yield lambda code: load_model(tmp_path, code, request.param)
    for name in set(sys.modules) - before:
        if name.startswith("doors_"):
            del sys.modules[name]


def test_a_sound_model_is_read(load: Load) -> None:
    module = load(SOUND + READ)
    domain = compose(module)
    assert set(domain.commands) == {"door.open"}
    assert set(domain.events) == {"door.opened"}
    assert set(domain.queries) == {"door.get", "gate.get"}
    assert set(domain.projections) == {"doors"}
    assert set(domain.processes) == {"doorman"}
    assert domain.aggregates["door"].key == ("name",)


def test_handlers_are_inherited_and_unions_share_one(load: Load) -> None:
    domain = compose(
        load("""
class Base(Command):
    name: str
class Open(Base, type="door.open"): pass
class Shut(Base, type="door.shut"): pass
class Moved(Event, type="door.moved"):
    open: bool
class Hinged:
    __slots__ = ()
    @decides
    def move(self, command: Open | Shut, metadata: Metadata) -> list[Moved] | None:
        return [Moved(open=isinstance(command, Open))]
@frozen
class Door(Hinged, Aggregate, key="name"):
    open: bool = False
    @evolves
    def moved(self, event: Moved, metadata: Metadata) -> Self:
        return evolve(self, open=event.open)
""")
    )
    assert set(domain.commands) == {"door.open", "door.shut"}


DECIDE = """    @decides
    def decide_open(self, command: Open) -> Opened:
        return Opened(name=command.name)
"""
EVOLVE = """    @evolves
    def was_opened(self, event: Opened) -> Self:
        return evolve(self, open=True)
"""
ANSWER = """    @answers
    async def get(self, query: GetDoor, views: Views) -> DoorView | None:
        return await views.first(DoorView, name=query.name)
"""
PROJECT = "def opened(self, view: DoorView | None, event: Opened) -> DoorView:"

MISTAKES: dict[str, tuple[str, str, str]] = {
    # Messages
    "type in capitals": (without(SOUND, '"door.open"', '"Door.Open"'), "Open", "lower snake case"),
    "type without an action": (without(SOUND, '"door.open"', '"door"'), "Open", "form"),
    "type with three parts": (without(SOUND, '"door.open"', '"a.b.c"'), "Open", "form"),
    "version 0": (
        without(SOUND, 'type="door.opened"', 'type="door.opened", version=0'),
        "Opened",
        "version 0",
    ),
    "alias that is no type": (SOUND + without(READ, "gate.get", "gate"), "GetDoor", "alias"),
    # Aggregates
    "not frozen": (without(SOUND, "@frozen\n"), "Door", "frozen"),
    "no key": (without(SOUND, 'key="name"', ""), "Door", "key"),
    "a key that is no field": (without(SOUND, 'key="name"', 'key="nam"'), "Open", "'nam'"),
    "a field without default": (
        without(SOUND, "open: bool = False", "open: bool"),
        "Door",
        "default",
    ),
    "a name that is no token": (
        without(SOUND, 'key="name"', 'key="name", name="Front Door"'),
        "Door",
        "snake",
    ),
    "no handler for a command": (without(SOUND, DECIDE), "Open", "no @decides"),
    "no handler for an event": (without(SOUND, EVOLVE), "Opened", "no @evolves"),
    "two handlers for a command": (
        SOUND + "\n" + without(DECIDE, "decide_open", "decide_again"),
        "Door",
        "two @decides",
    ),
    "two handlers for an event": (
        SOUND + "\n" + without(EVOLVE, "was_opened", "was_again"),
        "Door",
        "two @evolves",
    ),
    "a command of another aggregate": (
        without(SOUND, '"door.open"', '"gate.open"'),
        "Open",
        "not of the aggregate",
    ),
    "an event of another aggregate": (
        without(SOUND, '"door.opened"', '"gate.opened"'),
        "Opened",
        "not of the aggregate",
    ),
    "a command of no aggregate at all": (
        'class Shut(Command, type="dor.shut"):\n    name: str\n' + SOUND,
        "Shut",
        "no aggregate",
    ),
    "a command without type": (without(SOUND, ', type="door.open"'), "Open", "no type"),
    "an event without type": (without(SOUND, ', type="door.opened"'), "Opened", "no type"),
    "a command that is an event": (
        without(SOUND, "command: Open)", "command: Opened)"),
        "decide_open",
        "Command",
    ),
    "no annotation": (without(SOUND, "command: Open)", "command)"), "decide_open", "no annotation"),
    "an annotation that does not exist": (
        without(SOUND, "command: Open)", 'command: "Opn")'),
        "decide_open",
        "annotations",
    ),
    "an annotation of a module that lacks it": (
        without(SOUND, "command: Open)", 'command: "Open.missing")'),
        "decide_open",
        "annotations",
    ),
    "metadata before the command": (
        without(SOUND, "command: Open)", "metadata: Metadata, command: Open)"),
        "decide_open",
        "Metadata",
    ),
    "too many parameters": (
        without(SOUND, "command: Open)", "command: Open, metadata: Metadata, more: int)"),
        "decide_open",
        "parameters",
    ),
    "a last parameter that is no metadata": (
        without(SOUND, "command: Open)", "command: Open, clock: float)"),
        "decide_open",
        "Metadata",
    ),
    "a parameter by keyword": (
        without(SOUND, "command: Open)", "*, command: Open)"),
        "decide_open",
        "position",
    ),
    "an async decision": (
        without(SOUND, "def decide_open", "async def decide_open"),
        "decide_open",
        "async",
    ),
    "an async evolution": (
        without(SOUND, "def was_opened", "async def was_opened"),
        "was_opened",
        "async",
    ),
    "a static method": (
        without(
            SOUND,
            "@decides\n    def decide_open(self, ",
            "@decides\n    @staticmethod\n    def decide_open(",
        ),
        "decide_open",
        "plain methods",
    ),
    # Upcasters
    "a gap among upcasters": (
        without(SOUND, 'type="door.opened"', 'type="door.opened", version=3')
        + "\n@upcasts(Opened, 1)\ndef first(old: Json) -> Json: return old\n",
        "Opened",
        "no upcaster from version 2",
    ),
    "an upcaster too many": (
        SOUND + "\n@upcasts(Opened, 1)\ndef first(old: Json) -> Json: return old\n",
        "Opened",
        "upcaster from version 1",
    ),
    "two upcasters for a version": (
        without(SOUND, 'type="door.opened"', 'type="door.opened", version=2')
        + "\n@upcasts(Opened, 1)\ndef first(old: Json) -> Json: return old\n" * 2,
        "Opened",
        "two upcasters",
    ),
    # Projections
    "no @projects": (SOUND + without(READ, "    @projects\n"), "Doors", "no @projects"),
    "a query without an answer": (SOUND + without(READ, ANSWER), "GetDoor", "no @answers"),
    "a query answered twice": (
        SOUND + without(READ, ANSWER, ANSWER + without(ANSWER, "def get", "def again")),
        "Doors",
        "two @answers",
    ),
    "two queries of one type": (
        SOUND
        + READ
        + """
class GateView(DoorView, name="gate_view"): pass
class GetGate(Query, type="gate.get"): pass
class Gates(Projection):
    @projects
    def opened(self, view: GateView | None, event: Opened) -> GateView: return GateView(name="")
    @answers
    async def get(self, query: GetGate, views: Views) -> int: return 1
""",
        "GetGate",
        "both asked as 'gate.get'",
    ),
    "an event and a view in the wrong order": (
        SOUND
        + without(
            READ, PROJECT, "def opened(self, event: Opened, view: DoorView | None) -> DoorView:"
        ),
        "opened",
        "a View",
    ),
    "it returns another view": (
        SOUND
        + "class Other(View): pass\n"
        + without(READ, PROJECT, without(PROJECT, "-> DoorView", "-> Other")),
        "opened",
        "returns another",
    ),
    "two methods for one event and view": (
        SOUND
        + without(
            READ,
            "    @answers",
            "    @projects\n    "
            + without(PROJECT, "opened", "again")
            + "\n        return view\n    @answers",
        ),
        "Doors",
        "two @projects",
    ),
    "an event of no aggregate": (
        SOUND + 'class Rung(Event, type="door.rung"): pass\n' + READ,
        "Rung",
        "no @evolves",
    ),
    "the base of all events": (
        SOUND + without(READ, PROJECT, without(PROJECT, "event: Opened", "event: Event")),
        "Doors",
        "no aggregate",
    ),
    "a field to be indexed that is not there": (
        SOUND + without(READ, '("name",)', '("nam",)'),
        "DoorView",
        "'nam'",
    ),
    "a view's name that is no token": (
        SOUND + without(READ, '"door_view"', '"Door View"'),
        "DoorView",
        "snake",
    ),
    "two views of one name": (
        SOUND
        + without(
            READ, "class Doors(", 'class Twin(View, name="door_view"):\n    name: str\nclass Doors('
        )
        + """
class Twins(Projection):
    @projects
    def one(self, view: DoorView | None, event: Opened) -> DoorView: return DoorView(name="")
    @projects
    def two(self, view: Twin | None, event: Opened) -> Twin: return Twin(name="")
""",
        "Twin",
        "two views are named",
    ),
    "a projection's version 0": (
        SOUND + without(READ, "class Doors(Projection)", "class Doors(Projection, version=0)"),
        "Doors",
        "version 0",
    ),
    "a projection's name that is no token": (
        SOUND + without(READ, "class Doors(Projection)", 'class Doors(Projection, name="a.b")'),
        "Doors",
        "snake",
    ),
    "two projections of one name": (
        SOUND + READ + "class Others(Doors, name='doors'): pass",
        "Others",
        "same name",
    ),
    "an answer that waits for nobody": (
        SOUND + without(READ, "    async def get", "    def get").replace("await ", ""),
        "get",
        "async",
    ),
    "an answer that does not say what it returns": (
        SOUND + without(READ, "views: Views) -> DoorView | None:", "views: Views):"),
        "get",
        "returns",
    ),
    "an answer that cannot be written": (
        SOUND
        + "class Odd: pass\n"
        + without(READ, "views: Views) -> DoorView | None:", "views: Views) -> Odd:"),
        "get",
        "JSON",
    ),
    "an answer without views": (
        SOUND + without(READ, "query: GetDoor, views: Views", "query: GetDoor"),
        "get",
        "parameters",
    ),
    "an answer that takes a command": (
        SOUND + without(READ, "query: GetDoor, views: Views", "query: Open, views: Views"),
        "get",
        "a Query",
    ),
    # Processes
    "no @reacts": (SOUND + without(READ, "    @reacts\n"), "Doorman", "no @reacts"),
    "a reaction that waits for nobody": (
        SOUND + without(READ, "    async def opened", "    def opened"),
        "opened",
        "async",
    ),
    "a reaction to a command": (
        SOUND + without(READ, "self, event: Opened) -> Open", "self, event: Open) -> Open"),
        "opened",
        "a Event",
    ),
    "a process's name that is no token": (
        SOUND + without(READ, "class Doorman(Process)", 'class Doorman(Process, name="Door-man")'),
        "Doorman",
        "snake",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_by_class_and_file(load: Load, mistake: str) -> None:
    code, name, words = MISTAKES[mistake]
    with pytest.raises(ModelError) as caught:
        compose(load(code))
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "doors_" in message, "the file"


def test_two_aggregates_of_one_name_are_refused(load: Load) -> None:
    one, other = load(SOUND), load(SOUND)
    with pytest.raises(ModelError, match="the same name 'door'"):
        Domain("house", aggregates=[one.Door, other.Door])


def test_two_events_of_one_type_are_refused(load: Load) -> None:
    twin = 'class Twin(Event, type="door.opened"):\n    name: str\n\nclass Opened('
    evolution = EVOLVE.replace("was_opened", "was_twin").replace("Opened", "Twin")
    with pytest.raises(ModelError, match=r"have the same type 'door\.opened'"):
        compose(load(without(SOUND, "class Opened(", twin) + "\n" + evolution))


@pytest.mark.parametrize("name", ["House", "my.house", "my house", "", "1st", "häuser"])
def test_a_domains_name_is_one_token(name: str) -> None:
    with pytest.raises(ModelError, match="snake"):
        Domain(name)


def test_a_domain_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(ModelError, match="no domain 'nowhere'"):
        Domain.find("nowhere")


def test_a_processs_or_projections_event_must_be_of_the_domain(load: Load) -> None:
    module, other = load(SOUND + READ), load(SOUND)
    for readers in ({"projections": [module.Doors()]}, {"processes": [module.Doorman()]}):
        with pytest.raises(ModelError, match=r"Opened \(.*\) is an event of no aggregate"):
            Domain("house", aggregates=[other.Door], **readers)


def test_not_a_number_is_no_value_of_any_message(load: Load) -> None:
    module = load("class Weigh(Command, type='door.weigh'):\n    kilograms: float\n")
    for number in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match="finite number"):
            module.Weigh.from_wire(b'{"kilograms":%s}' % number.encode())
    assert module.Weigh.from_wire(b'{"kilograms":1.5}').kilograms == 1.5

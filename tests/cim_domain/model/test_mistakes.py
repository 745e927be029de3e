"""What class statements say wrong is told with the rest, when the domain is put together."""

import sys

import pytest

from cim_domain import Domain, ModelError
from cim_domain.model.aggregate import read_aggregate
from cim_domain.testing import Scenario
from tests.cim_domain.model.models import READ, SOUND, Load, compose, load_model, without

COMMAND = 'class Open(Command, type="door.open"'
EVENT = 'class Opened(Event, type="door.opened"'
STATE = "    open: bool = False\n"
PROJECTS = "    @projects\n    def opened("


@pytest.fixture
def load(tmp_path) -> Load:
    """Makes a module of some code and imports it."""
    before = set(sys.modules)
    yield lambda code: load_model(tmp_path, code)
    for name in set(sys.modules) - before:
        if name.startswith("doors_"):
            del sys.modules[name]


def process(keywords: str) -> str:
    return SOUND + without(READ, "class Doorman(Process", f"class Doorman(Process, {keywords}")


def projection(keywords: str) -> str:
    return SOUND + without(READ, "class Doors(Projection", f"class Doors(Projection, {keywords}")


def view(keywords: str) -> str:
    return SOUND + without(READ, ', indexed=("name",)', f", {keywords}")


def field(of: str, line: str) -> str:
    """The model with one more line in a class."""
    head, found, tail = (SOUND + READ).partition(f"class {of}(")
    assert found
    first, rest = tail.split("\n", 1)
    return f"{head}{found}{first}\n    {line}\n{rest}"


SHUT = """
class Shut(Event, type="door.shut"):
    name: str

@evolves
def was_shut(self, event: Shut) -> Door: return self

Door.was_shut = was_shut
"""
GATE = without(SOUND, "door.", "gate.").replace("Door", "Gate").replace("Open", "Swing")

MISTAKES = {
    # Values that make no sense
    "concurrency 0": (process("concurrency=0"), ["Doorman", "concurrency 0"]),
    "concurrency -1": (process("concurrency=-1"), ["Doorman", "concurrency -1"]),
    "concurrency as text": (process("concurrency='4'"), ["Doorman", "concurrency '4'"]),
    "concurrency in halves": (process("concurrency=1.5"), ["Doorman", "concurrency 1.5"]),
    "concurrency True": (process("concurrency=True"), ["Doorman", "concurrency True"]),
    "concurrency None": (process("concurrency=None"), ["Doorman", "concurrency None"]),
    "history as text": (process("history='no'"), ["Doorman", "history 'no'"]),
    "a process's name that is a number": (process("name=5"), ["Doorman", "name 5"]),
    "a process's name that is empty": (process("name=''"), ["Doorman", "''"]),
    "a view's keyword beside its parameters": (
        SOUND
        + "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
        + "class Shelf(View, Generic[T], indxed='x'):\n    x: T\n"
        + READ,
        ["Shelf", "indxed="],
    ),
    "a projection's version as text": (projection("version='2'"), ["Doors", "version '2'"]),
    "a projection's version None": (projection("version=None"), ["Doors", "version None"]),
    "an event's version as text": (
        without(SOUND, EVENT, f'{EVENT}, version="2"'),
        ["Opened", "version '2'"],
    ),
    "an event's version True": (
        without(SOUND, EVENT, f"{EVENT}, version=True"),
        ["Opened", "version True"],
    ),
    "a former name that is a number": (
        without(SOUND, EVENT, f"{EVENT}, formerly=5"),
        ["Opened", "formerly=5"],
    ),
    "a former name that is none": (
        without(SOUND, EVENT, f"{EVENT}, formerly='opened'"),
        ["Opened", "'opened'", "aggregate.action"],
    ),
    "a former name that is the name": (
        without(SOUND, EVENT, f"{EVENT}, formerly='door.opened'"),
        ["Opened", "'door.opened'", "now"],
    ),
    "a former name of a base": (
        SOUND + "\nclass Base(Event, formerly='door.made'):\n    name: str\n",
        ["Base", "formerly=", "type"],
    ),
    "a former name that another event has": (
        without(SOUND, EVENT, f"{EVENT}, formerly='door.shut'") + SHUT,
        ["Opened", "'door.shut'", "the type of", "Shut"],
    ),
    "a former name that two events claim": (
        without(SOUND, EVENT, f"{EVENT}, formerly='door.moved'")
        + without(SHUT, '"door.shut"', '"door.shut", formerly="door.moved"'),
        ["'door.moved'", "the former type of", "Opened", "Shut"],
    ),
    "a former name in the histories of another aggregate": (
        without(SOUND, EVENT, f"{EVENT}, formerly='gate.swung'")
        + GATE,
        ["Opened", "'gate.swung'", "an aggregate 'gate'"],
    ),
    "a type that is a number": (without(SOUND, '"door.open"', "5"), ["Open", "type 5"]),
    "an upcaster from a text": (
        SOUND + "\n@upcasts(Opened, '1')\ndef first(old: Json) -> Json: return old\n",
        ["Opened", "upcaster from version '1'"],
    ),
    "a key that is a number": (without(SOUND, 'key="name"', "key=5"), ["Door", "key=5"]),
    "a key twice": (
        without(SOUND, 'key="name"', 'key=("name", "name")'),
        ["Door", "'name' twice"],
    ),
    "a snapshot version in halves": (
        without(SOUND, 'key="name"', 'key="name", snapshot_version=1.5'),
        ["Door", "snapshot_version 1.5"],
    ),
    # Keywords that are none
    "typ= of a command": (
        without(SOUND, 'type="door.open"', 'typ="door.open"'),
        ["Open", "typ=", "did you mean 'type'?"],
    ),
    "versoin= of an event": (
        without(SOUND, EVENT, f"{EVENT}, versoin=2"),
        ["Opened", "versoin=", "did you mean 'version'?"],
    ),
    "version= of a command": (
        without(SOUND, COMMAND, f"{COMMAND}, version=2"),
        ["Open", "version="],
    ),
    "alias= of a query": (
        SOUND + without(READ, "aliases=", "alias="),
        ["GetDoor", "alias=", "'aliases'"],
    ),
    "index= of a view": (view("index=('name',)"), ["DoorView", "index=", "'indexed'"]),
    "keys= of an aggregate": (
        without(SOUND, 'key="name"', 'key="name", keys=1'),
        ["Door", "keys=", "'key'"],
    ),
    "versions= of a projection": (projection("versions=2"), ["Doors", "versions=", "'version'"]),
    "concurency= of a process": (
        process("concurency=2"),
        ["Doorman", "concurency=", "'concurrency'"],
    ),
    # Names that are taken
    **{
        f"a field {name} of {cls}": (field(cls, f"{name}: {kind}"), [cls, repr(name)])
        for cls, name, kind in [
            ("Open", "message_type", "str"),
            ("Open", "to_wire", "str"),
            ("Open", "model_dump", "str"),
            ("Open", "model_dump_json", "str = ''"),
            ("Open", "model_fields", "str = ''"),
            ("Open", "json", "str"),
            ("Open", "copy", "int = 1"),
            ("Opened", "schema_version", "int"),
            ("Opened", "upcasters", "dict[str, str]"),
            ("Opened", "from_log", "str = ''"),
            ("Opened", "schema_version", "ClassVar[int] = 2"),
            ("GetDoor", "aliases", "str"),
            ("DoorView", "view_name", "str"),
            ("DoorView", "indexed", "bool"),
            ("DoorView", "searched", "tuple[str, ...] = ()"),
            ("Door", "aggregate_name", "str = ''"),
            ("Door", "aggregate_key", "tuple[str, ...] = ()"),
            ("Door", "snapshot_version", "int = 1"),
            ("Doors", "projection_version", "int = 2"),
            ("Doorman", "process_name", "str = ''"),
        ]
    },
    "schema_version in the body": (
        field("Opened", "schema_version = 2"),
        ["Opened", "schema_version", "version="],
    ),
    "a method that is called as the kit's": (
        field("Open", "def to_wire(self): return b''"),
        ["Open", "to_wire"],
    ),
    "process_concurrency in the body": (
        field("Doorman", "process_concurrency = 3"),
        ["Doorman", "concurrency="],
    ),
    # A subclass without @frozen
    "a subclass without @frozen": (
        SOUND + "class _Gate(Door, key='name', name='door'): pass\n"
        "class Gate(_Gate, key='name', name='door'):\n    locked: bool = False\n",
        ["Gate", "add @frozen"],
    ),
    # Two of one name
    "two decisions of one name": (
        without(SOUND, STATE, f"{STATE}    @decides\n    def was_opened(self, c: Open): ...\n"),
        ["Door", "'was_opened'"],
    ),
    "a decision and a plain method of one name": (
        SOUND + "\n    def decide_open(self) -> None: ...\n",
        ["Door", "'decide_open'"],
    ),
    "a plain method, then a decision of one name": (
        without(SOUND, STATE, STATE + "    def decide_open(self) -> None: ...\n"),
        ["Door", "'decide_open'"],
    ),
    "a field and a decision of one name": (
        without(SOUND, "decide_open", "open"),
        ["Door", "'open'"],
    ),
    "two projections' methods of one name": (
        SOUND
        + without(
            READ,
            PROJECTS,
            f"{PROJECTS.replace('opened', 'get')}self, view: DoorView | None, event: Opened): ...\n"
            + PROJECTS,
        ),
        ["Doors", "'get'"],
    ),
    "two methods with a key of one name": (
        SOUND
        + without(
            READ,
            PROJECTS,
            "    @projects(key=lambda event, _: event.name)\n"
            "    def opened(self, view: DoorView | None, event: Opened): ...\n" + PROJECTS,
        ),
        ["Doors", "'opened'"],
    ),
    "two reactions of one name": (
        SOUND + READ + "    @reacts\n    async def opened(self, event: Opened) -> None: ...\n",
        ["Doorman", "'opened'"],
    ),
    "a reaction that a subclass replaces without a mark": (
        SOUND
        + READ
        + "class Porter(Doorman):\n    async def opened(self, event: Opened) -> None: ...\n",
        ["Porter", "@reacts"],
    ),
    "a verb of another kind of class": (
        SOUND
        + without(
            READ,
            PROJECTS,
            "    @reacts\n    async def sent(self, event: Opened) -> None: ...\n" + PROJECTS,
        ),
        ["Doors", "@reacts has no meaning"],
    ),
    "a key that is no function": (
        SOUND + without(READ, PROJECTS, "    @projects(key='name')\n    def opened("),
        ["Doors", "key='name'"],
    ),
    # Views
    "an indexed number": (view("indexed=5"), ["DoorView", "indexed=5"]),
    "a name to index that is none": (view("indexed='nam'"), ["DoorView", "'nam'", "'name'"]),
    "a name to search that is none": (view("searched='nam'"), ["DoorView", "'nam'"]),
    "a field that cannot be indexed": (
        SOUND + without(READ, 'indexed=("name",)):', "indexed='tags'):\n    tags: list[str] = []"),
        ["DoorView", "'tags' cannot be indexed"],
    ),
    "a field that cannot be searched": (
        SOUND + without(READ, 'indexed=("name",)):', "searched='at'):\n    at: int = 1"),
        ["DoorView", "'at' cannot be searched"],
    ),
    # One object in all states
    **{
        f"a default {default}": (
            "class Box:\n    def __init__(self): self.items = []\nSHARED = [1]\n"
            + without(SOUND, STATE, f"{STATE}    items: object = {default}\n"),
            ["Door", "'items'", "share"],
        )
        for default in [
            "[]", "{}", "set()", "bytearray()", "([],)", "Box()", "field(default=[])",
            "Factory(lambda: SHARED)", "field(factory=lambda: (SHARED,))",
        ]
    },
    "a list without annotation": (
        without(SOUND, STATE, f"{STATE}    items = []\n"),
        ["Door", "'items'", "annotation"],
    ),
    "a state that cannot be made": (
        without(SOUND, STATE, f"{STATE}    items: object = Factory(lambda: 1 / 0)\n"),
        ["Door", "ZeroDivisionError"],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_class_statement_is_told(load, mistake):
    code, words = MISTAKES[mistake]
    with pytest.raises(ModelError) as caught:
        compose(load(code))
    assert len(caught.value.mistakes) <= 3, caught.value.mistakes
    assert any(all(word in line for word in [*words, "doors_"]) for line in caught.value.mistakes)


@pytest.mark.parametrize(
    "default", ["()", "frozenset()", "Factory(list)", "field(factory=dict)", "((1, 'a'), None)"]
)
def test_what_cannot_be_changed_or_is_made_anew_may_be_a_default(load, default):
    compose(load(without(SOUND, STATE, f"{STATE}    items: object = {default}\n")))


def test_one_name_alone_is_as_good_as_a_tuple(load):
    module = load(
        SOUND
        + without(READ, 'indexed=("name",)', "indexed='name', searched='name'").replace(
            'aliases=("gate.get",)', "aliases='gate.get'"
        )
    )
    domain = compose(module)
    assert (module.DoorView.indexed, module.DoorView.searched) == (("name",), ("name",))
    assert set(domain.queries) == {"door.get", "gate.get"}


def test_every_state_before_all_events_is_its_own(load):
    module = load(without(SOUND, STATE, f"{STATE}    items: list[str] = Factory(list)\n"))
    model = read_aggregate(module.Door)
    model.initial.items.append("somebody's")
    assert model.initial.items == []
    Scenario(module.Door).state.items.append("somebody's")
    assert Scenario(module.Door).state.items == []


def test_further_bases_have_class_keywords_of_their_own(load):
    module = load(
        "class Coloured:\n"
        "    def __init_subclass__(cls, *, color='', **more):\n"
        "        super().__init_subclass__(**more)\n"
        "        cls.color = color\n"
        "class _Base(Coloured, Command): pass\n"
        + without(SOUND, COMMAND, "class Open(_Base, type='door.open', color='red'")
        + "class Ring(Command, Coloured, type='door.ring', color='blue'):\n    name: str\n"
        + "@decides\ndef ring(self, command: Ring) -> None: ...\n"
        + "Door.ring = ring\n"
    )
    assert (module.Open.color, module.Ring.color) == ("red", "blue")
    assert set(compose(module).commands) == {"door.open", "door.ring"}


def test_a_decorator_around_a_handler_is_no_second_method(load):
    domain = compose(
        load(
            "import functools\n"
            "def told(method):\n"
            "    @functools.wraps(method)\n"
            "    def wrapped(self, command: 'Open') -> 'Opened': return method(self, command)\n"
            "    return wrapped\n" + without(SOUND, "    @decides", "    @told\n    @decides")
        )
    )
    assert set(domain.commands) == {"door.open"}


def test_bases_are_no_part_of_a_domain(load):
    module = load(
        SOUND.replace("class Door(Aggregate", "class Door(_Named")
        .replace('key="name"', "name='door'")
        .replace("@frozen", "@frozen\nclass _Named(Aggregate, key='name'): pass\n\n@frozen")
        + READ
        + """
class _Hidden(Command, type="door.hide"):
    name: str
class Shared(Event):
    at: int
class Ringing(Process, abc.ABC):
    @abc.abstractmethod
    def tone(self) -> str: ...
"""
    )
    domain = Domain("house", aggregates=[module.Door], processes=[module.Doorman()])
    assert domain.aggregates["door"].key == ("name",)
    assert set(domain.commands) == {"door.open"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("aggregates=[Door()]", "give the class, Door"),
        ("aggregates=[Open]", "no class of an aggregate"),
        ("aggregates=[Door], projections=[Doors]", "give an object, Doors()"),
        ("aggregates=[Door], processes=[Doorman]", "give an object, Doorman()"),
        ("aggregates=[Door], processes=['doorman']", "'doorman' is no process"),
        ("aggregates=[Door, Door]", "given twice"),
    ],
)
def test_what_is_no_part_of_a_domain_is_refused(load, given, words):
    module = load(SOUND + READ)
    with pytest.raises(ModelError) as caught:
        eval(f"Domain('house', {given})", vars(module))
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once_each_on_its_line(load):
    wrong = process("concurrency=0")
    wrong = without(wrong, '"door.opened"', '"door.opened", version=3')
    wrong = without(wrong, STATE, STATE + "    items: list[str] = []\n")
    wrong = without(wrong, "name: str\n\nclass Opened", "name: str\n    json: str\n\nclass Opened")
    wrong = without(wrong, '("name",)', '("nam",)')
    wrong += 'class Ring(Query, type="door.ring"): pass\n'
    with pytest.raises(ModelError) as caught:
        compose(load(wrong))
    mistakes = caught.value.mistakes
    words = [
        "concurrency 0", "no upcaster from version 1", "no upcaster from version 2", "'items'",
        "'json'", "'nam'", "no @answers method for the query Ring",
    ]  # fmt: skip
    assert len(mistakes) == len(words), mistakes
    for word in words:
        assert sum(word in mistake for mistake in mistakes) == 1, (word, mistakes)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(words)} mistakes in the model:"
    assert tuple(lines) == mistakes


def test_what_a_method_that_cannot_be_read_would_have_done_is_not_told_as_missing(load):
    wrong = without(SOUND, "command: Open)", "command)")
    wrong += without(READ, "query: GetDoor, views: Views", "query: GetDoor")
    with pytest.raises(ModelError) as caught:
        compose(load(wrong))
    assert len(caught.value.mistakes) == 2


def test_a_scenario_tells_all_mistakes_of_its_aggregate(load):
    wrong = without(SOUND, "open: bool = False", "open: bool")
    module = load(without(wrong, 'key="name"', ""))
    with pytest.raises(ModelError) as caught:
        Scenario(module.Door)
    assert len(caught.value.mistakes) == 2

"""A natural key has one text: which, for which types, and what is no key."""

import datetime as dt
import sys
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

import pytest

from cim_domain import Invalid, ModelError
from cim_domain.commands.decoding import command_metadata, read_command
from cim_domain.identity import aggregate_id, fresh_id
from cim_domain.model.fields.keys import canonical_text, key_text
from cim_domain.model.metadata import utc_now
from cim_domain.testing import Scenario
from tests.cim_domain.model.models import SOUND, Load, compose, load_model, without


class Colour(StrEnum):
    RED = "red"


class Floor(IntEnum):
    GROUND = 0


class Kind(Enum):
    FRONT = "front door"


NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))


@pytest.fixture
def load(tmp_path) -> Load:
    """Makes a module of some code and imports it."""
    before = set(sys.modules)
    yield lambda code: load_model(tmp_path, code)
    for name in set(sys.modules) - before:
        if name.startswith("doors_"):
            del sys.modules[name]


def keyed(annotation: str) -> str:
    """The model of a door whose key has a type."""
    text = without(SOUND, "command: Open) -> Opened:\n        return Opened(name=command.name)",
                   "command: Open) -> Opened:\n        return Opened(name='x')")  # fmt: skip
    return without(
        text,
        'type="door.open"):\n    name: str',
        f'type="door.open"):\n    name: {annotation}',
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/srv/web", "/srv/web"),
        ("", ""),
        (" Zürich ", " Zürich "),
        ("None", "None"),
        (0, "0"),
        (-17, "-17"),
        (2**70, str(2**70)),
        (True, "true"),
        (False, "false"),
        (UUID("6F3C1D9A-6C1E-4F55-9F57-0F6F3C1D9A00"), "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"),
        (Colour.RED, "red"),
        (Floor.GROUND, "0"),
        (Kind.FRONT, "front door"),
        (dt.date(2026, 3, 1), "2026-03-01"),
        (NOON, "2026-03-01T12:00:00.000000Z"),
        (NOON.astimezone(EAST), "2026-03-01T12:00:00.000000Z"),
        (NOON.replace(microsecond=7), "2026-03-01T12:00:00.000007Z"),
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_value_has_one_text(value, text):
    assert key_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        None, 1.5, Decimal("1.50"), b"x", ("a",), dt.time(12), dt.datetime(2026, 3, 1, 12),  # noqa: DTZ001
        dt.datetime(1, 1, 1, tzinfo=EAST), "\ud800", 10**5000, object(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_key_has_no_text(value):
    with pytest.raises(ValueError, match=r"key|offset|years|character|digits"):
        key_text(value)


@pytest.mark.parametrize(
    "annotation",
    [
        "str", "int", "bool", "UUID", "dt.date", "dt.datetime", "Annotated[str, 'a name']",
        "NewType('Name', str)", "Literal['a', 'b']", "Enum('Side', {'LEFT': 'l'})",
        "IntEnum('Floor', {'GROUND': 0})", "StrEnum('Hue', {'RED': 'r'})",
        "__import__('pydantic').AwareDatetime", "__import__('pydantic').UUID4",
    ],
)  # fmt: skip
def test_a_field_of_such_a_type_can_be_a_key(load, annotation):
    compose(load(keyed(annotation)))


@pytest.mark.parametrize(
    "annotation",
    [
        "float", "Decimal", "bytes", "str | None", "None | int = None", "int | str", "list[str]",
        "tuple[str, str]", "dict[str, str]", "object", "dt.time", "dt.timedelta", "Literal['a', 1]",
        "Literal['a', None]", "Enum('Side', {'LEFT': 'l', 'ONE': 1})", "Opening",
        "Enum('Weight', {'LIGHT': 0.5})", "__import__('pydantic').NaiveDatetime",
        "Annotated[str | None, 'perhaps']",
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_when_the_domain_is_put_together(load, annotation):
    code = "class Opening(__import__('pydantic').BaseModel): pass\n" + keyed(annotation)
    with pytest.raises(ModelError, match=r"Door \(.*the key 'name' of Open \(.*is not one of"):
        compose(load(code))


def test_a_key_has_one_type_in_all_commands(load):
    ring = "class Ring(Command, type='door.ring'):\n    name: int\n" + SOUND
    ring += "\n    @decides\n    def ring(self, command: Ring) -> None: ...\n"
    with pytest.raises(ModelError, match=r"the key 'name' is str in Open .* and int in Ring"):
        compose(load(ring))


def test_one_instant_is_one_aggregate_wherever_the_clock_stands(load):
    module = load(keyed("dt.datetime"))
    domain = compose(module)
    one, other = module.Open(name=NOON), module.Open(name=NOON.astimezone(EAST))
    assert domain.id_for(one) == domain.id_for(other)
    assert domain.id_for(one) == aggregate_id(
        "house", None, "door", ["2026-03-01T12:00:00.000000Z"]
    )
    Scenario(module.Door).given(one).when(other).then(module.Opened(name="x"))


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("dt.datetime", dt.datetime(2026, 3, 1), "name: a time needs its offset"),  # noqa: DTZ001
        ("str", None, "name: None cannot be part of a key"),
        ("str", Decimal(1), "name: a Decimal cannot be part of a key"),
    ],
)
def test_a_value_that_is_no_key_is_invalid_by_its_path(load, annotation, value, words):
    module = load(keyed(annotation))
    domain = compose(module)
    with pytest.raises(Invalid, match=words) as caught:
        domain.id_for(module.Open.model_construct(name=value))
    assert caught.value.message.startswith("door.open: ")
    assert [field["path"] for field in caught.value.details["fields"]] == ["name"]


def test_the_path_of_a_field_is_that_of_its_json(load):
    code = "from pydantic import Field\n" + keyed("dt.datetime = Field(alias='openedAt')")
    module = load(code)
    command = module.Open.from_wire(b'{"openedAt": "2026-03-01T12:00:00"}')
    with pytest.raises(Invalid, match="openedAt: a time needs"):
        compose(module).id_for(command)


@pytest.mark.parametrize(
    ("kind", "written", "text"),
    [
        (str, "007", "007"),
        (int, "007", "7"),
        (bool, "true", "true"),
        (UUID, "6F3C1D9A6C1E4F559F570F6F3C1D9A00", "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"),
        (dt.date, "2026-03-01", "2026-03-01"),
        (dt.datetime, "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00.000000Z"),
    ],
)
def test_a_key_that_somebody_writes_has_the_same_text(kind, written, text):
    assert canonical_text(kind, written) == text


@pytest.mark.parametrize(
    ("kind", "written"),
    [(int, "seven"), (bool, "perhaps"), (UUID, "x"), (dt.datetime, "2026-03-01T12:00:00")],
)
def test_what_is_written_and_no_key_is_told(kind, written):
    with pytest.raises(ValueError, match=r"\w"):
        canonical_text(kind, written)


def test_the_parts_of_a_key_that_somebody_writes_are_as_many_as_it_has(load):
    model = compose(load(keyed("int"))).aggregates["door"]
    assert model.key_from(["007"]) == ("7",)
    with pytest.raises(ValueError, match="expected 1 part"):
        model.key_from(["1", "2"])


def test_what_a_client_sends_and_is_no_key_is_answered_invalid(load):
    domain = compose(load(keyed("dt.datetime")))
    metadata = command_metadata("door.open", {}, fresh_id, utc_now)
    with pytest.raises(Invalid, match=r"door\.open: name: a time needs") as caught:
        read_command(domain, metadata, {}, b'{"name": "2026-03-01T12:00:00"}')
    assert caught.value.details["fields"][0]["path"] == "name"
    read_command(domain, metadata, {}, b'{"name": "2026-03-01T12:00:00Z"}')

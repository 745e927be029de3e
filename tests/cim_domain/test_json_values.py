"""Whatever a model puts into the details of a rejection, its reply is a rejection."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.errors import Rejected
from cim_domain.model.metadata import Metadata
from cim_domain.wire.command_status import CommandStatus
from cim_domain.wire.outcome import Outcome

ID = "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SENT = Metadata(
    message_id=ID,
    message_type="tally.add",
    correlation_id=ID,
    causation_id=ID,
    timestamp=NOON,
    source="client",
)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Place:
    def __str__(self) -> str:
        return "/srv/\udc80"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Decimal("1.50"), "1.50"),
        (2**70, "1180591620717411303424"),
        (-(2**63), -(2**63)),
        (True, True),
        (frozenset({"a"}), ["a"]),
        (("a", {"b": (1, None)}), ["a", {"b": [1, None]}]),
        ({1: "a", ("b", 2): Colour.RED}, {"1": "a", "('b', 2)": "red"}),
        (Size.SMALL, 1),
        (NOON, "2026-11-21T12:00:00+00:00"),
        (UUID(ID), ID),
        (Place(), "/srv/?"),
        ("\ud800", "?"),
        ("Zürich", "Zürich"),
        (float("nan"), None),
    ],
    ids=lambda one: type(one).__name__,
)
def test_it_is_told_as_json_has_it(value: Any, told: Any) -> None:
    outcome = Outcome.refused(Rejected("tally.full", "no \ud800", value=value), SENT)
    reply = orjson.loads(outcome.to_wire())
    assert (reply["status"], reply["command_id"]) == ("rejected", ID)
    assert reply["error"] == {"code": "tally.full", "message": "no ?", "details": {"value": told}}
    standing = CommandStatus.done(outcome, ID, 1)
    assert CommandStatus.from_wire(standing.to_wire()).state == "rejected"


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()),
        st.binary(), st.decimals(), st.datetimes(), st.uuids(), st.complex_numbers(),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner), st.dictionaries(st.one_of(st.text(), st.none()), inner)
    ),
)  # fmt: skip


names = st.text().filter(lambda name: name not in {"self", "code", "message"})


@given(st.dictionaries(names, anything))
def test_there_is_nothing_that_cannot_be_told(details: Mapping[str, Any]) -> None:
    told = orjson.loads(orjson.dumps(Rejected("tally.full", "no", **details).as_dict()))
    assert told["details"].keys() == details.keys()

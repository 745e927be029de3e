"""What is stored comes back as what was decided, or is not stored."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
)
from pydantic.alias_generators import to_camel

from cim_domain import Event, View
from cim_domain.model.read_back import Altered, stored_event, stored_view

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Line(BaseModel):
    item: str
    number: int = 1


class Anything(Event, type="order.noted"):
    value: Any
    lines: tuple[Line, ...] = ()


class Exact(Event, type="order.placed"):
    count: int = 0
    lines: tuple[Line, ...] = ()
    by_place: dict[tuple[int, int], str] = Field(default_factory=dict)


class Secret(Event, type="order.paid"):
    token: SecretStr


class Hidden(Event, type="order.hidden"):
    reason: str = Field(default="none", exclude=True)


class TextOrTime(Event, type="order.due"):
    at: str | datetime


class Growing(Event, type="order.grown"):
    text: Annotated[str, AfterValidator(lambda text: text + "!")]


class OneWay(Event, type="order.sent"):
    place: str = Field(serialization_alias="Place", default="here")


class Camel(Event, type="order.named"):
    model_config = ConfigDict(alias_generator=to_camel)

    first_name: str
    lines: tuple[Line, ...] = ()


class WithPrivate(Event, type="order.kept"):
    _note: str = PrivateAttr(default="")


def private(note: str) -> WithPrivate:
    event = WithPrivate()
    event._note = note
    return event


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (Anything(value=math.nan), "value"),
        (Anything(value=(1, 2)), "value"),
        (
            Anything(value={"deep": [1, {"at": datetime(2026, 1, 1, tzinfo=UTC)}]}),
            "value.deep.1.at",
        ),
        (Anything(value={1, 2}), "value"),
        (Anything(value=object()), ""),
        (Exact(by_place={(1, 2): "x"}), "by_place"),
        (Exact().model_copy(update={"count": "many"}), "count"),
        (Exact().model_copy(update={"count": "5"}), "count"),
        (Exact().model_copy(update={"lines": (Line(item="a"), Line.model_construct())}), "lines.1"),
        (Exact.model_construct(count=1.5), "count"),
        (Secret(token="abc"), "token"),
        (Hidden(reason="said"), "reason"),
        (TextOrTime(at=NOON), "at"),
        (Growing(text="a"), "text"),
        (OneWay(place="there"), "place"),
        (private("said"), "_note"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Event) else one,
)
def test_what_would_come_back_otherwise_is_refused_with_its_path(event: Event, path: str) -> None:
    with pytest.raises(Altered) as caught:
        stored_event(event)
    assert caught.value.path.startswith(path)
    assert bool(caught.value.path) == bool(path)
    for value in ("abc", "many", "said", "there"):
        assert value not in str(caught.value)


def test_aliases_go_all_the_way() -> None:
    event = Camel(first_name="a", lines=(Line(item="b"),))
    data, stored = stored_event(event)
    assert data == b'{"firstName":"a","lines":[{"item":"b","number":1}]}'
    assert stored == event
    assert Camel.from_log(b'{"first_name":"a"}', 1) == Camel(first_name="a")


def test_what_comes_back_alike_is_given_as_it_comes_back() -> None:
    event = Exact(count=3, lines=(Line(item="a"),))
    assert stored_event(event) == (event.to_wire(), event)
    assert stored_event(Hidden()) == (b"{}", Hidden())


class NumberView(View):
    number: float


class SecretView(View):
    token: SecretStr


def test_a_view_may_hold_what_is_no_number() -> None:
    assert stored_view(NumberView(number=math.nan)) == b'{"number":"NaN"}'


def test_a_view_that_would_come_back_otherwise_is_refused() -> None:
    with pytest.raises(Altered, match="token"):
        stored_view(SecretView(token="abc"))
    with pytest.raises(Altered, match="number"):
        stored_view(NumberView.model_construct(number="many"))

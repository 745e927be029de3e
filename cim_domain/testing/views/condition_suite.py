"""What conditions on fields must do; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest

from cim_domain.errors import ModelError
from cim_domain.model.fields.conditions import Condition, Field, field
from cim_domain.testing.views.sample import (
    NOON,
    Colour,
    Database,
    Other,
    Size,
    Thing,
    keep,
    names,
)
from cim_domain.views.columns import EXACT
from cim_domain.views.criteria import MAX_VALUES
from cim_domain.views.port import ViewStore

RISING: Mapping[str, tuple[Field[Any], list[Any]]] = {
    "name": (field(Thing.name), ["", "A", "B", "a", "a b", "a-b", "\xff", "\uffee", "\U0001f680"]),
    "number": (field(Thing.number), [-(2**63), -1, 0, 9, 10, 2**63 - 1]),
    "ratio": (field(Thing.ratio), [-1e300, -0.5, 0.0, 5e-324, 2.0, 10.0]),
    "on": (field(Thing.on), [False, True]),
    "at": (
        field(Thing.at),
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            NOON,
            NOON + timedelta(microseconds=1),
            datetime(9999, 12, 31, tzinfo=UTC),
        ],
    ),
    "colour": (field(Thing.colour), [Colour.BLUE, Colour.RED]),
    "size": (field(Thing.size), [Size.SMALL, Size.LARGE]),
    "note": (field(Thing.note), ["", "a", "b"]),
    "rank": (field(Thing.rank), [-5, 0, 3]),
    "seen": (field(Thing.seen), [NOON, NOON + timedelta(days=1)]),
    "amount": (
        field(Thing.amount),
        [
            Decimal(f"-9{'0' * 40}1"),
            Decimal("-12.50"),
            Decimal("-12.4"),
            Decimal("-1E-30"),
            Decimal(0),
            Decimal("0.0999999999999999999999999999"),
            Decimal("0.1"),
            Decimal("9.99"),
            Decimal(10),
            Decimal(f"{'123456789' * 9}.01"),
        ],
    ),
    "fee": (field(Thing.fee), [Decimal("-0.01"), Decimal(0), Decimal("0.01")]),
    "day": (field(Thing.day), [date.min, date(999, 1, 1), date(2024, 2, 29), date.max]),
    "due": (field(Thing.due), [date(2024, 1, 31), date(2024, 10, 1)]),
    "token": (field(Thing.token), [UUID(int=0), UUID(int=9), UUID(int=10), UUID(int=2**128 - 1)]),
}
"""Of each field, values in their order."""


async def keep_rising(store: ViewStore, name: str) -> None:
    """A view for each value of a field; its text is the value's place."""
    count = len(RISING[name][1])
    await keep(
        store,
        {
            f"{count - place}": Thing.model_validate({"text": str(place), name: value})
            for place, value in enumerate(RISING[name][1])
        },
    )


async def places(store: ViewStore, *conditions: Condition) -> list[int]:
    """The places of those that meet conditions; the count of them says the same."""
    reader = store.reader(None)
    found = sorted(int(thing.text) for thing in (await reader.find(Thing, conditions)).items)
    assert await reader.count(Thing, conditions) == len(found)
    return found


class Comparing(Database):
    """Ranges, several values, and the lack of one."""

    @pytest.mark.parametrize("name", RISING)
    async def test_ranges_go_by_the_order_of_the_field(self, store: ViewStore, name: str) -> None:
        of, values = RISING[name]
        await keep_rising(store, name)
        everywhere = list(range(len(values)))
        for place, value in enumerate(values):
            assert await places(store, of < value) == everywhere[:place]
            assert await places(store, of <= value) == everywhere[: place + 1]
            assert await places(store, of > value) == everywhere[place + 1 :]
            assert await places(store, of >= value) == everywhere[place:]
            assert await places(store, of == value) == [place]
            assert await places(store, of != value) == [
                *everywhere[:place],
                *everywhere[place + 1 :],
            ]
        assert await places(store, of >= values[1], of < values[-1]) == everywhere[1:-1]

    @pytest.mark.parametrize("name", RISING)
    async def test_one_of_several_values(self, store: ViewStore, name: str) -> None:
        of, values = RISING[name]
        await keep_rising(store, name)
        assert await places(store, of.one_of([values[0], values[-1]])) == [0, len(values) - 1]
        assert await places(store, of.one_of(iter([values[0], values[0]]))) == [0]
        assert await places(store, of.one_of([])) == []

    @pytest.mark.parametrize("name", ["note", "rank", "seen", "fee", "due"])
    async def test_none_meets_no_range_and_is_another_value(
        self, store: ViewStore, name: str
    ) -> None:
        of, values = RISING[name]
        given = {"0": None, "1": values[0], "2": values[1]}
        await keep(store, {k: Thing.model_validate({"text": k, name: v}) for k, v in given.items()})
        assert await places(store, of.is_none()) == [0]
        assert await places(store, of == None) == [0]  # noqa: E711 - a condition of its own
        assert await places(store, of.is_not_none()) == [1, 2]
        assert await places(store, of >= values[0]) == [1, 2]
        assert await places(store, of <= values[0]) == [1]
        assert await places(store, of != values[0]) == [0, 2]
        assert await places(store, of.one_of([None, values[1]])) == [0, 2]
        assert await places(store, of.one_of([None])) == [0]

    @pytest.mark.parametrize(
        ("beginning", "found"),
        [
            ("", ["", "a", "a%", "a\x00", "ab", "aß", "b", "ß", "\ud7ff", "\ue000", "\U0010ffff"]),
            ("a", ["a", "a%", "a\x00", "ab", "aß"]),
            ("a%", ["a%"]),
            ("a\x00", ["a\x00"]),
            ("A", []),
            ("\ud7ff", ["\ud7ff"]),
            ("\U0010ffff", ["\U0010ffff"]),
            ("\ud800", []),
        ],
    )
    async def test_a_text_begins_so(
        self, store: ViewStore, beginning: str, found: list[str]
    ) -> None:
        every = ["", "a", "a%", "a\x00", "ab", "aß", "b", "ß", "\ud7ff", "\ue000", "\U0010ffff"]
        await keep(store, {str(place): Thing(name=text) for place, text in enumerate(every)})
        asked = [field(Thing.name).starts_with(beginning)]
        assert sorted(await names(store, where=asked, order_by="name")) == sorted(found)

    async def test_of_long_texts_the_beginning_is_looked_at(self, store: ViewStore) -> None:
        long = "x" * EXACT
        await keep(store, {"a": Thing(name=long + "a"), "b": Thing(name=long + "b")})
        asked = field(Thing.name)
        assert await names(store, where=[asked.starts_with(long)]) == [long + "a", long + "b"]
        assert await names(store, where=[asked == long + "a"]) == [long + "a"]
        with pytest.raises(ModelError, match=f"name starts_with: .* longer than {EXACT}"):
            await names(store, where=[asked.starts_with(long + "a")])

    @pytest.mark.parametrize(
        ("of", "low", "high"),
        [
            (field(Thing.number), -(2**70), 2**70),
            (field(Thing.rank), -(2**70), 2**70),
            (field(Thing.ratio), -inf, inf),
            (field(Thing.amount), Decimal("-1E+1000000"), Decimal("Infinity")),
            (
                field(Thing.at),
                datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            ),
        ],
    )
    async def test_what_no_view_can_have_is_compared_all_the_same(
        self, store: ViewStore, of: Field[Any], low: Any, high: Any
    ) -> None:
        await keep(store, {"0": Thing(text="0", rank=1), "1": Thing(text="1", rank=2)})
        for everywhere in (of > low, of >= low, of < high, of <= high, of != low, of != high):
            assert await places(store, everywhere) == [0, 1]
        for nowhere in (of < low, of <= low, of > high, of >= high, of == low, of == high):
            assert await places(store, nowhere) == []
        assert await places(store, of.one_of([low, high])) == []

    @pytest.mark.parametrize("value", [nan, Decimal("NaN")])
    async def test_what_is_no_number_is_in_no_range(self, store: ViewStore, value: Any) -> None:
        of: Field[Any] = field(Thing.amount) if isinstance(value, Decimal) else field(Thing.ratio)
        await keep(store, {"0": Thing(text="0")})
        for nowhere in (of < value, of <= value, of > value, of >= value, of == value):
            assert await places(store, nowhere) == []
        assert await places(store, of != value) == [0]

    async def test_as_many_values_as_may_be_are_found(self, store: ViewStore) -> None:
        await keep(store, {"0": Thing(text="0", number=MAX_VALUES - 1), "1": Thing(number=-1)})
        assert await places(store, field(Thing.number).one_of(range(MAX_VALUES))) == [0]

    async def test_first_takes_conditions(self, store: ViewStore) -> None:
        await keep(store, {"a": Thing(number=1), "b": Thing(number=2, on=True)})
        first = store.reader(None).first
        assert await first(Thing, field(Thing.number) > 1) == Thing(number=2, on=True)
        assert await first(Thing, field(Thing.number) > 1, on=False) is None


class Mistaken(Database):
    """Conditions that the model's code puts wrongly: they name themselves and no value."""

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            (lambda: [field(Thing.day) >= "soon"], r"Thing: day >=: "),  # type: ignore[operator]
            (lambda: [field(Thing.number).one_of(["soon"])], "Thing: number one_of: "),  # type: ignore[list-item]
            (lambda: [field(Thing.number).starts_with("soon")], "number starts_with: .* not text"),
            (lambda: [field(Thing.rank) < None], "rank <: None is neither less nor more"),
            (lambda: [field(Thing.text) == "soon"], "'text' is not indexed"),
            (lambda: [field(Other.name) == "soon"], r"Other\.name is a field of another view"),
            (lambda: [True], "a bool stands where a condition is expected"),
            (lambda: field(Thing.number) == 1, "not a list"),
            (lambda: "number", "not a list"),
            (lambda: [field(Thing.number).one_of(range(MAX_VALUES + 1))], "more than 10000"),
            (
                lambda: [
                    field(Thing.number).one_of(range(MAX_VALUES)),
                    field(Thing.rank).one_of([1]),
                ],
                "10001 values are asked for",
            ),
        ],
    )
    async def test_a_wrong_condition_is_named(
        self, store: ViewStore, asked: Callable[[], Any], told: str
    ) -> None:
        with pytest.raises(ModelError, match=told) as refused:
            await store.reader(None).find(Thing, asked())
        assert "soon" not in str(refused.value)

    @pytest.mark.parametrize(
        ("order_by", "told"),
        [
            (["number", "number"], "twice"),
            ([field(Thing.number), field(Thing.number).descending()], "twice"),
            ([field(Other.name)], "another view"),
            ([field(Thing.number) > 1], "a Condition stands where a field"),
            (["name", 1], "a int stands where a field"),
            ([*RISING][:9], "at most 8"),
        ],
    )
    async def test_a_wrong_order_is_named(self, store: ViewStore, order_by: Any, told: str) -> None:
        with pytest.raises(ModelError, match=told):
            await store.reader(None).find(Thing, order_by=order_by)

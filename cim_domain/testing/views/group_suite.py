"""Orders by several fields, and groups with counts and sums; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from cim_domain.errors import Failed, ModelError
from cim_domain.model.fields.conditions import Field, Ordering, field
from cim_domain.model.view import MAX_GROUPS, Counted, OrderBy, Summed
from cim_domain.testing.views.sample import (
    NOON,
    Colour,
    Database,
    Size,
    Thing,
    keep,
    names,
    some,
)
from cim_domain.views.columns import EXACT
from cim_domain.views.port import ViewStore

UP, DOWN = False, True

ORDERS: list[list[tuple[Field[Any], bool]]] = [
    [(field(Thing.number), DOWN)],
    [(field(Thing.rank), UP), (field(Thing.note), UP)],
    [(field(Thing.rank), UP), (field(Thing.note), DOWN)],
    [(field(Thing.note), DOWN), (field(Thing.rank), UP)],
    [(field(Thing.rank), DOWN), (field(Thing.at), DOWN)],
    [(field(Thing.number), DOWN), (field(Thing.ratio), UP), (field(Thing.note), DOWN)],
]


def ordering(order: list[tuple[Field[Any], bool]]) -> list[Ordering]:
    """As queries put it."""
    return [of.descending() if down else of.ascending() for of, down in order]


def expected(things: dict[str, Thing], order: list[tuple[Field[Any], bool]]) -> list[str]:
    """The names in an order: the last field's direction is that of the key, too."""
    found = sorted(things, reverse=order[-1][1])
    for of, down in reversed(order):

        def standing(key: str, name: str = of.name) -> tuple[bool, Any]:
            value = getattr(things[key], name)
            return value is not None, 0 if value is None else value

        found.sort(key=standing, reverse=down)
    return [things[key].name for key in found]


class OrderingBySeveral(Database):
    """By one field, then by the next, each in its direction."""

    @pytest.mark.parametrize("order", ORDERS)
    async def test_views_come_by_several_fields_each_in_its_direction(
        self, store: ViewStore, order: list[tuple[Field[Any], bool]]
    ) -> None:
        things = some(60)
        await keep(store, things)
        whole = expected(things, order)
        order_by = ordering(order)
        assert await names(store, order_by=order_by, limit=100) == whole
        assert await names(store, order_by=order_by, limit=100, descending=True) == whole[::-1]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", ORDERS)
    async def test_pages_by_several_fields_show_every_view_once(
        self,
        store: ViewStore,
        order: list[tuple[Field[Any], bool]],
        descending: bool,  # noqa: FBT001
    ) -> None:
        await keep(store, some(40))
        asked: dict[str, Any] = {"order_by": ordering(order), "descending": descending}
        whole = await names(store, **asked)
        paged: list[str] = []
        after = None
        while True:
            page = await store.reader(None).find(Thing, **asked, limit=3, after=after)
            paged += [thing.name for thing in page.items]
            after = page.next
            if after is None:
                break
        assert paged == whole

    @pytest.mark.parametrize(
        "order_by",
        ["number", ["number"], field(Thing.number), (field(Thing.number).ascending(),)],
    )
    async def test_one_field_is_named_in_several_ways(
        self, store: ViewStore, order_by: OrderBy
    ) -> None:
        await keep(store, {"1": Thing(name="b", number=2), "2": Thing(name="a", number=1)})
        assert await names(store, order_by=order_by) == ["a", "b"]


class Grouping(Database):
    """Counts and sums."""

    async def test_views_are_counted_by_a_field(self, store: ViewStore) -> None:
        await keep(
            store,
            {
                "1": Thing(colour=Colour.RED, on=True),
                "2": Thing(colour=Colour.BLUE),
                "3": Thing(colour=Colour.RED),
            },
        )
        await keep(store, {"1": Thing(colour=Colour.BLUE)}, "another")
        reader = store.reader(None)
        assert await reader.count_by(Thing, field(Thing.colour)) == [
            Counted(by=Colour.BLUE, count=1),
            Counted(by=Colour.RED, count=2),
        ]
        off = [field(Thing.on) == False]  # noqa: E712 - a condition of its own
        assert [one.count for one in await reader.count_by(Thing, field(Thing.colour), off)] == [
            1,
            1,
        ]
        assert await reader.count_by(Thing, field(Thing.on), {"number": 7}) == []

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("name", ["", "a\x00b\x01", "ä"]),
            ("number", [-(2**63), 7, 2**63 - 1]),
            ("ratio", [-0.5, 0.1]),
            ("on", [False, True]),
            ("at", [NOON]),
            ("size", [Size.SMALL, Size.LARGE]),
            ("rank", [None, 0, 1]),
            ("amount", [Decimal("-1.5"), Decimal(0), Decimal("12345678901234567890.12")]),
            ("due", [None, date(2024, 1, 31)]),
            ("token", [Thing().token]),
        ],
    )
    async def test_groups_have_the_field_s_own_values_in_order(
        self, store: ViewStore, name: str, values: list[Any]
    ) -> None:
        given = enumerate([*values, *reversed(values)])
        await keep(store, {str(key): Thing.model_validate({name: value}) for key, value in given})
        of: Field[Any] = field(getattr(Thing, name))
        found = await store.reader(None).count_by(Thing, of)
        assert found == [Counted(by=value, count=2) for value in values]
        assert [type(one.by) for one in found] == [type(value) for value in values]

    async def test_long_texts_are_whole_in_groups(self, store: ViewStore) -> None:
        texts = ["x" * EXACT, "x" * EXACT + "a", "x" * EXACT + "b" * 1000]
        await keep(
            store, {str(key): Thing(name=text, number=key) for key, text in enumerate(texts * 2)}
        )
        reader = store.reader(None)
        counted = await reader.count_by(Thing, field(Thing.name))
        assert sorted((one.by, one.count) for one in counted) == [(text, 2) for text in texts]
        summed = await reader.sum_by(Thing, field(Thing.name), field(Thing.number))
        assert sorted((one.by, one.sum) for one in summed) == list(
            zip(texts, [3, 5, 7], strict=True)
        )

    async def test_groups_of_two_fields(self, store: ViewStore) -> None:
        await keep(
            store,
            {
                "1": Thing(rank=1, on=True, number=10),
                "2": Thing(rank=1, on=False, number=20),
                "3": Thing(rank=None, on=True, number=30),
                "4": Thing(rank=1, on=True, number=40),
            },
        )
        reader = store.reader(None)
        by = field(Thing.rank), field(Thing.on)
        assert await reader.count_by(Thing, by) == [
            Counted(by=(None, True), count=1),
            Counted(by=(1, False), count=1),
            Counted(by=(1, True), count=2),
        ]
        assert await reader.sum_by(Thing, by, field(Thing.number)) == [
            Summed(by=(None, True), count=1, sum=30),
            Summed(by=(1, False), count=1, sum=20),
            Summed(by=(1, True), count=2, sum=50),
        ]

    async def test_sums_are_exact(self, store: ViewStore) -> None:
        large, tiny = Decimal("1" + "0" * 60), Decimal("1E-60")
        await keep(
            store,
            {
                "1": Thing(number=2**63 - 1, ratio=1e300, amount=large, fee=Decimal("0.10")),
                "2": Thing(number=2**63 - 1, ratio=-1e300, amount=tiny, fee=Decimal("0.20")),
                "3": Thing(number=-5, ratio=0.1, amount=-large),
                "4": Thing(number=0, ratio=0.2, amount=Decimal("-0.5")),
            },
        )
        reader = store.reader(None)
        assert await reader.sum(Thing, field(Thing.number)) == 2**64 - 7
        assert await reader.sum(Thing, field(Thing.ratio)) == float(Fraction(0.1) + Fraction(0.2))
        assert Fraction(await reader.sum(Thing, field(Thing.amount))) == Fraction(tiny) - Fraction(
            1, 2
        )
        assert str(await reader.sum(Thing, field(Thing.fee))) == "0.3"
        assert await reader.sum(Thing, field(Thing.number), [field(Thing.number) < 0]) == -5

    async def test_floats_beyond_all_bounds_are_infinite(self, store: ViewStore) -> None:
        await keep(store, {"1": Thing(ratio=1.7e308), "2": Thing(ratio=1.7e308)})
        assert await store.reader(None).sum(Thing, field(Thing.ratio)) == float("inf")

    async def test_the_sum_of_nothing_is_none_of_it(self, store: ViewStore) -> None:
        reader = store.reader(None)
        for of, zero in (
            (field(Thing.number), 0),
            (field(Thing.ratio), 0.0),
            (field(Thing.fee), Decimal(0)),
        ):
            total = await reader.sum(Thing, of)  # type: ignore[misc]
            assert (total, type(total)) == (zero, type(zero))
        await keep(store, {"1": Thing()})
        assert await reader.sum_by(Thing, field(Thing.rank), field(Thing.fee)) == [
            Summed(by=None, count=1, sum=Decimal(0))
        ]

    @pytest.mark.parametrize(
        "of", [field(Thing.name), field(Thing.at), field(Thing.on), field(Thing.size)]
    )
    async def test_what_is_no_number_is_not_summed(self, store: ViewStore, of: Field[Any]) -> None:
        with pytest.raises(ModelError, match=f"{of.name!r} cannot be summed"):
            await store.reader(None).sum(Thing, of)

    async def test_too_many_groups_are_refused(self, store: ViewStore) -> None:
        await keep(store, {str(key): Thing(number=key) for key in range(MAX_GROUPS)})
        reader = store.reader(None)
        assert len(await reader.count_by(Thing, field(Thing.number))) == MAX_GROUPS
        await keep(store, {"more": Thing(number=-1)})
        for asked in (
            reader.count_by(Thing, field(Thing.number)),
            reader.sum_by(Thing, field(Thing.number), field(Thing.amount)),
        ):
            with pytest.raises(Failed) as refused:
                await asked
            assert refused.value.code == "too_many_groups"

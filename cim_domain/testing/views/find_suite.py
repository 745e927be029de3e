"""What finding views must do, by fields and by text; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from cim_domain.errors import Invalid, ModelError
from cim_domain.model.view import Scalar
from cim_domain.testing.views.sample import (
    NOON,
    Colour,
    Database,
    Other,
    Size,
    Stranger,
    Thing,
    keep,
    named,
    names,
)
from cim_domain.views.port import ViewStore


class Filtering(Database):
    """Views whose fields have given values."""

    @pytest.mark.parametrize(
        ("field", "value", "same"),
        [
            ("name", "it's; DROP TABLE things --", "it's; DROP TABLE things --"),
            ("name", "a\x00b", "a\x00b"),
            ("number", 2**62, 2**62),
            ("ratio", 0.5, 0.5),
            ("ratio", 3.0, 3),
            ("on", True, True),
            (
                "at",
                datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
                "2025-01-01T00:00Z",
            ),
            ("at", datetime(2025, 1, 1, 0, 0, 0, 1, UTC), "2025-01-01T01:00:00.000001+01:00"),
            ("colour", Colour.BLUE, "blue"),
            ("colour", Colour.BLUE, Colour.BLUE),
            ("size", Size.LARGE, 2),
            ("note", "", ""),
            ("rank", 0, 0),
            ("seen", NOON, "2024-02-29T12:00:00Z"),
            ("seen", NOON, NOON),
            ("amount", Decimal("1.50"), Decimal("1.5")),
            ("amount", Decimal("-1E+20"), "-100000000000000000000"),
            ("fee", Decimal("0.1"), 0.1),
            ("day", date(2025, 1, 31), date(2025, 1, 31)),
            ("due", date(2025, 1, 31), "2025-01-31"),
            ("token", UUID(int=7), UUID(int=7)),
            ("token", UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ],
    )
    async def test_an_indexed_field_filters(
        self, store: ViewStore, field: str, value: object, same: Scalar
    ) -> None:
        match = Thing.model_validate({"text": "match", field: value})
        await keep(store, {"a": Thing(), "m": match, "z": Thing()})
        reader = store.reader(None)
        assert (await reader.find(Thing, {field: same})).items == [match]
        assert await reader.first(Thing, **{field: same}) == match
        assert await reader.count(Thing, {field: same}) == 1

    async def test_none_is_a_value_to_filter_by(self, store: ViewStore) -> None:
        await keep(store, {"a": Thing(name="a"), "b": Thing(name="b", note="", rank=0)})
        assert await names(store, where={"note": None, "rank": None, "seen": None}) == ["a"]

    async def test_conditions_all_hold(self, store: ViewStore) -> None:
        await keep(
            store,
            {
                "a": Thing(name="a", number=1, on=True),
                "b": Thing(name="b", number=1),
                "c": Thing(name="c", number=2, on=True),
            },
        )
        assert await names(store, where={"number": 1, "on": True}) == ["a"]
        assert await store.reader(None).count(Thing) == 3
        assert await store.reader(None).first(Thing, number=3) is None

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("number", "one"),
            ("number", True),
            ("number", 1.5),
            ("ratio", "0.5"),
            ("on", 1),
            ("at", "yesterday"),
            ("colour", "green"),
            ("name", 5),
            ("amount", "much"),
            ("day", "2025-02-30"),
            ("token", "7"),
            ("number", [1]),
        ],
    )
    async def test_a_value_of_another_type_is_a_mistake_of_the_model_that_names_the_condition(
        self, store: ViewStore, field: str, value: Scalar
    ) -> None:
        with pytest.raises(ModelError, match=f"Thing: {field} ==: ") as refused:
            await store.reader(None).find(Thing, {field: value})
        assert repr(value) not in str(refused.value)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("number", 2**63),
            ("number", -(2**70)),
            ("ratio", float("nan")),
            ("ratio", float("inf")),
            ("name", "\ud800"),
            ("at", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
            ("amount", Decimal("NaN")),
            ("amount", Decimal("Infinity")),
            ("amount", Decimal("1E+1000000")),
        ],
    )
    async def test_of_a_value_that_no_view_can_have_there_is_none(
        self, store: ViewStore, field: str, value: Scalar
    ) -> None:
        await keep(store, {"k": Thing()})
        assert await names(store, where={field: value}) == []
        assert await store.reader(None).count(Thing, {field: value}) == 0

    async def test_a_field_that_is_not_indexed_is_a_mistake_of_the_model(
        self, store: ViewStore
    ) -> None:
        reader = store.reader(None)
        with pytest.raises(ModelError, match="text"):
            await reader.find(Thing, {"text": "a"})
        with pytest.raises(ModelError, match="tags"):
            await reader.find(Thing, order_by="tags")
        with pytest.raises(ModelError, match="nothing"):
            await reader.count(Thing, {"nothing": 1})
        with pytest.raises(ModelError, match="searched"):
            await reader.find(Other, text="a")

    async def test_a_view_of_another_projection_is_a_mistake_of_the_model(
        self, store: ViewStore
    ) -> None:
        with pytest.raises(ModelError, match="Stranger"):
            await store.reader(None).get(Stranger, "k")
        with pytest.raises(ModelError, match="Stranger"):
            await store.load(Stranger, [("", "k")])
        with pytest.raises(ModelError, match="Stranger"):
            await keep(store, {"k": Stranger()})


class Searching(Database):
    """Views in which a text is found."""

    @pytest.mark.parametrize(
        ("held", "looked_for"),
        [
            ("Ärger im Büro", "ÄRGER"),
            ("STRASSE", "straße"),
            ("Straße", "STRASS"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("cafe\u0301", "CAFÉ"),
            ("100% sure", "0% S"),
            ("snake_case", "E_C"),
            ("C:\\nix\\store", "\\NIX\\"),
            ('it\'s "so"', "'S \"SO"),
            ("go 🚀 now", "🚀"),
            ("a*b?c[d]", "*B?C["),
        ],
    )
    async def test_text_is_looked_for_without_regard_to_case(
        self, store: ViewStore, held: str, looked_for: str
    ) -> None:
        await keep(store, {"in name": Thing(name=held), "in text": Thing(text=held)})
        await keep(store, {"no": Thing(name="nothing of the kind")})
        page = await store.reader(None).find(Thing, text=looked_for)
        assert [thing.name or thing.text for thing in page.items] == [held, held]

    @pytest.mark.parametrize("wild", ["%", "_", "a%c", "a_c", "*", "a.c"])
    async def test_nothing_that_is_looked_for_is_a_wildcard(
        self, store: ViewStore, wild: str
    ) -> None:
        await keep(store, named("abc"))
        assert await names(store, text=wild) == []

    @pytest.mark.parametrize("across", ["onetwo", "one two", "e\x00t", "e\x01t", "one\ntwo"])
    async def test_text_is_not_found_across_two_fields(self, store: ViewStore, across: str) -> None:
        await keep(store, {"k": Thing(name="one", text="two")})
        assert await names(store, text=across) == []

    async def test_text_is_looked_for_as_it_is_now_and_in_searched_fields_only(
        self, store: ViewStore
    ) -> None:
        await keep(store, {"k": Thing(name="old", note="secret")})
        await keep(store, {"k": Thing(name="new", note="secret")})
        assert await names(store, text="old") == []
        assert await names(store, text="secret") == []
        assert await names(store, text="new", where={"note": "secret"}) == ["new"]
        assert await names(store, text="new", where={"note": "other"}) == []

    async def test_half_a_surrogate_pair_is_not_looked_for(self, store: ViewStore) -> None:
        with pytest.raises(Invalid):
            await names(store, text="\ud800")

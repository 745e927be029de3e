"""What every adapter of views must do, as tests: subclass, and give the fixture `database`.

    class TestMyViews(ViewsConformance):
        @pytest.fixture
        async def database(self) -> AsyncIterator[ViewDatabase]:
            database = MyViews()
            yield database
            await database.close()

An adapter whose views outlive it overrides `reopen`. Needs pytest with pytest-asyncio in auto mode.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Any

import pytest

from cim_domain.errors import Failed, Invalid, ModelError, Unavailable
from cim_domain.projection import Projection, ProjectionModel
from cim_domain.view import MAX_LIMIT, Scalar, View
from cim_domain.views.port import (
    Change,
    CheckpointMoved,
    Superseded,
    ViewDatabase,
    ViewStore,
)

# A suite asserts, and its names are its documentation.
# ruff: noqa: S101


class Colour(StrEnum):
    """An enum of text."""

    RED = "red"
    BLUE = "blue"


class Size(Enum):
    """An enum of integers."""

    SMALL = 1
    LARGE = 2


NOON = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)


class Thing(
    View,
    indexed=("name", "number", "ratio", "on", "at", "colour", "size", "note", "rank", "seen"),
    searched=("name", "text"),
):
    """A view with a field of every kind."""

    name: str = ""
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    on: bool = False
    at: datetime = NOON
    colour: Colour = Colour.RED
    size: Size = Size.SMALL
    note: str | None = None
    rank: int | None = None
    seen: datetime | None = None
    tags: tuple[str, ...] = ()


class Other(View, indexed=("name",)):
    """A second view of the same projection, searched nowhere."""

    name: str


class Relaid(View, name="thing", indexed=("title",)):
    """The view of the same name with other fields."""

    title: str


class Stranger(View):
    """A view of no projection."""


def things(version: int = 1, views: tuple[type[View], ...] = (Other, Thing)) -> ProjectionModel:
    """The projection whose views the suite keeps."""
    return ProjectionModel(
        projection=Projection(), name="things", version=version, views=views, events={}, queries={}
    )


def put(key: str, value: View, organization: str = "") -> Change:
    """A view that is there from now on."""
    return Change(type(value), (organization, key), value)


def remove(key: str, organization: str = "", view: type[View] = Thing) -> Change:
    """A view that is gone from now on."""
    return Change(view, (organization, key), None)


async def keep(
    store: ViewStore, changes: Mapping[str, View] | Sequence[Change], organization: str = ""
) -> None:
    """Commit changes behind all that were committed before."""
    made = (
        [put(key, value, organization) for key, value in changes.items()]
        if isinstance(changes, Mapping)
        else changes
    )
    checkpoint = await store.checkpoint()
    await store.commit(made, expected=checkpoint, checkpoint=checkpoint + 1)


async def names(store: ViewStore, organization: str | None = None, **asked: Any) -> list[str]:
    """The names of the things on a page."""
    reader = store.reader(organization)
    page = await reader.find(Thing, **asked)
    return [thing.name for thing in page.items]


def named(*given: str) -> dict[str, View]:
    """Things with these names, their keys in the order given."""
    return {f"{number:04}": Thing(name=name) for number, name in enumerate(given)}


class ViewsConformance:
    """The tests; each has a database of its own, with nothing in it."""

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        """The same database as after a restart; here: as it is, for those that keep nothing."""
        return database

    @pytest.fixture
    async def store(self, database: ViewDatabase) -> ViewStore:
        """The first generation of a projection."""
        return await database.open(things())

    # commit, load, delete

    async def test_a_committed_view_is_loaded_as_it_was(self, store: ViewStore) -> None:
        whole = Thing(
            name="ünïcode ☃ \x00\x01 \"quoted' %_\\",
            number=-(2**63),
            ratio=0.1,
            on=True,
            at=datetime(1, 1, 2, 3, 4, 5, 678901, UTC),
            colour=Colour.BLUE,
            size=Size.LARGE,
            note="",
            rank=2**63 - 1,
            seen=NOON,
            tags=("a", "b"),
        )
        await keep(store, {"k": whole})
        assert await store.load(Thing, [("", "k")]) == {("", "k"): whole}
        assert await store.reader(None).get(Thing, "k") == whole

    async def test_load_gives_those_that_exist(self, store: ViewStore) -> None:
        await keep(store, named(*map(str, range(1200))))
        wanted = [("", f"{number:04}") for number in range(0, 2400, 2)]
        found = await store.load(Thing, wanted)
        assert set(found) == set(wanted[:600])
        assert found["", "0998"].name == "998"
        assert await store.load(Thing, []) == {}

    async def test_a_later_commit_replaces_and_removes(self, store: ViewStore) -> None:
        await keep(store, {"a": Thing(name="a", rank=1), "b": Thing(name="b", rank=1)})
        await keep(store, [put("a", Thing(name="a", rank=2)), remove("b"), remove("never")])
        assert await store.load(Thing, [("", "a"), ("", "b")]) == {
            ("", "a"): Thing(name="a", rank=2)
        }
        reader = store.reader(None)
        assert await reader.get(Thing, "b") is None
        assert await reader.count(Thing, {"rank": 1}) == 0
        assert await reader.count(Thing, {"rank": 2}) == 1

    async def test_views_of_two_classes_do_not_meet(self, store: ViewStore) -> None:
        await keep(store, [put("k", Thing(name="thing")), put("k", Other(name="other"))])
        assert await store.reader(None).get(Other, "k") == Other(name="other")
        await keep(store, [remove("k", view=Other)])
        assert await store.reader(None).get(Thing, "k") == Thing(name="thing")

    async def test_keys_are_told_apart_to_the_last_character(self, store: ViewStore) -> None:
        keys = ["", "a", "A", "a ", "a\x00", "a\x01", "ä", "a\u0308", "x" * 5000, "x" * 5001]
        await keep(store, {key: Thing(name=key) for key in keys})
        found = await store.load(Thing, [("", key) for key in keys])
        assert {key: thing.name for (_, key), thing in found.items()} == dict(
            zip(keys, keys, strict=True)
        )

    async def test_half_a_surrogate_pair_is_no_key(self, store: ViewStore) -> None:
        assert await store.reader(None).get(Thing, "\ud800") is None
        with pytest.raises(Failed):
            await keep(store, {"\ud800": Thing()})

    # checkpoints

    async def test_the_checkpoint_moves_with_the_commit(self, store: ViewStore) -> None:
        assert await store.checkpoint() == 0
        await store.commit([], expected=0, checkpoint=2**53)
        assert await store.checkpoint() == 2**53

    async def test_of_two_runners_one_moves_the_views(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        second = await database.open(things())
        await store.commit([put("k", Thing(name="one"))], expected=0, checkpoint=5)
        with pytest.raises(CheckpointMoved):
            await second.commit([put("k", Thing(name="two"))], expected=0, checkpoint=9)
        assert await second.checkpoint() == 5
        assert await names(second) == ["one"]

    async def test_a_skipped_event_moves_the_checkpoint_and_is_remembered(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, {"a": Thing(name="a")})
        await store.skip(7, expected=1)
        assert await store.checkpoint() == 7
        assert [await store.has_skipped(sequence) for sequence in (1, 6, 7, 8)] == [
            False, False, True, False,
        ]  # fmt: skip
        again = await (await self.reopen(database)).open(things())
        assert await again.has_skipped(7)
        with pytest.raises(CheckpointMoved):
            await again.skip(9, expected=1)
        assert not await again.has_skipped(9)

    async def test_what_one_generation_skipped_the_next_has_not(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await store.skip(1, expected=0)
        rebuilt = await database.rebuild(things())
        assert not await rebuilt.has_skipped(1)
        await rebuilt.commit([], expected=0, checkpoint=1)
        assert await database.switch(rebuilt)
        assert not await (await database.open(things())).has_skipped(1)
        with pytest.raises(Superseded):
            await store.has_skipped(1)
        with pytest.raises(Superseded):
            await store.skip(2, expected=1)

    async def test_a_failed_commit_changes_nothing(self, store: ViewStore) -> None:
        await keep(store, {"a": Thing(name="a")})
        too_large = Thing(number=2**63)
        with pytest.raises(Failed):
            await keep(store, [put("b", Thing(name="b")), remove("a"), put("c", too_large)])
        assert await store.checkpoint() == 1
        assert await names(store) == ["a"]

    @pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
    async def test_a_number_that_has_no_order_is_refused(
        self, store: ViewStore, ratio: float
    ) -> None:
        with pytest.raises(Failed) as refused:
            await keep(store, {"a": Thing(ratio=ratio)})
        assert refused.value.code == "view_value"

    # organizations

    async def test_organizations_never_meet(self, store: ViewStore) -> None:
        await keep(store, {"k": Thing(name="mine")}, "mine")
        await keep(store, {"k": Thing(name="yours")}, "yours")
        await keep(store, {"k": Thing(name="nobody's")})
        for organization, name in (("mine", "mine"), ("yours", "yours"), (None, "nobody's")):
            reader = store.reader(organization)
            assert await names(store, organization) == [name]
            assert await names(store, organization, text=name) == [name]
            assert await reader.count(Thing) == 1
            assert await reader.get(Thing, "k") == Thing(name=name)
            assert await reader.first(Thing, number=0) == Thing(name=name)
        assert await names(store, "MINE") == []
        assert await names(store, "mine' OR '1'='1") == []
        await keep(store, [remove("k", "mine")])
        assert await names(store, "mine") == []
        assert await names(store, "yours") == ["yours"]

    async def test_a_cursor_is_of_its_organization(self, store: ViewStore) -> None:
        await keep(store, named("a", "b"), "mine")
        page = await store.reader("mine").find(Thing, limit=1)
        with pytest.raises(Invalid):
            await store.reader("yours").find(Thing, limit=1, after=page.next)

    # filters

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
            ("number", 2**63),
            ("number", 2**70),
            ("ratio", "0.5"),
            ("ratio", float("nan")),
            ("on", 1),
            ("at", "yesterday"),
            ("colour", "green"),
            ("name", 5),
            ("name", "\ud800"),
        ],
    )
    async def test_a_value_that_the_field_cannot_have_is_invalid(
        self, store: ViewStore, field: str, value: Scalar
    ) -> None:
        with pytest.raises(Invalid) as refused:
            await store.reader(None).find(Thing, {field: value})
        assert refused.value.details["fields"][0]["path"] == field

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

    # text

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

    # order

    async def test_without_an_order_views_come_by_key(self, store: ViewStore) -> None:
        keys = ["b", "B", "a", "ä", "z", "\U0001f680", "\uffee", "", "10", "9"]
        await keep(store, {key: Thing(name=key) for key in keys})
        assert await names(store) == sorted(keys)
        assert await names(store, descending=True) == sorted(keys, reverse=True)

    async def test_text_is_ordered_by_code_points(self, store: ViewStore) -> None:
        given = [
            "b",
            "B",
            "a",
            "ä",
            "Z",
            "\U0001f680",
            "\uffee",
            "",
            "a b",
            "a-b",
            "a\x00",
            "a\x01",
        ]
        await keep(store, named(*given))
        assert await names(store, order_by="name") == sorted(given)
        assert await names(store, order_by="name", descending=True) == sorted(given, reverse=True)

    @pytest.mark.parametrize("field", ["note", "rank", "seen"])
    async def test_none_comes_first_and_last_when_descending(
        self, store: ViewStore, field: str
    ) -> None:
        values = {"note": ("", "a"), "rank": (-5, 3), "seen": (NOON, NOON + timedelta(seconds=1))}
        low, high = values[field]
        given = {"1": high, "2": None, "3": low, "4": None}
        await keep(
            store, {k: Thing.model_validate({"name": k, field: v}) for k, v in given.items()}
        )
        assert await names(store, order_by=field) == ["2", "4", "3", "1"]
        assert await names(store, order_by=field, descending=True) == ["1", "3", "4", "2"]

    async def test_numbers_times_and_bools_are_ordered_by_size(self, store: ViewStore) -> None:
        by_field: dict[str, list[object]] = {
            "number": [-(2**63), -1, 0, 9, 10, 2**63 - 1],
            "ratio": [-1e300, -0.5, 0.0, 1e-300, 2.0, 10.0],
            "on": [False, True],
            "size": [Size.SMALL, Size.LARGE],
            "at": [
                datetime(1, 1, 1, tzinfo=UTC),
                datetime(999, 12, 31, 23, 59, 59, 999999, UTC),
                datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
                datetime(2024, 1, 1, tzinfo=UTC),
                datetime(2024, 1, 1, 0, 0, 0, 1, UTC),
                datetime(9999, 12, 31, tzinfo=UTC),
            ],
        }
        for field, rising in by_field.items():
            order = [str(place) for place in range(len(rising))]
            await keep(
                store,
                {
                    f"{field} {len(rising) - place}": Thing.model_validate(
                        {"name": str(place), "text": f"<{field}>", field: value}
                    )
                    for place, value in enumerate(rising)
                },
            )
            asked = {"text": f"<{field}>", "order_by": field}
            assert await names(store, **asked) == order
            assert await names(store, **asked, descending=True) == order[::-1]

    async def test_ties_are_ordered_by_key(self, store: ViewStore) -> None:
        await keep(store, {key: Thing(name=key, number=1) for key in ("c", "a", "b")})
        assert await names(store, order_by="number") == ["a", "b", "c"]
        assert await names(store, order_by="number", descending=True) == ["c", "b", "a"]

    # pages

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order_by", [None, "name", "number", "ratio", "at", "note", "rank"])
    async def test_pages_show_every_view_once(
        self,
        store: ViewStore,
        order_by: str | None,
        descending: bool,  # noqa: FBT001
    ) -> None:
        await keep(store, some(23))
        whole = await names(store, order_by=order_by, descending=descending)
        assert len(set(whole)) == 23
        paged: list[str] = []
        reader, after = store.reader(None), None
        while True:
            page = await reader.find(
                Thing, order_by=order_by, descending=descending, limit=4, after=after
            )
            paged += [thing.name for thing in page.items]
            after = page.next
            if after is None:
                break
            assert len(page.items) == 4
        assert paged == whole

    async def test_a_full_last_page_has_no_cursor(self, store: ViewStore) -> None:
        await keep(store, named("a", "b", "c", "d"))
        reader = store.reader(None)
        first = await reader.find(Thing, limit=2)
        second = await reader.find(Thing, limit=2, after=first.next)
        assert [thing.name for thing in second.items] == ["c", "d"]
        assert second.next is None
        assert (await reader.find(Thing, {"name": "none"})).next is None

    @pytest.mark.parametrize("descending", [False, True])
    async def test_pages_neither_repeat_nor_skip_while_views_come_and_go(
        self,
        store: ViewStore,
        descending: bool,  # noqa: FBT001
    ) -> None:
        before = some(30)
        await keep(store, before)
        seen: list[str] = []
        reader, after, turn = store.reader(None), None, 0
        while True:
            page = await reader.find(
                Thing, order_by="rank", descending=descending, limit=5, after=after
            )
            seen += [thing.name for thing in page.items]
            after = page.next
            if after is None:
                break
            turn += 1
            shown = [key for key, thing in before.items() if thing.name in seen]
            new = {
                f"{key} {turn}": Thing(name=f"new {key} {turn}", rank=before[key].rank)
                for key in list(before)[::7]
            }
            await keep(
                store,
                [*(put(key, value) for key, value in new.items()), *map(remove, shown[:turn])],
            )
        assert len(seen) == len(set(seen))
        assert {thing.name for thing in before.values()} <= set(seen)

    async def test_skip_leaves_out_the_first(self, store: ViewStore) -> None:
        await keep(store, named("a", "b", "c", "d", "e"))
        assert await names(store, skip=2, limit=2) == ["c", "d"]
        assert await names(store, skip=5) == []
        page = await store.reader(None).find(Thing, limit=1)
        assert await names(store, after=page.next, skip=2) == ["d", "e"]

    @pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
    async def test_the_limit_has_bounds(self, store: ViewStore, limit: int) -> None:
        with pytest.raises(Invalid) as refused:
            await names(store, limit=limit)
        assert refused.value.details["fields"][0]["path"] == "limit"

    @pytest.mark.parametrize("skip", [-1, 2**70])
    async def test_what_is_skipped_has_bounds(self, store: ViewStore, skip: int) -> None:
        with pytest.raises(Invalid) as refused:
            await names(store, skip=skip)
        assert refused.value.details["fields"][0]["path"] == "skip"

    async def test_the_largest_page_is_full(self, store: ViewStore) -> None:
        await keep(store, named(*map(str, range(MAX_LIMIT + 1))))
        assert len(await names(store, limit=MAX_LIMIT)) == MAX_LIMIT

    @pytest.mark.parametrize(
        "other",
        [
            {"order_by": "name"},
            {"descending": True},
            {"where": {"number": 0}},
            {"text": "a"},
            {"where": {"note": None}},
        ],
    )
    async def test_a_cursor_of_another_query_is_refused(
        self, store: ViewStore, other: Mapping[str, Any]
    ) -> None:
        await keep(store, named("a", "b"))
        page = await store.reader(None).find(Thing, limit=1)
        assert page.next is not None
        with pytest.raises(Invalid) as refused:
            await names(store, limit=1, after=page.next, **other)
        assert refused.value.code == "invalid_cursor"

    @pytest.mark.parametrize(
        "cursor", ["", "?", "ä", "\ud800", "bnVsbA", "W10", "e30", "WzEsMiwzXQ", "A" * 100_000]
    )
    async def test_what_is_no_cursor_is_refused(self, store: ViewStore, cursor: str) -> None:
        with pytest.raises(Invalid) as refused:
            await names(store, after=cursor)
        assert refused.value.code == "invalid_cursor"

    async def test_a_cursor_that_was_cut_or_changed_is_refused(self, store: ViewStore) -> None:
        await keep(store, named("a", "b"))
        page = await store.reader(None).find(Thing, limit=1)
        assert page.next is not None
        for changed in (page.next[:-5], page.next[5:], page.next.swapcase(), page.next + "AAAA"):
            with pytest.raises(Invalid):
                await names(store, limit=1, after=changed)

    async def test_a_cursor_is_safe_in_a_url(self, store: ViewStore) -> None:
        await keep(store, named("\xff\xfe?>~", "z"))
        page = await store.reader(None).find(Thing, order_by="name", descending=True, limit=1)
        assert page.next is not None
        assert page.next.replace("-", "").replace("_", "").isalnum()
        assert page.next.isascii()

    # generations

    async def test_the_first_generation_is_live(self, store: ViewStore) -> None:
        assert (store.generation, store.live, store.model.name) == (1, True, "things")

    async def test_what_was_committed_is_there_when_opened_again(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("a"))
        again = await (await self.reopen(database)).open(things())
        assert (again.generation, again.live, await again.checkpoint()) == (1, True, 1)
        assert await names(again) == ["a"]

    async def test_a_new_version_is_built_beside_the_live_one(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.open(things(version=2))
        assert (building.generation, building.live, await building.checkpoint()) == (2, False, 0)
        await keep(building, named("new"))
        assert (await names(store), await names(building)) == (["old"], ["new"])
        assert store.live

    async def test_views_of_another_layout_are_built_anew(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.open(things(views=(Relaid,)))
        assert (building.generation, building.live, await building.checkpoint()) == (2, False, 0)
        await keep(building, {"k": Relaid(title="new")})
        assert await database.switch(building)

    @pytest.mark.usefixtures("store")
    async def test_an_unfinished_generation_is_resumed(self, database: ViewDatabase) -> None:
        building = await database.open(things(version=2))
        await keep(building, named("new"))
        database = await self.reopen(database)
        resumed = await database.open(things(version=2))
        assert (resumed.generation, resumed.live, await resumed.checkpoint()) == (2, False, 1)
        assert (await database.open(things(version=1))).live

    @pytest.mark.usefixtures("store")
    async def test_a_rebuild_drops_the_unfinished_and_begins_anew(
        self, database: ViewDatabase
    ) -> None:
        unfinished = await database.open(things(version=2))
        await keep(unfinished, named("half"))
        rebuilt = await database.rebuild(things(version=2))
        assert (rebuilt.live, await rebuilt.checkpoint(), await names(rebuilt)) == (False, 0, [])
        assert rebuilt.generation > unfinished.generation
        await assert_superseded(unfinished)
        with pytest.raises(Superseded):
            await unfinished.load(Thing, [("", "0000")])
        with pytest.raises(Unavailable):
            await names(unfinished)

    @pytest.mark.usefixtures("store")
    async def test_a_rebuild_leaves_what_is_being_built_for_another_version(
        self, database: ViewDatabase
    ) -> None:
        unfinished = await database.open(things(version=2))
        await keep(unfinished, named("half"))
        await replace(database, things())
        await keep(unfinished, named("more"))
        assert await unfinished.checkpoint() == 2

    @pytest.mark.usefixtures("store")
    async def test_a_rebuild_for_another_version_is_taken_up_where_it_was_left(
        self, database: ViewDatabase
    ) -> None:
        rebuilt = await database.rebuild(things(version=2))
        await keep(rebuilt, named("a"))
        resumed = await database.open(things(version=2))
        assert resumed.generation == rebuilt.generation

    async def test_a_switch_waits_until_the_new_one_has_caught_up(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await store.commit([put("k", Thing(name="old"))], expected=0, checkpoint=10)
        building = await database.open(things(version=2))
        await building.commit([put("k", Thing(name="new"))], expected=0, checkpoint=9)
        assert not await database.switch(building)
        assert (store.live, building.live) == (True, False)
        await building.commit([], expected=9, checkpoint=10)
        assert await database.switch(building)
        assert (store.live, building.live) == (True, True)
        assert await database.switch(building)

    @pytest.mark.usefixtures("store")
    async def test_a_switch_outlives_a_restart(self, database: ViewDatabase) -> None:
        building = await database.open(things(version=2))
        await keep(building, named("new"))
        await database.switch(building)
        database = await self.reopen(database)
        opened = await database.open(things(version=2))
        assert (opened.generation, opened.live, await names(opened)) == (2, True, ["new"])

    async def test_after_a_switch_the_old_one_is_read_but_takes_nothing(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.rebuild(things())
        await keep(building, named("new"))
        await database.switch(building)
        await assert_superseded(store)
        assert await names(store) == ["old"]
        assert await store.load(Thing, [("", "0000")]) == {("", "0000"): Thing(name="old")}
        with pytest.raises(Superseded):
            await database.switch(store)

    async def test_the_next_switch_drops_the_one_before(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        for _ in range(2):
            rebuilt = await database.rebuild(things())
            await keep(rebuilt, named("new"))
            assert await database.switch(rebuilt)
        await assert_superseded(store)
        with pytest.raises(Unavailable) as refused:
            await names(store)
        assert refused.value.code == "views_replaced"

    # versions side by side

    async def test_each_version_reads_and_writes_its_own_while_both_are_run(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        new = await replace(database, things(version=2))
        await keep(store, {"b": Thing(name="old, later")})
        await keep(new, {"b": Thing(name="new, later")})
        assert await names(store) == ["old", "old, later"]
        assert await names(new) == ["new", "new, later"]
        for version, generation in ((1, 1), (2, 2), (1, 1)):
            opened = await database.open(things(version=version))
            assert (opened.generation, opened.live) == (generation, True)

    async def test_a_rebuild_replaces_the_live_one_of_its_version_alone(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        new = await replace(database, things(version=2))
        again = await replace(database, things(version=2))
        await assert_superseded(new)
        assert (await database.open(things(version=2))).generation == again.generation
        assert (await database.open(things())).generation == store.generation
        await keep(store, named("old"))

    async def test_a_layout_is_a_version_of_its_own(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        relaid = await database.open(things(views=(Relaid,)))
        await relaid.commit([], expected=0, checkpoint=1)
        assert await database.switch(relaid)
        await keep(store, named("old"))
        assert (await database.open(things())).generation == store.generation

    async def test_who_goes_back_one_version_finds_its_views(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("first"))
        second = await replace(database, things(version=2))
        await replace(database, things(version=3))
        database = await self.reopen(database)
        back = await database.open(things(version=2))
        assert (back.generation, back.live) == (second.generation, True)
        assert await names(back) == ["new"]

    async def test_a_new_version_drops_all_but_the_one_used_last(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("first"))
        second = await replace(database, things(version=2))
        await replace(database, things(version=3))
        await assert_superseded(store)
        with pytest.raises(Unavailable) as refused:
            await names(store)
        assert refused.value.code == "views_replaced"
        assert await names(second) == ["new"]
        anew = await database.open(things())
        assert (anew.generation, anew.live, await anew.checkpoint()) == (4, False, 0)

    async def test_a_version_is_used_from_its_opening_on(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("first"))
        second = await replace(database, things(version=2))
        database = await self.reopen(database)
        # Back to the first, and on from there.
        first = await database.open(things())
        await replace(database, things(version=3))
        assert await names(first) == ["first"]
        await keep(first, named("still"))
        assert second.generation == 2
        assert (await database.open(things(version=2))).generation == 4

    async def test_what_is_begun_later_outlives_a_switch_and_what_was_begun_earlier_does_not(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        earlier, now, later = [
            await database.open(things(version=version)) for version in (2, 3, 4)
        ]
        await now.commit([], expected=0, checkpoint=1)
        assert await database.switch(now)
        await assert_superseded(earlier)
        await keep(later, named("later"))
        await keep(store, named("first"))

    async def test_a_version_that_looks_the_same_stands_in_for_one_that_is_being_built(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.open(things(version=2))
        found = await database.stand_in(things(version=2))
        assert found is not None
        assert (found.generation, await found.checkpoint()) == (store.generation, 1)
        assert await names(found) == ["old"]
        await keep(building, named("new"))
        await keep(store, {"b": Thing(name="later")})
        assert await names(found) == ["old", "later"]

    async def test_of_several_the_one_used_last_stands_in(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        second = await replace(database, things(version=2))
        found = await database.stand_in(things(version=3))
        assert found is not None
        assert found.generation == second.generation
        await database.open(things())
        found = await database.stand_in(things(version=3))
        assert found is not None
        assert found.generation == store.generation

    @pytest.mark.usefixtures("store")
    async def test_nothing_of_another_layout_stands_in(self, database: ViewDatabase) -> None:
        assert await database.stand_in(things(version=2, views=(Relaid,))) is None
        assert await database.stand_in(things()) is None

    async def test_projections_do_not_meet(self, database: ViewDatabase, store: ViewStore) -> None:
        others = ProjectionModel(Projection(), "others", 1, (Thing,), {}, {})
        second = await database.open(others)
        await keep(second, named("theirs"))
        assert (second.generation, second.live) == (1, True)
        assert await names(store) == []
        assert await store.checkpoint() == 0

    # the end

    async def test_after_close_every_call_is_unavailable(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await database.close()
        await database.close()
        with pytest.raises(Unavailable):
            await database.open(things())
        with pytest.raises(Unavailable):
            await store.checkpoint()
        with pytest.raises(Unavailable):
            await store.commit([], expected=0, checkpoint=1)
        with pytest.raises(Unavailable):
            await store.reader(None).get(Thing, "k")


async def replace(database: ViewDatabase, model: ProjectionModel) -> ViewStore:
    """Build views anew, of one thing named "new", and switch to them."""
    rebuilt = await database.rebuild(model)
    # As far as any other that a test has.
    await rebuilt.commit([put("0000", Thing(name="new"))], expected=0, checkpoint=100)
    assert await database.switch(rebuilt)
    return rebuilt


async def assert_superseded(store: ViewStore) -> None:
    """That a generation takes no events any more."""
    with pytest.raises(Superseded):
        await store.checkpoint()
    with pytest.raises(Superseded):
        await store.commit([put("x", Thing())], expected=1, checkpoint=2)


def some(count: int) -> dict[str, Thing]:
    """Things with ties and with fields that are None, their keys not in the order of any field."""
    return {
        f"key {number * 7 % count:03}": Thing(
            name=f"thing {number:03}",
            number=number % 3,
            ratio=number % 5 / 4,
            at=NOON + timedelta(microseconds=number % 4),
            note=None if number % 3 else str(number % 2),
            rank=None if number % 4 == 0 else number % 3,
        )
        for number in range(count)
    }

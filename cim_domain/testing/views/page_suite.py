"""What order, pages and cursors must do; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from cim_domain.errors import Invalid
from cim_domain.model.view import MAX_LIMIT
from cim_domain.testing.views.sample import (
    NOON,
    Database,
    Size,
    Thing,
    keep,
    named,
    names,
    put,
    remove,
    some,
)
from cim_domain.views.port import ViewStore


class Ordering(Database):
    """By key, or by a field and then by key."""

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


class Paging(Database):
    """A part of what is found, and the part behind it."""

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


class Cursors(Database):
    """What says where a page ended, and what is no such thing."""

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

    @pytest.mark.parametrize("order_by", [None, "name"])
    async def test_a_forged_cursor_with_what_no_view_can_have_is_refused(
        self, store: ViewStore, order_by: str | None
    ) -> None:
        await keep(store, named("a", "b"))
        reader = store.reader(None)
        real = (await reader.find(Thing, limit=1, order_by=order_by)).next
        assert real is not None
        digest, values, key = orjson.loads(base64.urlsafe_b64decode(real + "=" * (-len(real) % 4)))
        forgeries: list[list[Any]] = [
            [digest, values, f"{key}\x00"],
            [digest, [*values, "a"], key],
            [digest, "a", key],
            [digest, None, key],
            [digest, values, None],
        ]
        if values:
            forgeries += [
                [digest, [f"{values[0]}\x00"], key],
                [digest, [None], key],
                [digest, [1], key],
                [digest, [[]], key],
            ]
        for forged in forgeries:
            cursor = base64.urlsafe_b64encode(orjson.dumps(forged)).decode().rstrip("=")
            with pytest.raises(Invalid) as refused:
                await reader.find(Thing, limit=1, order_by=order_by, after=cursor)
            assert refused.value.code == "invalid_cursor"

    async def test_a_cursor_is_safe_in_a_url(self, store: ViewStore) -> None:
        await keep(store, named("\xff\xfe?>~", "z"))
        page = await store.reader(None).find(Thing, order_by="name", descending=True, limit=1)
        assert page.next is not None
        assert page.next.replace("-", "").replace("_", "").isalnum()
        assert page.next.isascii()

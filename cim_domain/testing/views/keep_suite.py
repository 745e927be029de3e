"""What keeping views must do, and its checkpoints; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

from datetime import UTC, datetime

import pytest

from cim_domain.errors import Failed, Invalid, Unavailable
from cim_domain.testing.views.sample import (
    NOON,
    Colour,
    Database,
    Other,
    Size,
    Thing,
    keep,
    named,
    names,
    put,
    read_up_to,
    remove,
    things,
)
from cim_domain.views.port import Checkpoint, CheckpointMoved, Superseded, ViewDatabase, ViewStore


class Keeping(Database):
    """Commit, load and delete, until the end."""

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

    async def test_a_failed_commit_changes_nothing(self, store: ViewStore) -> None:
        await keep(store, {"a": Thing(name="a")})
        too_large = Thing(number=2**63)
        with pytest.raises(Failed):
            await keep(store, [put("b", Thing(name="b")), remove("a"), put("c", too_large)])
        assert await read_up_to(store) == 1
        assert await names(store) == ["a"]

    @pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
    async def test_a_number_that_has_no_order_is_refused(
        self, store: ViewStore, ratio: float
    ) -> None:
        with pytest.raises(Failed) as refused:
            await keep(store, {"a": Thing(ratio=ratio)})
        assert refused.value.code == "view_value"

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
            await store.commit([], expected=0, checkpoint=Checkpoint(1))
        with pytest.raises(Unavailable):
            await store.reader(None).get(Thing, "k")


class Checkpoints(Database):
    """How far events were read, and which of them were skipped."""

    async def test_the_checkpoint_moves_with_the_commit(self, store: ViewStore) -> None:
        assert await read_up_to(store) == 0
        await store.commit([], expected=0, checkpoint=Checkpoint(2**53))
        assert await read_up_to(store) == 2**53

    async def test_of_two_runners_one_moves_the_views(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        second = await database.open(things())
        await store.commit([put("k", Thing(name="one"))], expected=0, checkpoint=Checkpoint(5))
        with pytest.raises(CheckpointMoved):
            await second.commit([put("k", Thing(name="two"))], expected=0, checkpoint=Checkpoint(9))
        assert await read_up_to(second) == 5
        assert await names(second) == ["one"]

    async def test_a_checkpoint_names_its_event(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await store.commit([], expected=0, checkpoint=Checkpoint(3, "third"))
        assert await store.checkpoint() == Checkpoint(3, "third")
        await store.skip(Checkpoint(4, "fourth"), expected=3)
        again = await (await self.reopen(database)).open(things())
        assert await again.checkpoint() == Checkpoint(4, "fourth")

    async def test_a_skipped_event_moves_the_checkpoint_and_is_remembered(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, {"a": Thing(name="a")})
        await store.skip(Checkpoint(7), expected=1)
        assert await read_up_to(store) == 7
        assert [await store.has_skipped(sequence) for sequence in (1, 6, 7, 8)] == [
            False, False, True, False,
        ]  # fmt: skip
        again = await (await self.reopen(database)).open(things())
        assert await again.has_skipped(7)
        with pytest.raises(CheckpointMoved):
            await again.skip(Checkpoint(9), expected=1)
        assert not await again.has_skipped(9)

    async def test_what_one_generation_skipped_the_next_has_not(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await store.skip(Checkpoint(1), expected=0)
        rebuilt = await database.rebuild(things())
        assert not await rebuilt.has_skipped(1)
        await rebuilt.commit([], expected=0, checkpoint=Checkpoint(1))
        assert await database.switch(rebuilt)
        assert not await (await database.open(things())).has_skipped(1)
        with pytest.raises(Superseded):
            await store.has_skipped(1)
        with pytest.raises(Superseded):
            await store.skip(Checkpoint(2), expected=1)


class Organizations(Database):
    """Views of one are hidden from the others."""

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

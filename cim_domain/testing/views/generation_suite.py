"""What building views anew must do; part of `cim_domain.testing.views`."""

# ruff: noqa: S101 - tests assert

import pytest

from cim_domain.errors import Unavailable
from cim_domain.model.projection import Projection, ProjectionModel
from cim_domain.testing.views.sample import (
    Database,
    Made,
    Relaid,
    Thing,
    keep,
    named,
    names,
    put,
    read_up_to,
    things,
)
from cim_domain.views.port import Checkpoint, Superseded, ViewDatabase, ViewStore


async def replace(database: ViewDatabase, model: ProjectionModel) -> ViewStore:
    """Build views anew, of one thing named "new", and switch to them."""
    rebuilt = await database.rebuild(model)
    # As far as any other that a test has.
    await rebuilt.commit([put("0000", Thing(name="new"))], expected=0, checkpoint=Checkpoint(100))
    assert await database.switch(rebuilt)
    return rebuilt


async def assert_superseded(store: ViewStore) -> None:
    """That a generation takes no events any more."""
    with pytest.raises(Superseded):
        await store.checkpoint()
    with pytest.raises(Superseded):
        await store.commit([put("x", Thing())], expected=1, checkpoint=Checkpoint(2))


class Generations(Database):
    """Views that are built beside those in use, and switched to."""

    async def test_the_first_generation_is_live(self, store: ViewStore) -> None:
        assert (store.generation, store.live, store.model.name) == (1, True, "things")

    async def test_what_was_committed_is_there_when_opened_again(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("a"))
        again = await (await self.reopen(database)).open(things())
        assert (again.generation, again.live, await read_up_to(again)) == (1, True, 1)
        assert await names(again) == ["a"]

    async def test_a_new_version_is_built_beside_the_live_one(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.open(things(version=2))
        assert (building.generation, building.live, await read_up_to(building)) == (
            2,
            False,
            0,
        )
        await keep(building, named("new"))
        assert (await names(store), await names(building)) == (["old"], ["new"])
        assert store.live

    async def test_views_of_another_layout_are_built_anew(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        building = await database.open(things(views=(Relaid,)))
        assert (building.generation, building.live, await read_up_to(building)) == (
            2,
            False,
            0,
        )
        await keep(building, {"k": Relaid(title="new")})
        assert await database.switch(building)

    async def test_abandoned_views_are_gone_and_others_begin_anew(
        self, database: ViewDatabase, store: ViewStore
    ) -> None:
        await keep(store, named("old"))
        await database.abandon(store)
        await assert_superseded(store)
        await database.abandon(store)
        anew = await database.open(things())
        assert (anew.generation, anew.live, anew.complete) == (2, True, False)
        assert (await read_up_to(anew), await names(anew)) == (0, [])

    @pytest.mark.usefixtures("store")
    async def test_an_unfinished_generation_is_resumed(self, database: ViewDatabase) -> None:
        building = await database.open(things(version=2))
        await keep(building, named("new"))
        database = await self.reopen(database)
        resumed = await database.open(things(version=2))
        assert (resumed.generation, resumed.live, await read_up_to(resumed)) == (
            2,
            False,
            1,
        )
        assert (await database.open(things(version=1))).live

    @pytest.mark.usefixtures("store")
    async def test_a_rebuild_drops_the_unfinished_and_begins_anew(
        self, database: ViewDatabase
    ) -> None:
        unfinished = await database.open(things(version=2))
        await keep(unfinished, named("half"))
        rebuilt = await database.rebuild(things(version=2))
        assert (rebuilt.live, await read_up_to(rebuilt), await names(rebuilt)) == (
            False,
            0,
            [],
        )
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
        assert await read_up_to(unfinished) == 2

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
        await store.commit([put("k", Thing(name="old"))], expected=0, checkpoint=Checkpoint(10))
        building = await database.open(things(version=2))
        await building.commit([put("k", Thing(name="new"))], expected=0, checkpoint=Checkpoint(9))
        assert not await database.switch(building)
        assert (store.live, building.live) == (True, False)
        await building.commit([], expected=9, checkpoint=Checkpoint(10))
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


class Versions(Database):
    """Generations of several versions, side by side."""

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
        await relaid.commit([], expected=0, checkpoint=Checkpoint(1))
        assert await database.switch(relaid)
        await keep(store, named("old"))
        assert (await database.open(things())).generation == store.generation

    async def test_code_that_handles_other_events_has_views_of_its_own(
        self, database: ViewDatabase, store: ViewStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Those there are lack what they were moved past before."""
        await keep(store, named("old"))
        building = await database.open(things(events=(Made,)))
        assert "things handles thing.made now" in caplog.text
        assert (building.generation, building.live, await read_up_to(building)) == (2, False, 0)
        # They look the same, so that those are read meanwhile.
        found = await database.stand_in(things(events=(Made,)))
        assert found is not None
        assert found.generation == store.generation
        await building.commit([], expected=0, checkpoint=Checkpoint(1))
        assert await database.switch(building)
        database = await self.reopen(database)
        again = await database.open(things(events=(Made,)))
        assert (again.generation, again.live) == (2, True)
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
        assert (anew.generation, anew.live, await read_up_to(anew)) == (4, False, 0)

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
        await now.commit([], expected=0, checkpoint=Checkpoint(1))
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
        assert (found.generation, await read_up_to(found)) == (store.generation, 1)
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
        assert await read_up_to(store) == 0

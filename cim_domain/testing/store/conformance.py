"""What an `EventStore` must do, as tests for every adapter.

    class TestMine(EventStoreConformance):
        @pytest.fixture
        async def store(self):
            async with my_store() as store:
                yield store

The store is empty at the start of each test, and of the domain `nix`: what is read from it says
``cim-domain-nix`` as its source. An adapter that keeps events beyond its own life takes
`PersistentConformance` and gives `reopen` as well. With pytest-asyncio in auto mode.
"""

# ruff: noqa: S101 - tests assert

from collections.abc import Awaitable, Callable

import pytest

from cim_domain.store.port import EventStore
from cim_domain.testing.records import all_of, commit, new_id, stored
from cim_domain.testing.store.append_suite import Appending, Refusing, Repeating
from cim_domain.testing.store.read_suite import Following, Loading, Reading

__all__ = ["EventStoreConformance", "PersistentConformance"]


class EventStoreConformance(Appending, Repeating, Refusing, Loading, Reading, Following):
    """For every adapter; give the fixture `store`."""

    @pytest.fixture
    def store(self) -> EventStore:
        """An empty store."""
        raise NotImplementedError("give the fixture `store`")


class PersistentConformance(EventStoreConformance):
    """For one that keeps its events; give the fixture `reopen` too."""

    @pytest.fixture
    def reopen(self) -> Callable[[], Awaitable[EventStore]]:
        """Gives another store on the same events, as another process would have it."""
        raise NotImplementedError("give the fixture `reopen`")

    async def test_what_was_stored_is_there_for_others(
        self, store: EventStore, reopen: Callable[[], Awaitable[EventStore]]
    ) -> None:
        flake = commit(new_id(), events=3)
        (position,) = await store.append([flake])
        other = await reopen()
        assert await other.head() == 3
        assert await other.load("flake", flake.aggregate_id) == stored([flake], 3)
        assert await all_of(other.read()) == stored([flake], 3)
        assert await other.append([flake]) == (position,)
        await other.append([commit(flake.aggregate_id, position)])
        assert await store.head() == 4

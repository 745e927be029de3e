"""Any store against the one in memory: random appends, valid, stale and repeated, and loads.

    class Machine(StoreModel):
        async def open(self, stack):
            return await stack.enter_async_context(my_empty_store())

    def test_it_does_what_memory_does():
        run_state_machine_as_test(Machine, settings=settings(max_examples=20))

Not a coroutine: Hypothesis runs it, and the machine has an event loop of its own.
"""

# ruff: noqa: S101 - tests assert

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit, EventStore, Position, StoreConflict
from cim_domain.testing.records import all_of, commit

T = TypeVar("T")

_FLAKES = ("one", "two", "three")
_some_flakes = st.lists(st.sampled_from(_FLAKES), min_size=1, max_size=3, unique=True)


class StoreModel(RuleBasedStateMachine):
    """The steps; give `open`."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._store = self._run(self.open(self._stack))
        self._model: EventStore = MemoryEvents()
        self._past: dict[str, list[Position]] = {flake: [START] for flake in _FLAKES}
        self._appended: list[list[Commit]] = []

    async def open(self, stack: AsyncExitStack) -> EventStore:
        """An empty store, closed with `stack`."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close the store."""
        self._run(self._stack.aclose())
        self._runner.close()

    @rule(flakes=_some_flakes, events=st.integers(1, 4))
    def append(self, flakes: list[str], events: int) -> None:
        """What is expected is so."""
        self._both([commit(flake, self._past[flake][-1], events=events) for flake in flakes])

    @rule(flakes=_some_flakes, events=st.integers(1, 3), choose=st.data())
    def append_on_any_expectation(
        self, flakes: list[str], events: int, choose: st.DataObject
    ) -> None:
        """What is expected was so once, for some at least."""
        self._both(
            [
                commit(flake, choose.draw(st.sampled_from(self._past[flake])), events=events)
                for flake in flakes
            ]
        )

    @precondition(lambda self: self._appended)
    @rule(choose=st.data())
    def append_again(self, choose: st.DataObject) -> None:
        """The same commits, whatever came of them."""
        self._both(choose.draw(st.sampled_from(self._appended)))

    @rule(flake=st.sampled_from(_FLAKES), choose=st.data())
    def load(self, flake: str, choose: st.DataObject) -> None:
        """From any position that the aggregate had."""
        after = choose.draw(st.sampled_from(self._past[flake]))
        found = self._run(self._store.load("flake", flake, after))
        assert found == self._run(self._model.load("flake", flake, after))

    @invariant()
    def the_logs_are_the_same(self) -> None:
        """Everything, in order."""
        assert self._run(all_of(self._store.read())) == self._run(all_of(self._model.read()))

    def _both(self, commits: list[Commit]) -> None:
        self._appended.append(commits)
        expected = self._run(_outcome(self._model, commits))
        assert self._run(_outcome(self._store, commits)) == expected
        if isinstance(expected[0], Position):
            for each, position in zip(commits, expected, strict=True):
                assert isinstance(position, Position)
                if position not in self._past[each.aggregate_id]:
                    self._past[each.aggregate_id].append(position)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


async def _outcome(store: EventStore, commits: list[Commit]) -> tuple[Position | str, ...]:
    try:
        return await store.append(commits)
    except StoreConflict as conflict:
        return ("conflict", *conflict.refused)

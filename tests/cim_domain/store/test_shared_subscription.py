"""One reading of the log for many followers: each sees what it would have seen by itself."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.errors import Failed, Unavailable
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import EventStore, Slice
from cim_domain.store.shared_subscription import TOGETHER, SharedSubscription
from cim_domain.testing.records import commit, new_id, take
from cim_domain.testing.store.read_suite import Following, fill
from tests.cim_domain.faulty import FaultyEvents, until


class Followed(FaultyEvents):
    """A store of which is known who follows it, and whose readings can be made to fail."""

    def __init__(self, inner: EventStore | None = None) -> None:
        super().__init__(inner or MemoryEvents())
        self.opened: list[int] = []
        self.open = 0
        self.failures: list[Exception] = []
        self.failed_heads: list[Exception] = []
        self.hold_closing: asyncio.Event | None = None
        self.fails_while_closing = False

    async def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        self.opened.append(after)
        self.open += 1
        try:
            async with aclosing(self.inner.follow(after)) as slices:
                async for part in slices:
                    if part.records and self.failures:
                        raise self.failures.pop(0)
                    yield part
        finally:
            self.open -= 1
            if self.hold_closing is not None:
                await self.hold_closing.wait()
            if self.fails_while_closing:
                raise Unavailable("the server went while the consumer was deleted")

    async def head(self) -> int:
        if self.failed_heads:
            raise self.failed_heads.pop(0)
        return await super().head()


class Tailed(FaultyEvents):
    """A store that is followed by way of a shared tail."""

    def __init__(self, inner: EventStore, keep: int) -> None:
        super().__init__(inner)
        self.tail = SharedSubscription(inner, keep)

    def follow(self, after: int = 0) -> AsyncGenerator[Slice, None]:
        return self.tail.follow(after)


class TestInMemory(Following):
    @pytest.fixture
    def store(self) -> Tailed:
        return Tailed(MemoryEvents(), 4096)


class TestKeepingLittle(Following):
    @pytest.fixture
    def store(self) -> Tailed:
        return Tailed(MemoryEvents(), 1)


class TestOnJetStream(Following):
    @pytest.fixture
    async def store(self, jetstream_events: JetStreamEvents) -> Tailed:
        return Tailed(jetstream_events, 4096)


def sequences(records: Sequence[object]) -> list[int]:
    return [one.metadata.sequence for one in records]  # type: ignore[attr-defined]


async def test_followers_that_are_up_to_date_share_one_reading_and_its_slices() -> None:
    store = Followed()
    await fill(store, 10)
    tail = SharedSubscription(store)
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(aclosing(tail.follow(10))) for _ in range(20)]
        for one in followers:
            assert await anext(one) == Slice((), 10)
        taking = [asyncio.create_task(anext(one)) for one in followers]
        await fill(store, 3)
        seen = await asyncio.gather(*taking)
        assert store.opened == [10]
        assert all(one is seen[0] for one in seen)
        assert sequences(seen[0].records) == [11, 12, 13]


async def test_what_comes_while_nobody_asks_for_more_is_one_slice() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    async with aclosing(tail.follow()) as busy, aclosing(tail.follow()) as other:
        await anext(busy)
        await anext(other)
        taking = [asyncio.create_task(anext(one)) for one in (busy, other)]
        await fill(store, 1)
        assert [sequences((await one).records) for one in taking] == [[1], [1]]
        for _ in range(3):
            await fill(store, 2)
        assert sequences((await anext(busy)).records) == list(range(2, 8))
        assert sequences((await anext(other)).records) == list(range(2, 8))


async def test_a_slice_of_what_is_kept_holds_no_more_than_was_said() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    async with aclosing(tail.follow()) as quick, aclosing(tail.follow()) as slow:
        await anext(quick)
        await anext(slow)
        for _ in range(3):
            await fill(store, 450)
            await take(quick, 450)
        assert sequences((await anext(slow)).records) == list(range(1, TOGETHER + 1))
        assert sequences((await anext(slow)).records) == list(range(TOGETHER + 1, 1351))


async def test_one_that_is_far_behind_catches_up_by_itself_and_shares_from_then_on() -> None:
    store = Followed()
    await fill(store, 2500)
    tail = SharedSubscription(store)
    async with aclosing(tail.follow(2500)) as first, aclosing(tail.follow(0)) as late:
        await anext(first)
        await until(lambda: store.open == 1)
        await anext(late)
        assert sequences(await take(late, 2500)) == list(range(1, 2501))
        assert store.opened == [2500, 0]
        for number in range(2501, 2511):
            taking = [asyncio.create_task(take(one, 1)) for one in (first, late)]
            await fill(store, 1)
            for one in taking:
                assert sequences(await one) == [number]
        assert store.opened == [2500, 0]
        assert store.open == 1


async def test_one_a_little_behind_needs_no_reading_of_its_own() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    async with aclosing(tail.follow()) as first:
        await anext(first)
        for _ in range(10):
            await fill(store, 3)
            await take(first, 3)
        async with aclosing(tail.follow(4)) as second:
            assert await anext(second) == Slice((), 30)
            assert sequences(await take(second, 26)) == list(range(5, 31))
        assert store.opened == [0]


async def test_one_that_falls_out_of_what_is_kept_catches_up_by_itself() -> None:
    store = Followed()
    tail = SharedSubscription(store, keep=5)
    async with aclosing(tail.follow()) as quick, aclosing(tail.follow()) as slow:
        await anext(quick)
        await anext(slow)
        for _ in range(30):
            await fill(store, 1)
            await take(quick, 1)
        assert sequences(await take(slow, 30)) == list(range(1, 31))
        assert store.opened == [0, 0]
        await fill(store, 1)
        assert sequences(await take(slow, 1)) == [31]
        await until(lambda: store.open == 1)


async def test_one_that_has_caught_up_misses_nothing_while_it_turns_to_the_others() -> None:
    store = Followed()
    await fill(store, 3)
    tail = SharedSubscription(store, keep=1)
    async with aclosing(tail.follow(3)) as quick, aclosing(tail.follow()) as late:
        await anext(quick)
        await anext(late)
        await until(lambda: store.open == 1)
        assert sequences(await take(late, 3)) == [1, 2, 3]
        store.hold_closing = asyncio.Event()
        taking = asyncio.create_task(take(late, 4))
        await until(lambda: store.open == 1)
        for _ in range(4):
            await fill(store, 1)
            await take(quick, 1)
        store.hold_closing.set()
        assert sequences(await taking) == [4, 5, 6, 7]


async def test_no_more_is_kept_than_was_said() -> None:
    store = Followed()
    tail = SharedSubscription(store, keep=7)
    async with aclosing(tail.follow()) as slices:
        await anext(slices)
        for number in range(1, 40):
            await store.append([commit(new_id(), events=1 + number % 3)])
            await take(slices, 1 + number % 3)
            assert sum(len(part.records) for part in tail._kept) <= 7


async def test_no_more_bytes_are_kept_than_was_said() -> None:
    store = Followed()
    await store.append([commit(new_id())])
    size = len(b'{"n":1}')
    tail = SharedSubscription(store, keep_bytes=3 * size)
    async with aclosing(tail.follow(1)) as slices:
        await anext(slices)
        for number in range(2, 12):
            await fill(store, 1)
            await take(slices, 1)
            assert len(tail._kept) == min(3, number - 1)


async def test_a_failing_reading_reaches_all_followers_and_following_anew_works() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    waiting = [asyncio.create_task(take(tail.follow(), 1)) for _ in range(5)]
    await until(lambda: tail._followers == 5 and store.open == 1)
    store.failures.append(Unavailable("closed for good"))
    await fill(store, 1)
    for one in waiting:
        with pytest.raises(Unavailable, match="closed for good"):
            await one
    async with aclosing(tail.follow()) as again:
        assert await anext(again) == Slice((), 1)
        assert sequences(await take(again, 1)) == [1]
        await fill(store, 1)
        assert sequences(await take(again, 1)) == [2]


async def test_one_that_is_busy_while_the_reading_fails_misses_nothing() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    async with aclosing(tail.follow()) as busy, aclosing(tail.follow()) as hit:
        await anext(busy)
        await anext(hit)
        await fill(store, 1)
        await take(busy, 1)
        await take(hit, 1)
        store.failures.append(Unavailable("lost"))
        failing = asyncio.create_task(take(hit, 1))
        await fill(store, 1)
        with pytest.raises(Unavailable):
            await failing
        async with aclosing(tail.follow(1)) as other:
            assert sequences(await take(other, 1)) == [2]
            await fill(store, 1)
            assert sequences(await take(busy, 2)) == [2, 3]


async def test_a_mistake_in_the_store_does_not_leave_followers_waiting() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    waiting = asyncio.create_task(take(tail.follow(), 1))
    await until(lambda: store.open == 1)
    store.failures.append(ZeroDivisionError())
    await fill(store, 1)
    with pytest.raises(Failed, match="ZeroDivisionError"):
        await waiting


async def test_a_store_that_is_away_at_the_beginning_is_told_and_nothing_is_left() -> None:
    store = Followed()
    store.failed_heads.append(Unavailable("away"))
    tail = SharedSubscription(store)
    with pytest.raises(Unavailable, match="away"):
        await anext(tail.follow())
    assert (tail._followers, tail._reading, store.opened) == (0, None, [])
    async with aclosing(tail.follow()) as slices:
        assert await anext(slices) == Slice((), 0)


async def test_with_the_last_follower_the_reading_ends() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    before = asyncio.all_tasks()
    async with aclosing(tail.follow()) as first:
        await anext(first)
        async with aclosing(tail.follow()) as second:
            await anext(second)
        await until(lambda: store.open == 1)
        assert len(asyncio.all_tasks() - before) == 1
    assert store.open == 0
    assert asyncio.all_tasks() == before


async def test_one_that_is_cancelled_while_it_waits_leaves_nothing() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(take(tail.follow(), 1))
    await until(lambda: store.open == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before


async def test_whoever_comes_while_the_last_one_leaves_gets_a_reading_of_his_own() -> None:
    store = Followed()
    tail = SharedSubscription(store)
    leaving = tail.follow()
    await anext(leaving)
    await until(lambda: store.open == 1)
    store.hold_closing = asyncio.Event()
    store.fails_while_closing = True
    closing = asyncio.create_task(leaving.aclose())
    await until(lambda: store.open == 0)
    async with aclosing(tail.follow()) as comer:
        await anext(comer)
        taking = asyncio.create_task(take(comer, 2))
        await fill(store, 1)
        store.hold_closing.set()
        await closing
        store.hold_closing, store.fails_while_closing = None, False
        await fill(store, 1)
        assert sequences(await taking) == [1, 2]


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("start"), st.integers(0, 12)),
    st.tuples(st.just("step"), st.integers(0, 5)),
    st.tuples(st.just("stop"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.just(0)),
)


class Follower:
    """One that goes on only when it is told to, and begins anew where it was when that fails."""

    def __init__(self, tail: SharedSubscription, after: int) -> None:
        self.tail = tail
        self.after = after
        self.seen: list[int] = []
        self.slices = tail.follow(after)
        self.next: asyncio.Task[Slice] | None = None

    async def step(self) -> None:
        if self.next is None:
            self.next = asyncio.create_task(anext(self.slices))
        for _ in range(8):
            await asyncio.sleep(0)
        if self.next.done():
            try:
                self.seen += sequences(self.next.result().records)
            except Unavailable:
                self.slices = self.tail.follow(self.seen[-1] if self.seen else self.after)
            self.next = None

    async def stop(self) -> None:
        if self.next is not None:
            self.next.cancel()
            await asyncio.wait([self.next])
        await self.slices.aclose()


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 6))
def test_whenever_followers_come_and_go_each_sees_exactly_what_follows(
    steps: list[tuple[str, int]], keep: int
) -> None:
    async def run() -> None:
        store = Followed()
        tail = SharedSubscription(store, keep)
        followers: list[Follower] = []
        appended = 0
        for step, number in steps:
            chosen = followers[number % len(followers)] if followers else None
            if step == "append":
                await store.append([commit(new_id(), events=number)])
                appended += number
            elif step == "start":
                followers.append(Follower(tail, max(0, appended - number)))
            elif step == "fail":
                store.failures = [Unavailable("lost")]
            elif chosen and step == "step":
                await chosen.step()
            elif chosen:
                followers.remove(chosen)
                await chosen.stop()
                assert chosen.seen == list(
                    range(chosen.after + 1, chosen.after + 1 + len(chosen.seen))
                )
        await store.append([commit(new_id())])
        appended += 1
        for one in followers:
            async with asyncio.timeout(5):
                while not one.seen or one.seen[-1] < appended:
                    await one.step()
        for one in followers:
            assert one.seen == list(range(one.after + 1, appended + 1))
            await one.stop()
        assert store.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())

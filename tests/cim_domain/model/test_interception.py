"""Interceptors: around which messages they are, and that none can lose what it is around."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cim_domain import (
    Busy,
    Command,
    Domain,
    Event,
    Handled,
    Message,
    Metadata,
    ModelError,
    Proceed,
    Query,
    Rejected,
    RequestError,
)
from cim_domain.errors import Failed
from cim_domain.model.interception import Interceptor, examine_interceptor, intercepted
from cim_domain.model.mistakes import Mistakes
from tests.cim_domain.tallies import Add, GetTally, Rename, Tallies, Tally

METADATA = Metadata.root("1", "tally.add", datetime.now(UTC), "client")
Function = Callable[[Any, Metadata, Proceed], Awaitable[None]]


def read(*functions: Function) -> list[Interceptor]:
    mistakes = Mistakes()
    found = [examine_interceptor(one, mistakes) for one in functions]
    mistakes.refuse()
    return [one for one in found if one]


async def run(
    *functions: Function,
    message: Message | None = None,
    handle: Callable[[], Awaitable[str]] | None = None,
    stands: bool = True,
    patience: float | None = None,
) -> str:
    async def done() -> str:
        return "done"

    return await intercepted(
        read(*functions), message or Add(name="a"), METADATA, handle or done, lambda _: None,
        stands=stands, patience=patience,
    )  # fmt: skip


async def test_the_first_is_the_outermost() -> None:
    seen: list[str] = []

    async def first(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        seen.append(f"first {metadata.message_type}")
        assert await proceed() == Handled()
        seen.append("first again")

    async def second(message: Message, metadata: Metadata, proceed: Proceed) -> None:
        seen.append("second")
        await proceed()
        seen.append("second again")

    assert await run(first, second) == "done"
    assert seen == ["first tally.add", "second", "second again", "first again"]


async def test_it_is_around_the_classes_that_it_names() -> None:
    async def refuse(message: Rename | Query, metadata: Metadata, proceed: Proceed) -> None:
        raise Busy("no")

    assert await run(refuse, message=Add(name="a")) == "done"
    for message in (Rename(name="a", title="b"), GetTally(name="a")):
        with pytest.raises(Busy):
            await run(refuse, message=message)


async def test_an_object_with_a_method_will_do() -> None:
    class Quota:
        async def __call__(self, message: Command, metadata: Metadata, proceed: Proceed) -> None:
            raise Busy("over quota", code="quota")

        async def around(self, message: Command, metadata: Metadata, proceed: Proceed) -> None:
            await proceed()

    assert await run(Quota().around) == "done"
    with pytest.raises(Busy) as refused:
        await run(Quota())
    assert refused.value.code == "quota"


async def test_what_neither_refuses_nor_goes_on_is_a_failure() -> None:
    async def forgetful(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        pass

    with pytest.raises(Failed, match="forgetful neither refused the message nor went on"):
        await run(forgetful)


async def test_a_failure_before_is_one_of_the_message_and_nothing_is_done() -> None:
    done: list[str] = []

    async def broken(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        raise SystemExit

    async def handle() -> str:
        done.append("done")
        return "done"

    with pytest.raises(Failed, match=r"broken failed: SystemExit \(test_interception.py"):
        await run(broken, handle=handle)
    assert done == []


async def test_none_can_swallow_an_error() -> None:
    told: list[RequestError | None] = []

    async def swallowing(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        told.append((await proceed()).error)

    async def handle() -> str:
        raise Rejected("tally.full", "it is full")

    with pytest.raises(Rejected, match="it is full"):
        await run(swallowing, handle=handle)
    [error] = told
    assert error
    assert error.code == "tally.full"


async def test_going_on_twice_does_it_once() -> None:
    times: list[int] = []

    async def twice(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await asyncio.gather(proceed(), proceed())
        await proceed()

    async def handle() -> str:
        times.append(1)
        return "done"

    assert await run(twice, handle=handle) == "done"
    assert times == [1]


async def test_who_stops_waiting_does_not_stop_it() -> None:
    gate = asyncio.Event()

    async def impatient(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        task = asyncio.ensure_future(proceed())
        await asyncio.sleep(0)
        task.cancel()
        gate.set()

    async def handle() -> str:
        await gate.wait()
        return "done"

    assert await run(impatient, handle=handle) == "done"


async def test_what_is_raised_afterwards_does_not_undo_a_command_but_keeps_an_answer_back() -> None:
    async def late(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await proceed()
        raise Rejected("tally.late", "too late")

    assert await run(late, stands=True) == "done"
    with pytest.raises(Rejected, match="too late"):
        await run(late, stands=False)


async def test_it_has_so_long_before_it_goes_on_and_handling_does_not_count() -> None:
    async def waiting(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await asyncio.Event().wait()

    async def quick(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await proceed()

    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "done"

    with pytest.raises(Failed, match=r"waiting took longer than 0\.1 s"):
        await run(waiting, patience=0.1)
    assert await run(quick, handle=slow, patience=0.1) == "done"


async def test_whoever_cancels_the_whole_cancels_what_is_handled() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def plain(message: Command, metadata: Metadata, proceed: Proceed) -> None:
        await proceed()

    async def handle() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    task = asyncio.create_task(run(plain, handle=handle))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cancelled.wait()


# Mistakes


def not_async(message: Command, metadata: Metadata, proceed: Proceed) -> None: ...


async def two(message: Command, metadata: Metadata) -> None: ...


async def bare(message, metadata, proceed) -> None: ...  # type: ignore[no-untyped-def]


async def of_events(message: Event, metadata: Metadata, proceed: Proceed) -> None: ...


class Elsewhere(Command, type="other.do"):
    name: str


async def of_others(message: Elsewhere, metadata: Metadata, proceed: Proceed) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (not_async, "not_async .*: it must be async"),
        (two, "two .*: expected the parameters"),
        (bare, "bare .*: expected the parameters"),
        (of_events, "of_events .*Event.* is no class of commands or queries"),
        (of_others, "of_others .*: Elsewhere .* is no command or query of this domain"),
        (3, "interceptors: 3 is no function"),
    ],
)
def test_mistakes_are_told_when_the_domain_is_put_together(function: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        Domain("sums", aggregates=[Tally], projections=[Tallies()], interceptors=[function])

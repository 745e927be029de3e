"""What the log holds and the code cannot read is told at the start and by health."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cim_domain.errors import Unavailable
from cim_domain.inspection.unknown_events import LogExamination
from cim_domain.nats.connection.link import Link
from cim_domain.store.decorator import EventsAround
from cim_domain.store.jetstream import JetStreamEvents, histories
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import commit, event, new_id
from tests.cim_domain.service.versions.changing import READ, SHOP, Shop, forgotten, renamed

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

CODE = SHOP + READ
NEWER = CODE.replace('type="order.placed"', 'type="order.placed", version=2') + (
    "\n@upcasts(OrderPlaced, 1)\ndef same(old: Json) -> Json: return old\n"
)
SHORT = "class Number(StrEnum):\n    ONE = '1'\n    TWO = '2'\n" + CODE.replace(
    'type="order.cancelled"):\n    number: str', 'type="order.cancelled"):\n    number: Number'
)
SHORTER = SHORT.replace("    TWO = '2'\n", "")
assert SHORT.count("Number") == 2


@pytest.fixture
def shop(nats_url: str, link: Link, tmp_path: Path) -> Shop:
    return Shop(nats_url, link, tmp_path)


async def events(shop: Shop, position: int = 0) -> Mapping[str, Any]:
    """What health says of the events, once it has looked so far."""
    async with asyncio.timeout(10):
        while (found := (await shop.checks())["events"])["position"] < position:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def test_of_types_that_it_does_not_know_all_are_counted_whenever_they_were_stored(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(CODE):
        for number in "12":
            await shop.sent("order.cancel", number)
        assert await events(shop, 2) == {"status": "healthy", "position": 2, "since": 1}
    async with shop.running(renamed(CODE, "")):
        assert "2 events of the type 'order.cancelled'" in caplog.text
        found = await events(shop)
        assert (found["status"], found["unknown"]) == ("degraded", {"order.cancelled": 2})
        assert 'formerly="order.cancelled"' in found["error"]
        assert "newer code" in found["error"]
        order = new_id()
        third = Commit(
            "order", order, START, (event(order, 1, "order.cancelled", b'{"number": "3"}'),)
        )
        await JetStreamEvents(shop.link, shop.subjects).append([third])
        assert (await events(shop, 3))["unknown"] == {"order.cancelled": 3}
    async with shop.running(renamed(CODE)):
        assert (await events(shop))["status"] == "healthy"


async def test_versions_after_its_own_are_counted(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(NEWER):
        last = await shop.sent("order.place", "1")
    async with shop.running(CODE):
        assert "1 event of order.placed in version 2" in caplog.text
        found = await events(shop)
        assert (found["status"], found["position"]) == ("degraded", last)
        assert found["newer"] == {"order.placed in version 2": 1}
        assert "run newer code" in found["error"]


async def test_what_its_own_types_do_not_take_any_more_is_counted_and_told_with_the_field(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(SHORT):
        for number in "122":
            await shop.sent("order.cancel", number)
    async with shop.running(SHORTER):
        found = await events(shop)
        assert (found["status"], found["unreadable"]) == ("degraded", {"order.cancelled": 2})
        assert "sequence 2" in found["error"]
        assert "number: Input should be '1'" in found["error"]
        assert "2 events of order.cancelled that this code cannot read" in caplog.text
        failed = await shop.client.send("order.cancel", {"number": "2"})
        assert failed.error is not None
        assert failed.error.code == "corrupt_event"


async def test_a_key_that_was_changed_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    titled = CODE.replace("    number: str", '    number: str\n    title: str = "none"', 4)
    async with shop.running(titled):
        for number in "12":
            await shop.sent("order.place", number)
        assert "other ids" not in caplog.text
        assert "other_ids" not in await events(shop, 2)
    async with shop.running(titled.replace('key="number"', 'key="title"')):
        assert "2 events of the aggregate 'order' that lie under other ids" in caplog.text
        found = await events(shop)
        # Who has changed it on purpose has these for good.
        assert (found["status"], found["other_ids"]) == ("healthy", {"order": 2})


async def test_fields_that_were_stored_and_are_ignored_are_told(shop: Shop) -> None:
    named = CODE.replace(
        'type="order.placed"):\n    number: str',
        'type="order.placed"):\n    number: str\n    item: str = "tea"',
    )
    async with shop.running(named):
        await shop.sent("order.place", "1")
        await shop.sent("order.cancel", "1")
        assert "ignored" not in await events(shop, 2)
    async with shop.running(named.replace("item: str", "article: str")):
        found = await events(shop)
        assert (found["status"], found["ignored"]) == ("healthy", {"order.placed": ["item"]})
    bare = SHOP.replace(
        'type="order.cancelled"):\n    number: str', 'type="order.cancelled"):\n    pass'
    )
    async with shop.running(
        bare.replace("OrderCancelled(number=command.number)", "OrderCancelled()")
    ):
        # Nothing is wanted of those without fields; this class has not the item of the other.
        assert (await events(shop))["ignored"] == {"order.placed": ["item"]}


async def test_of_a_long_log_all_are_counted_and_the_newest_are_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.running(NEWER):
        for number in range(30):
            await shop.sent("order.cancel" if number % 3 else "order.place", str(number))
    _, domain = shop.code(renamed(CODE, ""))
    log = JetStreamEvents(shop.link, shop.subjects)
    monkeypatch.setattr("cim_domain.inspection.unknown_events.NEWEST", 12)
    whole = await LogExamination(domain, log).look()
    monkeypatch.setattr(histories, "COUNTED", 5)
    by_partition = await LogExamination(domain, log).look()
    assert whole == by_partition
    assert (whole.head, whole.since) == (30, 19)
    assert whole.types == {"order.cancelled": 20}
    assert whole.newer == {("order.placed", 2): 4}


async def test_a_log_that_cannot_be_looked_at_holds_up_no_start(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.running(CODE):
        await shop.sent("order.place", "1")
    hung = asyncio.Event()

    async def never(_: JetStreamEvents) -> dict[str, int]:
        await hung.wait()
        return {}

    monkeypatch.setattr(JetStreamEvents, "types", never)
    async with shop.running(CODE):
        assert (await events(shop)) == {"status": "healthy", "position": 0}
        assert (await shop.order("1", 1))["state"] == "reserved"
        hung.set()
        assert (await events(shop, 1))["status"] == "healthy"


async def test_a_look_that_the_log_does_not_allow_is_told_and_made_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: JetStreamEvents) -> dict[str, int]:
        raise Unavailable("the log is away")

    monkeypatch.setattr(JetStreamEvents, "types", away)
    async with shop.running(CODE):
        failed = (await shop.checks())["events"]
        assert (failed["status"], failed["error"]) == ("unhealthy", "the log is away")
        monkeypatch.undo()
        async with asyncio.timeout(10):
            while (await shop.checks())["events"]["status"] != "healthy":  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_what_something_else_has_put_into_the_log_is_told(shop: Shop) -> None:
    async with shop.running(CODE):
        await shop.sent("order.place", "1")
        subject = shop.subjects.journal("order.placed", new_id())
        await shop.link.requests.one(subject, b"{}", timeout=5)
        found = await events(shop, 2)
        assert found["unreadable"] == {"order.placed": 1}
        assert "no event that this kit has written" in found["error"]


async def test_nothing_is_read_twice_also_where_a_look_has_failed(shop: Shop) -> None:
    async with shop.running(NEWER):
        await shop.sent("order.place", "1")
    _, domain = shop.code(CODE)
    stored = JetStreamEvents(shop.link, shop.subjects)
    faulty = Uncounted(stored)
    examination = LogExamination(domain, faulty)
    with pytest.raises(Unavailable):
        await examination.look()
    faulty.away = False
    assert (await examination.look()).newer == {("order.placed", 2): 1}


class Uncounted(EventsAround):
    """A store that cannot count while it is away."""

    away = True

    async def types(self) -> Mapping[str, int]:
        if self.away:
            raise Unavailable("the server is away")
        return await super().types()


async def test_later_looks_tell_of_what_has_come(shop: Shop) -> None:
    _, domain = shop.code(CODE)
    log = MemoryEvents()
    examination = LogExamination(domain, log)
    assert (await examination.look()).types == {}
    for number in (1, 2):
        await log.append([commit(new_id(), aggregate="flake")])
        found = await examination.look()
        assert (found.head, found.types) == (number, {"flake.renamed": number})
    assert await examination.look() is found

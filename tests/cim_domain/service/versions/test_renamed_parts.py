"""What becomes of what was stored when processes, commands, queries and views are renamed."""

import asyncio
from pathlib import Path

import pytest

from cim_domain.errors import NotFound, Unavailable
from cim_domain.nats.connection.link import Link
from tests.cim_domain.faulty import until
from tests.cim_domain.service.versions.changing import REACT, READ, SHOP, Shop, forgotten, renamed

pytestmark = pytest.mark.usefixtures("fresh_modules")
fresh_modules = pytest.fixture(forgotten)

CODE = SHOP + READ
FROM_NOW_ON = REACT.replace(", history=True", "")
FAILING = REACT.replace("SEEN.append(event.number)", "raise RuntimeError('a bug')")


@pytest.fixture
def shop(nats_url: str, link: Link, tmp_path: Path) -> Shop:
    return Shop(nats_url, link, tmp_path, attempts=1)


async def seen(found: list[str], *numbers: str) -> None:
    async with asyncio.timeout(10):
        await until(lambda: len(found) >= len(numbers))
    assert found == list(numbers)


async def test_a_process_of_another_name_begins_with_what_happens_then_and_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(CODE + FROM_NOW_ON):
        await shop.sent("order.cancel", "1")
    async with shop.running(CODE):
        await shop.sent("order.cancel", "2")
    assert "new to this log" not in caplog.text
    async with shop.running(CODE + FROM_NOW_ON.replace("Refunder", "Repayer")) as (module, _):
        assert "process repayer is new to this log" in caplog.text
        assert "none of the events before" in caplog.text
        await shop.sent("order.cancel", "3")
        await seen(module.SEEN, "3")


async def test_one_that_has_history_begins_at_the_beginning_and_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(CODE + REACT) as (module, _):
        await shop.sent("order.cancel", "1")
        await seen(module.SEEN, "1")
    assert "new to this log" not in caplog.text
    async with shop.running(CODE + REACT.replace("Refunder", "Repayer")) as (module, _):
        assert "repayer is new to this log, and reacts to 1 events that happened" in caplog.text
        await seen(module.SEEN, "1")


async def test_another_class_with_the_former_name_goes_on_where_that_was(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(CODE + FROM_NOW_ON) as (module, _):
        await shop.sent("order.cancel", "1")
        await seen(module.SEEN, "1")
    async with shop.running(CODE):
        await shop.sent("order.cancel", "2")
    kept = FROM_NOW_ON.replace("Refunder(Process", 'Repayer(Process, name="refunder"')
    async with shop.running(CODE + kept) as (module, _):
        await seen(module.SEEN, "2")
    assert "new to this log" not in caplog.text


async def test_a_stored_command_of_a_former_name_waits_and_says_so_until_code_has_it(
    shop: Shop,
) -> None:
    withdraw = CODE.replace('"order.cancel")', '"order.withdraw")')
    async with shop.running(CODE):
        await shop.sent("order.place", "1")
    stored = await shop.client.submit("order.cancel", {"number": "1"})
    async with shop.running(withdraw):
        async with asyncio.timeout(20):
            while (queue := (await shop.checks())["submissions"]).get("state") != "waiting":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "no command 'order.cancel'" in queue["error"]
        assert (await shop.client.status(stored.command_id)).state == "waiting"
    # Both names, and one method for the two.
    both = withdraw.replace(
        "@frozen\nclass Order(",
        'class OldCancel(Command, type="order.cancel"):\n    number: str\n\n@frozen\nclass Order(',
    ).replace("command: Cancel)", "command: Cancel | OldCancel)")
    async with shop.running(both):
        done = await shop.client.wait_for(stored.command_id, timeout=20)
        assert done.state == "accepted"
        assert (await shop.sent("order.withdraw", "2")) == 3


async def test_a_query_is_answered_under_its_former_names(shop: Shop) -> None:
    code = CODE.replace('type="order.get"', 'type="order.find", aliases="order.get"')
    async with shop.running(code):
        last = await shop.sent("order.place", "1")
        for name in ("order.get", "order.find"):
            asked = await shop.client.ask(name, {"number": "1"}, min_sequence=last)
            assert asked.json()["state"] == "reserved"
    async with shop.running(CODE.replace('type="order.get"', 'type="order.find"')):
        with pytest.raises(NotFound) as failed:
            await shop.client.ask("order.get", {"number": "1"})
        assert failed.value.code == "unknown_query"


async def test_a_view_without_one_of_its_fields_is_built_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.running(CODE):
        last = await shop.sent("order.place", "1")
        assert (await shop.order("1", last)) == {"number": "1", "state": "reserved"}
    less = CODE.replace("    number: str\n    state: str\n", "    number: str\n", 1)
    less = less.replace(', state="reserved")\n\n    @projects', ")\n\n    @projects")
    less = less.replace(', state="cancelled")\n\n    @answers', ")\n\n    @answers")
    assert less.count("state=") == 2
    async with shop.running(less):
        last = await shop.sent("order.place", "2")
        assert (await shop.order("1", last)) == {"number": "1"}
        assert (await shop.checks())["projection.orders"]["generation"] == 2
    assert "projection orders has views of other fields" in caplog.text


async def test_dead_letters_of_a_former_event_are_replayed_under_its_name_of_today(
    shop: Shop,
) -> None:
    async with shop.running(CODE + FAILING):
        await shop.sent("order.cancel", "1")
        letter = await letter_of(shop, "process.refunder")
    async with shop.running(renamed(CODE + REACT, "")):
        with pytest.raises(Unavailable, match="either newer code") as unknown:
            await shop.client.replay("process.refunder", letter)
        assert unknown.value.code == "unknown_event"
    async with shop.running(renamed(CODE + REACT)) as (module, _):
        assert (await shop.client.replay("process.refunder", letter)).result == "handled"
        assert module.SEEN == ["1"]


async def test_dead_letters_of_a_former_process_are_replayed_by_what_has_its_name(
    shop: Shop,
) -> None:
    async with shop.running(CODE + FAILING):
        await shop.sent("order.cancel", "1")
        letter = await letter_of(shop, "process.refunder")
    async with shop.running(CODE + FROM_NOW_ON.replace("Refunder", "Repayer")):
        with pytest.raises(NotFound, match="its former name") as unknown:
            await shop.client.replay("process.refunder", letter)
        assert unknown.value.code == "unknown_consumer"
    kept = REACT.replace("Refunder(Process", 'Repayer(Process, name="refunder"')
    async with shop.running(CODE + kept) as (module, _):
        assert (await shop.client.replay("process.refunder", letter)).result == "handled"
        assert module.SEEN == ["1"]


async def letter_of(shop: Shop, consumer: str) -> int:
    """The place of the one letter there is, once it is there."""
    async with asyncio.timeout(20):
        while not (letters := await shop.client.dead_letters.page()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    (letter,) = letters
    assert letter.letter.consumer == consumer
    return letter.sequence

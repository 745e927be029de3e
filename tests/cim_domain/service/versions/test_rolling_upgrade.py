"""Two versions of a domain on one server: what the older cannot do, the newer does, and nothing is
buried over it; forth, and back again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from cim_domain import Domain
from cim_domain.client import DomainClient
from cim_domain.errors import Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.service.service import Service
from cim_domain.service.settings import ServiceSettings
from tests.cim_domain.service.versions import shop_after, shop_before

SOON = 20.0
"""Seconds within which whatever is waited for comes."""


class Installation:
    """A server, and what runs on it of the two versions of the shop."""

    def __init__(self, nats_url: str, link: Link) -> None:
        prefix = f"t{uuid4().hex[:12]}"
        self.nats = load_settings(url=nats_url, subject_prefix=prefix)
        self.link = link
        self.subjects = Subjects("shop", prefix)
        self.client = DomainClient(link, self.subjects, retry=5)

    @asynccontextmanager
    async def running(self, domain: Domain) -> AsyncIterator[Service]:
        # With one attempt, nothing is left of it where a hand-back were taken for one.
        settings = ServiceSettings(views="memory", attempts=1)
        async with Service(domain, self.nats, settings) as service:
            yield service

    async def have_met(self) -> None:
        """Both versions have run here, and are gone."""
        for domain in (shop_before.shop(), shop_after.shop()):
            async with self.running(domain):
                pass

    async def wrote(self, *commands: Any) -> None:
        """The newer version has done this, and reacted to none of it."""
        async with self.running(shop_after.shop(reacting=False)):
            for command in commands:
                assert (await self.client.send(command)).error is None

    async def log(self) -> Counter[str]:
        """How many events of each type there are."""
        return Counter([one.metadata.message_type async for one in self.client.events()])

    async def letters(self) -> int:
        info = await call(self.link.requests, f"STREAM.INFO.{self.subjects.dead_letter_stream}")
        return int(info["state"]["messages"])

    async def process(self) -> Mapping[str, Any]:
        name = f"{self.subjects.event_stream}.process-packer"
        return await call(self.link.requests, f"CONSUMER.INFO.{name}")


@pytest.fixture
def here(nats_url: str, link: Link) -> Installation:
    return Installation(nats_url, link)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask at the server's own pace until something holds."""
    async with asyncio.timeout(SOON):
        while not await holds():
            pass


def waiting(service: Service, check: str, *words: str) -> Callable[[], Awaitable[bool]]:
    """Whether a part of a service waits for newer code, and says so in these words."""

    async def holds() -> bool:
        found = (await service.health())["checks"][check]
        said = found.get("error", "")
        return (
            found["status"] == "degraded"
            and found.get("state") == "waiting"
            and all(word in said for word in words)
        )

    return holds


async def test_while_both_run_every_event_is_reacted_to_and_none_is_buried(
    here: Installation,
) -> None:
    orders = 30

    async def all_shipped() -> bool:
        return (await here.log())["order.shipped"] == orders

    async with AsyncExitStack() as before:
        await before.enter_async_context(here.running(shop_before.shop()))
        async with here.running(shop_after.shop()):
            for number in range(orders):
                placed = await here.client.send("order.place", {"number": str(number)})
                assert placed.error is None
            # Some were placed by either of them, and reacted to by either.
            await asyncio.sleep(1)
            assert await here.letters() == 0
            await before.aclose()
            await eventually(all_shipped)
            assert await here.letters() == 0


async def test_after_going_back_events_wait_for_newer_code_and_health_says_so(
    here: Installation,
) -> None:
    await here.have_met()
    await here.wrote(
        shop_after.Place(number="1", quantity=2),
        shop_after.Place(number="2"),
        shop_after.Refund(number="2"),
    )
    async with here.running(shop_before.shop()) as before:
        await eventually(waiting(before, "process.packer", "order.placed in version 2", "newer"))
        await eventually(waiting(before, "projection.orders", "order.placed in version 2"))
        # What the code knows goes on beside it.
        assert (await here.client.send("order.place", {"number": "3"})).error is None

        async def often() -> bool:
            process = await here.process()
            return int(process["delivered"]["consumer_seq"]) >= 12

        # Each of them more often than a message is that ends its process each time.
        await eventually(often)
        assert await here.letters() == 0
        assert (await here.log())["order.shipped"] == 1
    async with here.running(shop_after.shop()) as after:

        async def done() -> bool:
            log = await here.log()
            return (log["order.shipped"], log["order.closed"]) == (3, 1)

        await eventually(done)
        assert await here.letters() == 0
        checks = (await after.health())["checks"]
        assert checks["projection.orders"]["state"] == "live"
        assert checks["process.packer"]["status"] == "healthy"


async def test_an_older_instance_that_starts_again_takes_nothing_from_the_newer(
    here: Installation,
) -> None:
    """It asks for events of one type alone, and must not have others passed over."""
    await here.have_met()
    async with here.running(shop_before.shop()):
        pass
    config = (await here.process())["config"]
    assert config["filter_subject"] == f"{here.subjects.prefix}.shop.journal.*.order.*.*"
    await here.wrote(shop_after.Refund(number="1"))
    async with here.running(shop_before.shop()) as before:
        await eventually(waiting(before, "process.packer", "'order.refunded'", "packer"))
    async with here.running(shop_after.shop()):

        async def closed() -> bool:
            return (await here.log())["order.closed"] == 1

        await eventually(closed)
    assert await here.letters() == 0


async def test_stored_commands_that_only_newer_code_can_do_wait_for_it(here: Installation) -> None:
    await here.have_met()
    await here.wrote(shop_after.Place(number="1"))
    async with here.running(shop_before.shop()) as before:
        stored = [
            await here.client.submit("order.refund", {"number": "1"}),
            await here.client.submit("order.ship", {"number": "1"}),
        ]
        known = await here.client.submit("order.ship", {"number": "2"})
        codes = ["unknown_command", "newer_event"]

        async def all_wait() -> bool:
            found = [
                await here.client.status(one.command_id, sequence=one.sequence) for one in stored
            ]
            return [one.attempts > 2 and one.error and one.error.code for one in found] == codes

        await eventually(all_wait)
        for one in stored:
            assert (await here.client.status(one.command_id)).state == "waiting"
        assert await waiting(before, "submissions")()
        assert (await here.client.wait_for(known.command_id, timeout=SOON)).state == "accepted"
        assert await here.letters() == 0
    async with here.running(shop_after.shop()):
        for one in stored:
            standing = await here.client.wait_for(one.command_id, timeout=SOON)
            assert (standing.state, standing.dead_letter) == ("accepted", False)
    assert await here.letters() == 0
    log = await here.log()
    assert (log["order.refunded"], log["order.closed"], log["order.shipped"]) == (1, 1, 2)


async def test_a_command_that_meets_newer_events_is_worth_sending_again(here: Installation) -> None:
    await here.wrote(shop_after.Place(number="1"))
    async with here.running(shop_before.shop()):
        refused = await here.client.send("order.ship", {"number": "1"})
        assert refused.status == "failed"
        assert isinstance(refused.error, Unavailable)
        assert refused.error.code == "newer_event"
        assert await here.letters() == 0
    async with here.running(shop_after.shop()):
        again = await here.client.send("order.ship", {"number": "1"}, command_id=refused.command_id)
        assert again.status == "accepted"

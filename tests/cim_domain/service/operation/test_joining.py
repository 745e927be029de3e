"""A new instance leaves queries to the others until it has views, unless there are no others."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from cim_domain import Domain, projects
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.service.servers import SUMS, asked
from tests.cim_domain.tallies import Added, Tallies, Tally, TallyView


class Broken(Tallies, name="tallies", version=2):
    """A new version that does not get its views built."""

    @projects(key=lambda event, _: event.name)
    def added(self, view: TallyView | None, event: Added) -> TallyView:
        raise RuntimeError("not yet")


NEW = Domain("sums", aggregates=[Tally], projections=[Broken()])


def service_of(domain: Domain, url: str, subjects: Subjects, directory: Path) -> Service:
    nats = load_settings(url=url, subject_prefix=subjects.prefix, data_directory=directory)
    return Service(domain, nats, load_service_settings(views="memory"))


async def names(link: Link, subjects: Subjects) -> Any:
    """The names, the code of the error, or that nobody answers."""
    try:
        found = await asked(link, subjects.query("tally.names"), {})
    except NoAnswer as error:
        return error.code
    return found if isinstance(found, list) else found["error"]["code"]


async def test_while_its_views_are_built_others_answer_and_it_does_where_there_are_none(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    subjects = Subjects("sums", subjects.prefix)
    old = service_of(SUMS, nats_url, subjects, tmp_path / "old")
    await old.start()
    made = await asked(link, subjects.command("tally.add"), {"name": "a"})
    async with service_of(NEW, nats_url, subjects, tmp_path / "new") as new:
        assert "tallies are being built" in str(new.missing())
        found = [await names(link, subjects) for _ in range(50)]
        assert found == [["a"]] * 50
        await old.stop()
        async with asyncio.timeout(15):
            # Between the two, nobody answers for a moment.
            while (now := await names(link, subjects)) != "rebuilding":
                assert now == "no_responders"
                await asyncio.sleep(0.05)
        assert made["status"] == "accepted"


async def test_when_its_views_are_built_it_answers_with_the_others(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    subjects = Subjects("sums", subjects.prefix)
    old = service_of(SUMS, nats_url, subjects, tmp_path / "old")
    await old.start()
    await asked(link, subjects.command("tally.add"), {"name": "a"})
    async with service_of(SUMS, nats_url, subjects, tmp_path / "new") as new:
        async with asyncio.timeout(15):
            while new.missing() is not None or len(await endpoints(link, subjects)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await old.stop()
        assert await names(link, subjects) == ["a"]


async def test_a_lone_instance_answers_at_once(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    subjects = Subjects("sums", subjects.prefix)
    async with service_of(SUMS, nats_url, subjects, tmp_path / "old"):
        await asked(link, subjects.command("tally.add"), {"name": "a"})
    async with service_of(NEW, nats_url, subjects, tmp_path / "new"):
        assert await names(link, subjects) == "rebuilding"


async def endpoints(link: Link, subjects: Subjects) -> set[str]:
    """The instances that answer queries."""
    instances: set[str] = set()

    def collect(message: Any) -> bool:
        told = orjson.loads(message.data)
        if any(one["subject"] == subjects.queries for one in told["endpoints"]):
            instances.add(told["id"])
        return len(instances) == 2

    with suppress(NoAnswer):
        await link.requests.many(f"$SRV.INFO.{subjects.service}", b"", collect, timeout=0.5)
    return instances

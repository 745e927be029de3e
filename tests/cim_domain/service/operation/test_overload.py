"""A service that is asked for more than it can do: it says so, and goes on with the rest."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from cim_domain import Domain, Query, Views, answers
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.testing.records import all_of
from cim_domain.views.yielding import PART
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import Tallies, Tally, TallyView


class Wait(Query, type="tally.wait"):
    pass


class Scan(Query, type="tally.scan"):
    pass


class Patient(Tallies):
    """Answers one query when it may, and one by looking at every view."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = 0

    @answers
    async def wait(self, query: Wait, views: Views) -> str:
        self.asked += 1
        await self.may.wait()
        return "waited"

    @answers
    async def scan(self, query: Scan, views: Views) -> int:
        self.asked += 1
        return len((await views.find(TallyView, order_by="total", limit=1)).items)


@pytest.fixture
def patient() -> Patient:
    return Patient()


@asynccontextmanager
async def service(
    patient: Patient, subjects: Subjects, url: str, directory: Path, **settings: Any
) -> AsyncIterator[Subjects]:
    nats = load_settings(subject_prefix=subjects.prefix, url=url, data_directory=directory)
    domain = Domain("sums", aggregates=[Tally], projections=[patient])
    async with Service(domain, nats, load_service_settings(views="memory", **settings)):
        yield Subjects("sums", subjects.prefix)


async def ask(link: Link, subject: str, body: Any = None) -> Any:
    return orjson.loads((await link.requests.one(subject, orjson.dumps(body), timeout=60)).data)


async def test_past_the_limit_every_command_has_a_reply_and_only_the_accepted_an_effect(
    patient: Patient, link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    async with service(patient, subjects, nats_url, tmp_path, commands_in_flight=20) as sums:
        add = sums.command("tally.add")
        replies = await asyncio.gather(
            *(ask(link, add, {"name": f"t{number}"}) for number in range(2000))
        )
        came = Counter(one.get("error", {}).get("code", one["status"]) for one in replies)
        assert set(came) == {"accepted", "busy"}
        assert len(await all_of(JetStreamEvents(link, sums).read())) == came["accepted"]
        assert (await ask(link, add, {"name": "later"}))["status"] == "accepted"


async def test_queries_that_do_not_end_are_bounded_and_leave_room_for_commands(
    patient: Patient, link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    async with service(patient, subjects, nats_url, tmp_path, queries_in_flight=50) as sums:
        wait = sums.query("tally.wait")
        waiting = [asyncio.create_task(ask(link, wait, {})) for _ in range(50)]
        await until(lambda: patient.asked == 50)
        refused = await link.requests.one(wait, b"{}", timeout=60)
        assert orjson.loads(refused.data)["error"]["code"] == "busy"
        outcomes = await asyncio.gather(
            *(ask(link, sums.command("tally.add"), {"name": f"t{n}"}) for n in range(100))
        )
        assert {one["status"] for one in outcomes} == {"accepted"}
        patient.may.set()
        assert set(await asyncio.gather(*waiting)) == {"waited"}


async def test_commands_are_carried_out_between_the_parts_of_long_scans(
    patient: Patient, link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    async with service(patient, subjects, nats_url, tmp_path) as sums:
        add = sums.command("tally.add")
        last = (
            await asyncio.gather(
                *(ask(link, add, {"name": f"t{number}"}) for number in range(4 * PART))
            )
        )[-1]
        headers = {"X-Min-Sequence": str(4 * PART)}
        await link.requests.one(sums.query("tally.names"), b"{}", headers=headers, timeout=60)
        scans = [asyncio.create_task(ask(link, sums.query("tally.scan"), {})) for _ in range(300)]
        await until(lambda: patient.asked == 300)
        assert (await ask(link, add, {"name": "t0"}))["version"] == 2
        # Worked off before it, they would all have an answer.
        assert not all(scan.done() for scan in scans)
        assert set(await asyncio.gather(*scans)) == {1}
        assert last["status"] == "accepted"

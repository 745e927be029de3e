"""Whatever a model's methods raise is a failure of that message, and of nothing beside it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from attrs import frozen
from pydantic import field_validator

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Process,
    Projection,
    Query,
    View,
    Views,
    answers,
    decides,
    evolves,
    projects,
    reacts,
)
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings

RAISED: list[type[BaseException]] = [asyncio.CancelledError, SystemExit, KeyboardInterrupt]

raised: type[BaseException] = SystemExit
"""What the methods raise in this test."""


class Do(Command, type="job.do"):
    """Raises in the method that `at` names."""

    name: str
    at: str = ""

    @field_validator("at")
    @classmethod
    def _known(cls, at: str) -> str:
        return _reach("validator", at)


class Done(Event, type="job.done"):
    name: str
    at: str


class GetJob(Query, type="job.get"):
    at: str = ""


class Slow(Query, type="job.slow"):
    seconds: float | None


def _reach(place: str, at: str) -> str:
    if place == at:
        raise raised
    return at


@frozen
class Job(Aggregate, key="name"):
    @decides
    def do(self, command: Do) -> list[Done]:
        def decided() -> Iterator[Done]:
            _reach("decides", command.at)
            yield Done(name=command.name, at=command.at)
            _reach("decides, late", command.at)

        return decided()  # type: ignore[return-value]

    @evolves
    def done(self, event: Done) -> Self:
        _reach("evolves", event.at)
        return self


class JobView(View):
    name: str


def _key(event: Done, _: Any) -> str:
    _reach("key", event.at)
    return event.name


class Jobs(Projection):
    @projects(key=_key)
    def done(self, view: JobView | None, event: Done) -> JobView:
        _reach("projects", event.at)
        return JobView(name=event.name)

    @answers
    async def get(self, query: GetJob, views: Views) -> str:
        await asyncio.sleep(0)
        return _reach("answers", query.at)

    @answers
    async def slow(self, query: Slow, views: Views) -> str:
        async with asyncio.timeout(query.seconds):
            await asyncio.Event().wait()
        return ""


class Reactor(Process):
    @reacts
    async def done(self, event: Done) -> None:
        await asyncio.sleep(0)
        _reach("reacts", event.at)


@pytest.fixture(params=RAISED)
def error(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the methods raise, by its name."""
    monkeypatch.setattr(f"{__name__}.raised", request.param)
    name: str = request.param.__name__
    return name


@pytest.fixture
async def jobs(subjects: Subjects, nats_url: str, tmp_path: Path) -> AsyncIterator[Subjects]:
    async with serving(subjects, nats_url, tmp_path) as found:
        yield found


@asynccontextmanager
async def serving(
    subjects: Subjects, url: str, directory: Path, **settings: Any
) -> AsyncIterator[Subjects]:
    nats = load_settings(subject_prefix=subjects.prefix, url=url, data_directory=directory)
    domain = Domain("work", aggregates=[Job], projections=[Jobs()], processes=[Reactor()])
    chosen = load_service_settings(views="memory", attempts=1, **settings)
    async with Service(domain, nats, chosen):
        yield Subjects("work", subjects.prefix)


async def ask(link: Link, subject: str, body: Any) -> Any:
    reply = await link.requests.one(subject, orjson.dumps(body), timeout=5)
    return orjson.loads(reply.data)


async def health(link: Link, jobs: Subjects) -> Any:
    return await ask(link, jobs.health, {})


@pytest.mark.parametrize("at", ["validator", "decides", "decides, late", "evolves"])
async def test_a_command_is_answered_that_it_failed_and_the_next_is_done(
    link: Link, jobs: Subjects, error: str, at: str
) -> None:
    failed = await ask(link, jobs.command("job.do"), {"name": "a", "at": at})
    assert failed["status"] == "failed"
    assert f"{error} (test_model_raises.py:" in failed["error"]["message"]
    done = await ask(link, jobs.command("job.do"), {"name": "a"})
    assert done["status"] == "accepted"


async def test_a_query_is_answered_that_it_failed(link: Link, jobs: Subjects, error: str) -> None:
    failed = await ask(link, jobs.query("job.get"), {"at": "answers"})
    assert failed["error"]["code"] == "failed"
    assert f"{error} (test_model_raises.py:" in failed["error"]["message"]
    assert await ask(link, jobs.query("job.get"), {}) == ""


@pytest.mark.parametrize("at", ["key", "projects"])
async def test_a_projection_stops_at_the_event_and_health_says_so(
    link: Link, jobs: Subjects, error: str, at: str
) -> None:
    done = await ask(link, jobs.command("job.do"), {"name": "a", "at": at})
    assert done["status"] == "accepted"
    async with asyncio.timeout(5):
        while (found := (await health(link, jobs))["checks"]["projection.jobs"]) and (
            found["state"] != "stopped"
        ):
            pass
    assert f"{error} (test_model_raises.py:" in found["error"]
    assert found["status"] == "degraded"


async def test_a_reaction_is_a_dead_letter_and_the_process_goes_on(
    link: Link, jobs: Subjects, error: str
) -> None:
    for at in ("reacts", ""):
        await ask(link, jobs.command("job.do"), {"name": f"a{at}", "at": at})
    async with asyncio.timeout(5):
        while (found := (await health(link, jobs))["checks"])["dead_letters"]["count"] != 1:
            pass
        while (found := (await health(link, jobs))["checks"])["process.reactor"]["in_flight"]:
            pass
    assert found["process.reactor"]["status"] == "healthy"
    assert found["dead_letters"]["count"] == 1


async def test_a_query_whose_method_runs_out_of_its_own_time_is_not_told_the_service_s(
    link: Link, jobs: Subjects
) -> None:
    failed = await ask(link, jobs.query("job.slow"), {"seconds": 0})
    assert failed["error"]["code"] == "failed"
    assert "TimeoutError (test_model_raises.py:" in failed["error"]["message"]


async def test_what_the_service_itself_ends_is_ended(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    async with serving(subjects, nats_url, tmp_path, query_patience=0.05) as jobs:
        late = await ask(link, jobs.query("job.slow"), {"seconds": None})
    assert late["error"]["code"] == "timeout"

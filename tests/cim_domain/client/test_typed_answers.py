"""Answers as the classes that a program has, and clients of several threads and event loops."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cim_domain import NotFound, Page
from cim_domain.client import DomainClient, NoAnswer, SyncDomainClient
from cim_domain.errors import Failed, Invalid
from cim_domain.identity import fresh_id
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from projections.nix.flakes import FlakeView, GetFlake, ListFlakes


@pytest.fixture
def settings(subjects: Subjects, tmp_path: Path) -> NatsSettings:
    return load_settings(subject_prefix=subjects.prefix, data_directory=tmp_path)


@pytest.fixture
async def served(
    nats_url: str, subjects: Subjects, link: Link, settings: NatsSettings
) -> AsyncIterator[DomainClient]:
    memory = load_service_settings(views="memory")
    async with Service(Domain.find("nix"), settings, memory, url=nats_url):
        yield DomainClient(link, subjects)


async def test_an_answer_is_the_class_that_is_asked_for(served: DomainClient) -> None:
    sent = await served.send("flake.create", {"path": "/srv/web"})
    get = GetFlake.model_validate({"path": "/srv/web"})
    flake = await served.ask(get, FlakeView, min_sequence=sent.sequence)
    assert isinstance(flake, FlakeView)
    assert flake.path == "/srv/web"
    page = await served.ask(ListFlakes(), Page[FlakeView])
    assert page.items == [flake]
    answer = await served.ask("flake.get", {"path": "/srv/web"})
    assert answer.read(FlakeView) == flake
    assert answer.read(FlakeView | None) == flake


async def test_an_answer_of_another_shape_is_refused_with_the_field(served: DomainClient) -> None:
    await served.send("flake.create", {"path": "/srv/web"})
    with pytest.raises(
        Failed, match="the answer is no FlakeView: created_at: Field required"
    ) as refused:
        await served.ask(ListFlakes(), FlakeView)
    assert refused.value.code == "bad_answer"
    assert {"path": "created_at", "message": "Field required"} in refused.value.details["fields"]


async def test_errors_stay_errors(served: DomainClient) -> None:
    with pytest.raises(NotFound):
        await served.ask(GetFlake.model_validate({"path": "/srv/none"}), FlakeView)


async def test_on_another_event_loop_a_client_says_what_to_do(served: DomainClient) -> None:
    async def use() -> None:
        with pytest.raises(Failed, match="open a client in each loop") as refused:
            await served.send("flake.create", {"path": "/srv/web"})
        assert refused.value.code == "other_event_loop"
        with pytest.raises(Failed, match="open a client in each loop"):
            await anext(served.follow())
        with pytest.raises(Failed, match="open a client in each loop"):
            await served.wait_for(fresh_id())

    await asyncio.to_thread(asyncio.run, use())
    assert (await served.health())["status"] == "healthy"


# Without an event loop


@pytest.fixture
async def synchronous(
    served: DomainClient, nats_url: str, settings: NatsSettings
) -> AsyncIterator[SyncDomainClient]:
    opening = SyncDomainClient.open("nix", settings, url=nats_url, retry=0)
    # The service needs this loop: nothing may block it.
    client = await asyncio.to_thread(opening.__enter__)
    yield client
    await asyncio.to_thread(opening.__exit__, None, None, None)


async def test_a_synchronous_client_does_what_the_other_does(synchronous: SyncDomainClient) -> None:
    def use() -> None:
        sent = synchronous.send("flake.create", {"path": "/srv/web"}, actor_id="ann")
        assert sent.status == "accepted"
        get = GetFlake.model_validate({"path": "/srv/web"})
        assert synchronous.ask(get, FlakeView, min_sequence=sent.sequence).path == "/srv/web"
        assert synchronous.ask(get).json()["path"] == "/srv/web"
        stored = synchronous.submit("flake.update", {"path": "/srv/web"})
        assert synchronous.wait_for(stored.command_id, timeout=30).state == "accepted"
        later = synchronous.schedule("flake.update", {"path": "/srv/web"}, after=3600)
        assert synchronous.status(later.command_id).state == "scheduled"
        assert synchronous.cancel(later.command_id)
        assert synchronous.health()["status"] == "healthy"
        types = ["flake.created", "flake.updated"]
        assert [one.metadata.message_type for one in synchronous.events()] == types
        assert len(synchronous.history("flake", sent.aggregate_id or "")) == 2
        followed = synchronous.follow()
        assert [next(followed).metadata.message_type for _ in types] == types
        followed.close()  # type: ignore[attr-defined]
        with pytest.raises(Invalid):
            synchronous.send("no type")
        with pytest.raises(NoAnswer):
            synchronous.wait_for(fresh_id(), timeout=0.1)

    await asyncio.to_thread(use)


async def test_several_threads_use_one(synchronous: SyncDomainClient) -> None:
    def use() -> list[str]:
        with ThreadPoolExecutor(4) as pool:
            paths = [{"path": f"/srv/{number}"} for number in range(20)]
            sent = pool.map(lambda path: synchronous.send("flake.create", path), paths)
            return [one.status for one in sent]

    assert await asyncio.to_thread(use) == ["accepted"] * 20


async def test_closed_it_says_so_and_its_thread_is_gone(
    served: DomainClient, nats_url: str, settings: NatsSettings
) -> None:
    def use() -> None:
        before = threading.active_count()
        with SyncDomainClient.open("nix", settings, url=nats_url) as client:
            assert threading.active_count() > before
        assert threading.active_count() == before
        with pytest.raises(Failed, match="the client is closed"):
            client.health()

    await asyncio.to_thread(use)


async def test_where_a_loop_runs_it_may_be_opened_too(
    settings: NatsSettings, nats_url: str
) -> None:
    with (
        SyncDomainClient.open("nix", settings, url=nats_url, retry=0) as client,
        pytest.raises(NoAnswer, match="no service answers"),
    ):
        client.health()
    assert asyncio.get_running_loop().is_running()

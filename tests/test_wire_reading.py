"""How requests are read, as the contract says it: ids, trace contexts, and what errors name."""

from collections.abc import AsyncIterator

import orjson
import pytest

from cim_domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.leader_reads import newest_on
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.raw_client import RawClient, block, raw_client

ID = "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"


@pytest.fixture
async def service(subjects: Subjects, nats_url: str) -> AsyncIterator[Service]:
    nats = load_settings(url=nats_url, subject_prefix=subjects.prefix)
    settings = load_service_settings(views="memory")
    async with Service(Domain.find("nix"), nats, settings) as running:
        yield running


@pytest.fixture
async def raw(service: Service, nats_url: str) -> AsyncIterator[RawClient]:
    async with raw_client(nats_url, service.subjects.root) as client:
        yield client


TRACES = {
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": True,
    "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00": True,
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": False,
    "00-00000000000000000000000000000000-b7ad6b7169203331-01": False,
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": False,
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": False,
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331": False,
}


async def test_a_trace_context_that_is_none_is_not_passed_on(
    raw: RawClient, service: Service, link: Link
) -> None:
    stream = service.subjects.event_stream
    for number, (trace, passed) in enumerate(TRACES.items()):
        body = orjson.dumps({"path": f"/srv/{number}"})
        made = await raw.ask(b"cmd.flake.create", body, block(f"traceparent: {trace}".encode()))
        identifier = orjson.loads(made.data)["aggregate_id"]
        subject = service.subjects.journal("flake.created", identifier)
        event = await newest_on(link.requests, stream, subject)
        assert event is not None
        assert event.headers.get("traceparent") == (trace if passed else None)


async def test_an_error_names_the_type_that_was_asked(raw: RawClient) -> None:
    for asked in Domain.find("nix").queries:
        error = orjson.loads((await raw.ask(f"query.{asked}".encode(), b"7")).data)["error"]
        assert error["code"] == "invalid"
        assert error["message"].startswith(f"{asked}: ")


async def test_a_wrong_cursor_is_worded_as_other_fields_are(raw: RawClient) -> None:
    for query in (b"flake.list", b"package.list", b"module.list", b"overlay.list", b"config.list"):
        reply = await raw.ask(b"query." + query, b'{"after":"none"}')
        error = orjson.loads(reply.data)["error"]
        assert error["code"] == "invalid_cursor"
        (field,) = error["details"]["fields"]
        assert set(field) == {"path", "message"}
        assert field["path"] == "after"

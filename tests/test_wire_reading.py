"""How requests are read, as the contract says it: ids, trace contexts, and what errors name."""

import re
from collections.abc import AsyncIterator

import orjson
import pytest

from cim_domain import Domain
from cim_domain.identity import aggregate_id
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.leader_reads import newest_on
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.docs.documents import ROOT, rows
from tests.raw_client import RawClient, block, raw_client

DOCS = ROOT / "docs"
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


async def test_a_header_of_the_services_own_requests_is_read_as_that_of_others(
    raw: RawClient,
) -> None:
    body = orjson.dumps({"command_id": ID})
    for subject, header in (
        (b"query.command.status", b"X-Min-Sequence: -1"),
        (b"cmd.command.cancel", b"X-Expected-Version: one"),
        (b"cmd.flake.create", b"X-Expected-Version: 1_0"),
    ):
        error = orjson.loads((await raw.ask(subject, body, block(header))).data)["error"]
        assert error["code"] == "bad_header"


async def test_blanks_around_a_value_are_no_part_of_it(raw: RawClient) -> None:
    headers = block(b"X-Organization-ID:\t acme ", b"X-Expected-Version:0")
    made = orjson.loads((await raw.ask(b"cmd.flake.create", b'{"path":"/a"}', headers)).data)
    assert made["aggregate_id"] == aggregate_id("nix", "acme", "flake", ["/a"])


async def test_an_id_is_taken_in_any_spelling_and_told_in_one(raw: RawClient) -> None:
    compact = ID.replace("-", "")
    for spelled in (ID, ID.upper(), compact, f"{{{ID}}}", f"urn:uuid:{ID}"):
        headers = block(f"X-Command-ID: {spelled}".encode())
        made = orjson.loads((await raw.ask(b"cmd.flake.create", b'{"path":"/a"}', headers)).data)
        assert (made["status"], made["command_id"], made["sequence"]) == ("accepted", ID, 1)
    for other in (f"{compact[:-1]}_", f"0x{compact[2:]}", f"{compact[:8]}-{compact[8:]}"):
        headers = block(f"X-Command-ID: {other}".encode())
        refused = orjson.loads((await raw.ask(b"cmd.flake.create", b"{}", headers)).data)
        assert refused["error"]["code"] == "bad_header"


async def test_every_check_of_health_and_each_of_its_facts_is_in_the_contract(
    service: Service,
) -> None:
    table = {row[0]: row[1] for row in rows(DOCS / "wire-contract.md") if len(row) == 3}
    for name, check in (await service.health())["checks"].items():
        kind, dot, _ = name.partition(".")
        described = table[f"{kind}.{{name}}" if dot else name]
        if name == "submissions":
            described = table["process.{name}"]
        assert set(check) - {"status"} <= set(re.findall(r"\w+", described)), name

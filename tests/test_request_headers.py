"""Known headers come once and in one spelling: nothing is done for somebody else than was meant."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from cim_domain import Domain
from cim_domain.identity import aggregate_id
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.dead_letter_box import DeadLetterBox, StoredLetter
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.raw_client import RawClient, block, raw_client

SOON = 15
ID = b"6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"
NAMES = {
    "X-Command-ID": ID,
    "X-Correlation-ID": ID,
    "X-Causation-ID": ID,
    "X-Organization-ID": b"acme",
    "X-Expected-Version": b"0",
    "X-Min-Sequence": b"0",
    "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Nats-Msg-Id": ID,
}
DOUBTFUL: dict[str, tuple[bytes, ...]] = {
    "another case": (b"X-Organization-Id: acme",),
    "lower case": (b"x-organization-id: acme",),
    "another case beside the right one": (b"X-Organization-ID: acme", b"x-organization-id: acme"),
    "twice": (b"X-Organization-ID: acme", b"X-Organization-ID: other"),
    "twice the same": (b"X-Organization-ID: acme", b"X-Organization-ID: acme"),
    "twice, with a header of no meaning between": (
        b"X-Organization-ID: acme",
        b"X-A: \xc3\xa4",
        b"no colon",
        b"X-Organization-ID:other",
    ),
    "two values in one line": (b"X-Organization-ID: acme, other",),
    "a blank in the name": (b"X-Organization -ID: acme",),
    "many blanks in the name": (b"X-" + b" " * 100 + b"Organization-ID: acme",),
    "a separator in the name": (b"X-Organization-ID\x1c: acme",),
    "no ASCII": (b"X-Organization-ID\xa0: acme",),
    **{f"{name} in upper case": (name.upper().encode() + b": " + NAMES[name],) for name in NAMES},
    **{f"{name} twice": (name.encode() + b": " + NAMES[name],) * 2 for name in NAMES},
}
REQUESTS = {
    "command": (b"cmd.flake.create", b'{"path":"/a"}'),
    "own command": (b"cmd.command.cancel", b'{"command_id":"%b"}' % ID),
    "query": (b"query.flake.list", b"{}"),
    "own query": (b"query.command.status", b'{"command_id":"%b"}' % ID),
    "replay": (b"replay.commands", b'{"sequence":1}'),
}


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


@pytest.fixture
def box(service: Service, link: Link) -> DeadLetterBox:
    subjects = service.subjects
    return DeadLetterBox(link, subjects.dead_letter_stream, subjects.dead_letter_root)


async def events(link: Link, service: Service) -> int:
    info = await call(link.requests, f"STREAM.INFO.{service.subjects.event_stream}")
    return int(info["state"]["messages"])


async def letters(box: DeadLetterBox, count: int) -> list[StoredLetter]:
    """All dead letters, as soon as there are so many."""
    async with asyncio.timeout(SOON):
        while len(page := await box.page()) < count:
            pass
    return page


async def test_a_known_header_in_another_spelling_or_twice_is_refused(
    raw: RawClient, service: Service, link: Link
) -> None:
    for lines in DOUBTFUL.values():
        for subject, body in REQUESTS.values():
            reply = await raw.ask(subject, body, block(*lines))
            error = orjson.loads(reply.data)["error"]
            assert error["code"] == "bad_header"
            (field,) = error["details"]["fields"]
            assert field["path"].removeprefix("headers.") in NAMES
            assert b"\r\nNats-Service-Error-Code: 400\r\n" in reply.headers
    assert await events(link, service) == 0


async def test_so_it_is_on_a_request_for_health(service: Service, nats_url: str) -> None:
    root, _, subject = service.subjects.health.rpartition(".health.")
    async with raw_client(nats_url, root) as raw:
        for lines in DOUBTFUL.values():
            reply = await raw.ask(b"health." + subject.encode(), b"", block(*lines))
            assert orjson.loads(reply.data)["error"]["code"] == "bad_header"
        plain = await raw.ask(b"health." + subject.encode(), b"", block(b"X-Other: 1"))
        assert orjson.loads(plain.data)["status"] == "healthy"


BLOCKS = {
    **{case: block(*lines) for case, lines in DOUBTFUL.items()},
    "an organization that is no ASCII": block("X-Organization-ID: ä".encode()),
    "an organization with a control character": block(b"X-Organization-ID: a\x1fb"),
}
# The server puts the first line of what it stores right.
UNREADABLE = b"NATS/1.0 abc\r\nX-Organization-ID: acme\r\n\r\n"


@pytest.mark.parametrize(("kind", "consumer"), [("submit", "submit"), ("cmd", "commands")])
async def test_what_nobody_waits_for_is_a_dead_letter_then_and_stays_one(
    raw: RawClient, service: Service, link: Link, box: DeadLetterBox, kind: str, consumer: str
) -> None:
    """When it is replayed, what was in doubt is so still."""
    blocks = [*BLOCKS.values(), *([UNREADABLE] if kind == "cmd" else [])]
    for headers in blocks:
        subject = f"{service.subjects.root}.{kind}.flake.create".encode()
        raw.publish(subject, b'{"path":"/a"}', headers=headers)
    found = await letters(box, len(blocks))
    assert {one.letter.code for one in found} == {"bad_header"}
    for one in found:
        asked = orjson.dumps({"sequence": one.sequence})
        reply = await raw.ask(f"replay.{consumer}".encode(), asked)
        assert orjson.loads(reply.data)["error"]["code"] == "bad_header", one
    assert await events(link, service) == 0


async def test_a_letter_without_room_for_its_headers_is_not_replayed_without_them(
    raw: RawClient, service: Service, link: Link, box: DeadLetterBox
) -> None:
    headers = block(b"X-Organization-ID: acme", b"X-Padding: " + b"x" * 65_400)
    raw.publish(service.subjects.command("flake.create").encode(), b"no JSON", headers=headers)
    (one,) = await letters(box, 1)
    reply = await raw.ask(b"replay.commands", b'{"sequence":1}')
    assert orjson.loads(reply.data)["error"]["code"] == "letter_cut"
    assert one.headers_cut_from is not None
    assert one.headers_cut_from > 65_400


@pytest.mark.parametrize(
    "headers",
    [
        b"NATS/1.0 \r\nX-Organization-ID: acme\r\nX-Organization-ID: b\r\n\r\n",
        b"NATS/1.0 abc\r\nX-Organization-ID: acme\r\n\r\n",
        b"NATS/1.0\nX-Organization-ID: acme\r\n\r\n",
        b"NATS/1.0X-Organization-ID: acme\r\n\r\n",
    ],
)
async def test_a_block_whose_first_line_is_another_cannot_be_read(
    raw: RawClient, service: Service, link: Link, headers: bytes
) -> None:
    reply = await raw.ask(b"cmd.flake.create", b'{"path":"/a"}', headers)
    assert orjson.loads(reply.data)["error"]["code"] == "bad_header"
    assert await events(link, service) == 0


async def test_headers_of_no_meaning_may_come_as_they_like(raw: RawClient) -> None:
    headers = block(b"X-Other: 1", b"x-other: 2", b"X-Other: 3", b"X-Organization-ID: acme")
    reply = orjson.loads((await raw.ask(b"cmd.flake.create", b'{"path":"/a"}', headers)).data)
    assert reply["status"] == "accepted"
    assert reply["aggregate_id"] == aggregate_id("nix", "acme", "flake", ["/a"])

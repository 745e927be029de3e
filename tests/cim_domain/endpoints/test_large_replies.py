"""A reply that would be too large still says what came of the command, and of which."""

from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from attrs import frozen

from cim_domain import Aggregate, Command, Domain, Rejected, decides
from cim_domain.errors import Conflict, Failed, Invalid, RequestError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.wire.outcome import EventReference, Outcome

ID = "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"
ROOM = 4096


class Shout(Command, type="wall.shout"):
    name: str


@frozen
class Wall(Aggregate, key="name"):
    @decides
    def shout(self, command: Shout) -> None:
        raise Rejected("wall.echo", "no " + "ä" * 2_000_000, echo="x" * 2_000_000)


@pytest.mark.parametrize(
    "error",
    [
        Rejected("a." + "b" * 9000, "no " * 9000, value="x" * 9000),
        Conflict("other", details={"value": "x" * 9000}),
        Failed("broken " * 9000),
        Invalid("wrong", details={"fields": ["x" * 9000]}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_cut_and_stays_the_error_that_it_is(error: RequestError) -> None:
    outcome = Outcome(status=error.status, command_id=ID, correlation_id=ID, error=error)
    wire = outcome.to_wire(ROOM)
    assert len(wire) <= ROOM
    read = Outcome.from_wire(wire, error.http)
    assert (read.status, read.command_id) == (error.status, ID)
    assert type(read.error) is type(error)
    assert read.error is not None
    assert read.error.details == {"cut_from": len(outcome.to_wire())}
    assert outcome.within(ROOM).to_wire() == wire


def test_what_was_accepted_stays_accepted_without_its_events() -> None:
    events = tuple(EventReference(ID, "wall.painted") for _ in range(100))
    outcome = Outcome(
        status="accepted", command_id=ID, correlation_id=ID, version=100, sequence=7, events=events
    )
    read = Outcome.from_wire(outcome.to_wire(ROOM))
    assert (read.status, read.version, read.sequence, read.events) == ("accepted", 100, 7, ())


def test_what_fits_is_told_whole() -> None:
    outcome = Outcome(status="accepted", command_id=ID, correlation_id=ID, version=1, sequence=1)
    size = len(outcome.to_wire())
    assert outcome.to_wire(size) == outcome.to_wire()
    assert outcome.within(size) is outcome


async def test_a_rejection_larger_than_any_message_is_answered(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    nats = load_settings(subject_prefix=subjects.prefix, url=nats_url, data_directory=tmp_path)
    settings = load_service_settings(views="memory")
    async with Service(Domain("walls", aggregates=[Wall]), nats, settings):
        command_id = str(uuid4())
        reply = await link.requests.one(
            Subjects("walls", subjects.prefix).command("wall.shout"),
            b'{"name":"a"}',
            headers={"X-Command-ID": command_id},
            timeout=20,
        )
    told = orjson.loads(reply.data)
    assert (told["status"], told["command_id"]) == ("rejected", command_id)
    assert (told["error"]["code"], list(told["error"]["details"])) == ("wall.echo", ["cut_from"])

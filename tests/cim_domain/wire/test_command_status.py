"""How stored commands stand, as JSON; and the names that every domain leaves to that."""

from datetime import UTC, datetime

import orjson
import pytest
from attrs import frozen

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Projection,
    Query,
    View,
    Views,
    answers,
    decides,
    evolves,
    projects,
)
from cim_domain.client import CommandStatus
from cim_domain.errors import Busy, Conflict, Failed, Invalid, ModelError, Rejected, RequestError
from cim_domain.wire.command_status import State, status_key
from cim_domain.wire.outcome import Outcome

ID = "3c6e0b8a-9c15-524a-8d7f-3a1d5d2f1c11"
ERRORS = [
    Invalid("wrong"),
    Rejected("tally.full", "full", total=7),
    Conflict("other", details={"version": 3}),
    Failed("broken"),
]


def outcome(error: RequestError | None) -> Outcome:
    if error is None:
        return Outcome(status="accepted", command_id=ID, correlation_id=ID, version=1, sequence=2)
    return Outcome(status=error.status, command_id=ID, correlation_id=ID, error=error)


@pytest.mark.parametrize("error", [None, *ERRORS], ids=str)
def test_what_came_of_it_is_read_back_as_it_was(error: RequestError | None) -> None:
    standing = CommandStatus.done(outcome(error), ID, 2)
    read = CommandStatus.from_wire(standing.to_wire())
    assert (read.state, read.attempts, read.final) == (standing.state, 2, True)
    assert type(read.error) is type(error)
    assert read.as_dict() == standing.as_dict()


def test_the_reply_is_all_there_beside_how_it_stands() -> None:
    shown = CommandStatus.done(outcome(None), ID, 1).as_dict()
    assert shown == {**outcome(None).as_dict(), "attempts": 1}
    assert next(iter(shown)) == "status"


@pytest.mark.parametrize("state", ["retrying", "waiting"])
def test_a_command_that_is_tried_again_tells_its_last_error(state: State) -> None:
    standing = CommandStatus(state=state, command_id=ID, outcome=outcome(Busy("later")), attempts=1)
    read = CommandStatus.from_wire(standing.to_wire())
    assert (read.state, read.final) == (state, False)
    assert read.error is not None
    assert (read.error.code, read.error.message) == ("busy", "later")


def test_a_time_travels_in_utc() -> None:
    at = datetime(2026, 11, 21, 8, 30, 0, 250_000, UTC)
    standing = CommandStatus(state="scheduled", command_id=ID, at=at)
    assert standing.as_dict() == {
        "status": "scheduled",
        "command_id": ID,
        "attempts": 0,
        "at": "2026-11-21T08:30:00.250000Z",
    }
    assert CommandStatus.from_wire(standing.to_wire()) == standing


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"status": "lost", "command_id": "1"}', b'{"status": "accepted"}']
)
def test_what_says_nothing_of_a_command_is_a_bad_reply(data: bytes) -> None:
    with pytest.raises(Failed) as refused:
        CommandStatus.from_wire(data)
    assert refused.value.code == "bad_reply"


def test_no_two_organizations_share_a_key() -> None:
    organizations = [None, "acme", "a.cme", "a-cme", "a..cme", "acme."]
    keys = [status_key(ID, organization) for organization in organizations]
    assert len(set(keys)) == len(organizations)
    assert keys[:3] == [ID, f"{ID}.acme", f"{ID}.a=cme"]
    # Each is two tokens of a subject, whatever the organization.
    assert {key.count(".") for key in keys[1:]} == {1}


class Start(Command, type="command.start"):
    name: str


class Started(Event, type="command.started"):
    name: str


@frozen
class Reserved(Aggregate, key="name", name="command"):
    @decides
    def start(self, command: Start) -> Started:
        return Started(name=command.name)

    @evolves
    def was_started(self, event: Started) -> "Reserved":
        return self


def test_no_aggregate_is_called_command() -> None:
    with pytest.raises(ModelError, match="no aggregate is called 'command'"):
        Domain("sums", aggregates=[Reserved])


class Began(Event, type="tally.began"):
    name: str


class TallyView(View, name="tally"):
    name: str


class Ask(Query, type="tally.ask", aliases=("command.status",)):
    pass


class Asked(Projection):
    @projects
    def began(self, view: TallyView | None, event: Began) -> TallyView:
        return TallyView(name=event.name)

    @answers
    async def ask(self, query: Ask, views: Views) -> int:
        return 0


def test_no_query_takes_the_place_of_the_services_own() -> None:
    with pytest.raises(ModelError, match="no aggregate is called 'command'"):
        Domain("sums", projections=[Asked()])


def test_it_is_plain_json() -> None:
    assert (
        orjson.loads(CommandStatus(state="waiting", command_id=ID).to_wire())["status"] == "waiting"
    )

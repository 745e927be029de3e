"""Scenarios of processes, metadata and clocks of tests."""

from datetime import UTC, datetime, timedelta

import pytest

from cim_domain import Command, Metadata, Process, reacts
from cim_domain.testing import ManualClock, ProcessScenario, Scenario, metadata
from cim_domain.testing.messages import START
from tests.cim_domain.service.notes import Note, NoteStamped, NoteWritten, Stamping, StampNote
from tests.cim_domain.tallies import Add, Added, Tally


class Mailing(Process):
    """Tells an outbox, and sends nothing."""

    def __init__(self, outbox: list[str]) -> None:
        self.outbox = outbox

    @reacts
    async def written(self, event: NoteWritten, metadata: Metadata) -> Command | None:
        if metadata.actor_id is None:
            raise ValueError("nobody")
        self.outbox.append(f"{metadata.actor_id} wrote {event.name}")
        return None


async def test_the_commands_are_those_that_follow() -> None:
    reaction = await ProcessScenario(Stamping()).when(NoteWritten(name="n"))
    reaction.then(StampNote(name="n"))
    assert reaction.commands == (StampNote(name="n"),)
    with pytest.raises(AssertionError, match=r"expected no command\nbut there followed these"):
        reaction.then_nothing()
    with pytest.raises(AssertionError, match="StampNote"):
        reaction.then(StampNote(name="m"))


async def test_effects_go_where_the_test_says_with_metadata_of_its_own() -> None:
    outbox: list[str] = []
    mailing = ProcessScenario(Mailing(outbox))
    (await mailing.when(NoteWritten(name="n"), actor_id="ann")).then_nothing()
    assert outbox == ["ann wrote n"]


async def test_what_a_method_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="nobody"):
        await ProcessScenario(Mailing([])).when(NoteWritten(name="n"))
    with pytest.raises(AssertionError, match="Mailing does not react to"):
        await ProcessScenario(Mailing([])).when(NoteStamped(name="n"))


def test_metadata_of_a_message_have_what_the_test_says_and_defaults() -> None:
    of_event = metadata(NoteWritten(name="n"), organization_id="acme", actor_id="ann")
    assert (of_event.message_type, of_event.organization_id) == ("note.written", "acme")
    assert (of_event.aggregate_version, of_event.sequence) == (1, 1)
    of_command = metadata(StampNote)
    assert (of_command.message_type, of_command.aggregate_version) == ("note.stamp", 0)
    assert of_command.correlation_id == of_command.message_id
    assert metadata(message_id="x").causation_id == "x"
    with pytest.raises(TypeError):
        metadata(colour="red")


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(datetime(2026, 3, 1, 13, tzinfo=UTC))
    assert clock() == clock()
    clock.advance(timedelta(days=1))
    clock.advance(0.5)
    assert clock() == datetime(2026, 3, 2, 13, 0, 0, 500_000, tzinfo=UTC)
    clock.set(START)
    assert clock() == START
    with pytest.raises(ValueError, match="no time zone"):
        clock.set(datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_scenario_goes_by_the_clock_that_it_is_given() -> None:
    clock = ManualClock()
    clock.advance(3600)
    scenario = Scenario(Tally, clock=clock).given(Add(name="a"))
    assert scenario.state.changed == START + timedelta(hours=1)
    clock.advance(60)
    assert scenario.given(Added(name="a", amount=1)).state.changed == clock()
    assert Scenario(Note).given(NoteWritten(name="n")).state.written

"""Scenarios of projections: what they check, and what they say when a check fails."""

import pytest

from cim_domain import NotFound, Projection
from cim_domain.errors import ModelError
from cim_domain.testing import ManualClock, ProjectionScenario
from cim_domain.testing.messages import START
from tests.cim_domain.service.notes import (
    AskWho,
    GetNote,
    Notes,
    NoteStamped,
    NoteView,
    NoteWritten,
)
from tests.cim_domain.tallies import Added, GetTally, ListNames, Renamed, Tallies, TallyView

tallies = ProjectionScenario(Tallies()).given(Added(name="a", amount=1), Added(name="b", amount=5))


def test_the_views_are_those_that_the_events_make() -> None:
    tallies.then(
        TallyView(name="b", total=5, events=1), TallyView(name="a", total=1, events=1)
    ).given(Added(name="a", amount=2)).then(
        TallyView(name="a", total=3, events=2), TallyView(name="b", total=5, events=1)
    )


def test_a_scenario_is_a_value_to_go_on_from() -> None:
    more = tallies.given(Added(name="c", amount=1))
    assert len(more.views) == 3
    assert len(tallies.views) == 2


@pytest.mark.parametrize("expected", [(), (TallyView(name="a", total=1, events=1),)])
def test_other_views_fail_and_both_are_told(expected: tuple[TallyView, ...]) -> None:
    with pytest.raises(AssertionError, match="but there are these views:") as failed:
        tallies.then(*expected)
    assert "TallyView(name='b', total=5, events=1)" in str(failed.value)


def test_metadata_are_what_the_test_says() -> None:
    written = ProjectionScenario(Notes()).given(
        NoteWritten(name="n"), actor_id="ann", meta={"Request-ID": "7"}
    )
    written.given(NoteStamped(name="n"), actor_id="bob").then(
        NoteView(name="n", written_by="ann", stamped_by="bob", request="7")
    )
    other = written.given(NoteStamped(name="n"), aggregate_id="another")
    other.then(NoteView(name="n", written_by="ann", request="7"))


def test_without_them_events_are_one_aggregate_s_a_second_apart() -> None:
    first, second = (one.metadata for one in tallies.history)
    assert first.timestamp == START
    assert (second.timestamp - first.timestamp).total_seconds() == 1
    assert (second.aggregate_version, second.sequence) == (2, 2)
    clock = ManualClock()
    clock.advance(90)
    at = ProjectionScenario(Tallies()).given(Added(name="a", amount=1), timestamp=clock())
    assert (at.history[0].metadata.timestamp - START).total_seconds() == 90


async def test_queries_are_answered_from_those_views() -> None:
    assert await tallies.ask(GetTally(name="b")) == {"name": "b", "total": 5, "events": 1}
    found = await tallies.ask(GetTally(name="a"), TallyView)
    assert found == TallyView(name="a", total=1, events=1)
    assert await tallies.ask(ListNames(), list[str]) == ["a", "b"]
    with pytest.raises(NotFound):
        await tallies.ask(GetTally(name="c"))


async def test_a_query_has_the_metadata_that_the_test_says() -> None:
    notes = ProjectionScenario(Notes())
    said = await notes.ask(AskWho(), actor_id="ann", organization_id="acme")
    assert (said["actor"], said["organization"], said["type"]) == ("ann", "acme", "note.who")
    of_acme = notes.given(NoteWritten(name="n"), organization_id="acme")
    assert await of_acme.ask(GetNote(name="n")) is None
    assert await of_acme.ask(GetNote(name="n"), organization_id="acme") is not None


async def test_what_it_does_not_know_fails() -> None:
    with pytest.raises(AssertionError, match="is not projected by Tallies"):
        tallies.given(Renamed(title="t"))
    with pytest.raises(AssertionError, match="is not answered by Tallies"):
        await tallies.ask(AskWho())


def test_mistakes_in_the_class_are_told() -> None:
    class Empty(Projection):
        pass

    with pytest.raises(ModelError, match="no @projects method"):
        ProjectionScenario(Empty())

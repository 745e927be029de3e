"""Runs of commands to one aggregate: each is decided on what those before it will leave."""

from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import Self
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from cim_domain import Aggregate, Domain, Event, decides, evolves
from cim_domain.commands.decisions import CommandRequest, Decision, Rules, decide_run
from cim_domain.commands.repository import LoadedAggregate
from cim_domain.identity import caused_id
from cim_domain.model.aggregate import read_aggregate
from cim_domain.model.messages import Command
from cim_domain.store.port import Limits
from tests.cim_domain.tallies import Add, Rename, Tally, numbered, request, tally_domain

DOMAIN = tally_domain()
MODEL = read_aggregate(Tally)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def rules(limits: Limits | None = None) -> Rules:
    return Rules(MODEL, lambda: NOON, limits or Limits(), "cim-domain-sums")


def known(*commands: CommandRequest) -> LoadedAggregate:
    """A tally after these commands, as if they had been stored from sequence 101 on."""
    state = LoadedAggregate(MODEL.initial)
    if commands:
        take_in(state, decide_run(rules(), state, commands), count(101))
    return state


def take_in(state: LoadedAggregate, verdicts: Sequence[Decision], sequences: "count[int]") -> None:
    for verdict in verdicts:
        for record, after in zip(verdict.events, verdict.states, strict=True):
            state.take_in(after, record.metadata, next(sequences))


def add(*amounts: int, note: str = "", id_: int | None = None) -> CommandRequest:
    command = Add(name="t", amounts=amounts, note=note)
    return request(DOMAIN, command, None if id_ is None else numbered(id_))


def test_each_command_is_decided_on_the_state_that_those_before_it_leave() -> None:
    verdicts = decide_run(rules(), known(), [add(999_999), add(1), add(1)])
    assert [verdict.error and verdict.error.code for verdict in verdicts] == [
        None,
        None,
        "tally.full",
    ]
    assert verdicts[1].states[-1].total == 1_000_000  # type: ignore[attr-defined]


def test_a_rejected_command_between_accepted_ones_leaves_no_gap_in_the_versions() -> None:
    verdicts = decide_run(rules(), known(), [add(1, 2), add(-1), add(3)])
    assert verdicts[1].events == ()
    assert [one.metadata.aggregate_version for v in verdicts for one in v.events] == [1, 2, 3]


def test_events_carry_the_commands_correlation_and_its_id_as_causation() -> None:
    sent = add(1, 2)
    (verdict,) = decide_run(rules(), known(), [sent])
    first, second = (event.metadata for event in verdict.events)
    assert first.causation_id == second.causation_id == sent.metadata.message_id
    assert first.correlation_id == sent.metadata.correlation_id
    assert (first.timestamp, first.source) == (NOON, "cim-domain-sums")
    assert first.aggregate_id == sent.metadata.aggregate_id
    assert [first.message_id, second.message_id] == [
        caused_id(sent.metadata.message_id, 0),
        caused_id(sent.metadata.message_id, 1),
    ]


def test_a_command_that_comes_twice_in_a_run_has_the_first_ones_verdict() -> None:
    first, again = add(1, id_=1), add(1, id_=1)
    verdicts = decide_run(rules(), known(), [first, again])
    assert verdicts[1].first is verdicts[0]
    assert verdicts[1].events == ()


def test_a_command_that_has_had_its_answer_leads_to_nothing_more() -> None:
    state = known(add(1, 2, id_=1), add(3, id_=2))
    (verdict,) = decide_run(rules(), state, [add(1, 2, id_=1)], answered={numbered(1)})
    assert verdict.answered
    assert verdict.events == ()
    assert not verdict.traceless


def test_the_first_event_of_a_command_tells_what_the_command_was() -> None:
    sent = add(1, 2)
    (verdict,) = decide_run(rules(), known(), [sent])
    assert [one.metadata.command_digest for one in verdict.events] == [sent.digest, None]


@pytest.mark.parametrize(
    ("kept", "decided"), [(None, 5), ((), 2), ({numbered(1)}, 4), ({numbered(1), numbered(3)}, 5)]
)
def test_a_run_ends_before_events_would_follow_what_is_to_be_kept_first(
    kept: Container[str] | None, decided: int
) -> None:
    sent = [add(-1, id_=1), add(-1, id_=1), add(1, id_=2), add(-1, id_=3), add(1, id_=4)]
    assert len(decide_run(rules(), known(), sent, kept=kept)) == decided


def test_nothing_is_kept_of_what_cannot_come_again() -> None:
    sent = [evolve(add(-1), repeatable=False), add(1)]
    assert len(decide_run(rules(), known(), sent, kept=())) == 2


def test_a_run_is_cut_where_a_commit_would_have_too_many_bytes() -> None:
    limits = Limits(commit_bytes=2500)
    sent = [add(1, note="x" * 1000) for _ in range(5)]
    assert len(decide_run(rules(limits), known(), sent)) == 2
    large = add(*[1] * 9, note="x" * 1000)
    assert len(decide_run(rules(limits), known(), [large, add(1)])) == 1


@pytest.mark.parametrize(("expected", "code"), [(2, None), (1, "conflict"), (3, "conflict")])
def test_the_expected_version_is_that_before_the_command(expected: int, code: str | None) -> None:
    sent = request(DOMAIN, Add(name="t"), expected_version=expected)
    (verdict,) = decide_run(rules(), known(add(1, 1)), [sent])
    assert (verdict.error and verdict.error.code) == code
    if verdict.error:
        assert verdict.error.details == {"expected_version": expected, "version": 2}


def test_the_expected_version_counts_what_the_run_itself_adds() -> None:
    sent = request(DOMAIN, Add(name="t"), expected_version=2)
    assert decide_run(rules(), known(), [add(1, 1), sent])[1].error is None


def test_a_run_is_cut_where_the_next_command_would_not_fit_into_the_commit() -> None:
    limits = Limits(events=3)
    verdicts = decide_run(rules(limits), known(), [add(1, 1), add(-1), add(1), add(1)])
    assert [len(verdict.events) for verdict in verdicts] == [2, 0, 1]


def test_a_command_that_fits_into_no_commit_fails_alone() -> None:
    limits = Limits(events=3)
    verdicts = decide_run(rules(limits), known(), [add(1), add(1, 1, 1, 1), add(1)])
    assert [verdict.error and verdict.error.code for verdict in verdicts] == [
        None,
        "too_many_events",
        None,
    ]
    assert verdicts[1].error
    assert verdicts[1].error.details == {"events": 4, "limit": 3}


def test_an_event_too_large_to_be_stored_fails_its_command_alone() -> None:
    limits = Limits(event_bytes=100)
    verdicts = decide_run(rules(limits), known(), [add(1), add(1, note="x" * 100), add(1)])
    assert [verdict.error and verdict.error.code for verdict in verdicts] == [
        None,
        "too_large",
        None,
    ]


def test_a_mistake_of_the_model_fails_its_command_alone_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    verdicts = decide_run(rules(), known(), [add(1), add(5, 0), add(2)])
    error = verdicts[1].error
    assert error is not None
    assert (error.status, error.code) == ("failed", "failed")
    assert "ZeroDivisionError" in error.message
    assert "ZeroDivisionError" in caplog.text
    assert verdicts[2].states[-1].total == 3  # type: ignore[attr-defined]


COMMANDS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(
            st.builds(
                Add,
                name=st.just("t"),
                amounts=st.lists(st.sampled_from([1, 2, 400_000, 0, -1]), max_size=4).map(tuple),
            ),
            st.builds(Rename, name=st.just("t"), title=st.sampled_from(["a", "b"])),
        ),
        st.sampled_from([None, None, None, 0, 1, 2]),
    ),
    max_size=12,
)


def play(commands: Sequence[tuple[int, Command, int | None]], cuts: Sequence[int]) -> object:
    """Decide and store in runs of these lengths; what was stored and answered, in order."""
    state, sequences = LoadedAggregate(MODEL.initial), count(1)
    now = NOON - timedelta(days=1)
    waiting = [
        request(DOMAIN, command, numbered(id_), expected_version=expected)
        for id_, command, expected in commands
    ]
    stored, outcomes = [], []
    lengths = iter([*cuts, *[1_000_000] * len(commands)])
    while waiting:
        run = waiting[: next(lengths)]
        ids = [one.metadata.message_id for one in run]
        answered = {one for one in ids if state.commands.places(one)}
        rules = Rules(MODEL, lambda: now, Limits(events=4), "s")
        verdicts = decide_run(rules, state, run, answered)
        assert verdicts, "the first of a run is always decided"
        take_in(state, verdicts, sequences)
        waiting = waiting[len(verdicts) :]
        stored += [event for verdict in verdicts for event in verdict.events]
        outcomes += [
            verdict.error.code if verdict.error else effect(state, verdict) for verdict in verdicts
        ]
    comparable = [(one.metadata.message_id, one.metadata.aggregate_version) for one in stored]
    return comparable, [one.data for one in stored], outcomes, state.state


def effect(state: LoadedAggregate, verdict: Decision) -> object:
    if verdict.first and verdict.first.error:
        return verdict.first.error.code
    return state.commands.places(verdict.request.metadata.message_id)


# What has led to no event is in no history: when it comes again later it is decided anew, and only
# in one run with the first has the same answer. So only those that lead to events come again here.
def without_repeated(
    commands: Sequence[tuple[int, Command, int | None]],
) -> list[tuple[int, Command, int | None]]:
    seen: dict[int, tuple[int, Command, int | None]] = {}
    kept = []
    for number, (id_, command, expected) in enumerate(commands):
        accepted = isinstance(command, Add) and command.amounts and {*command.amounts} <= {1, 2}
        if expected is None and accepted and id_ in seen:
            kept.append(seen[id_])
        elif expected is None and accepted:
            kept.append(seen.setdefault(id_, (id_, command, expected)))
        else:
            kept.append((1000 + number, command, expected))
    return kept


@settings(max_examples=150, deadline=None)
@given(COMMANDS, st.lists(st.integers(1, 5), max_size=12))
def test_however_commands_are_split_into_runs_the_events_and_outcomes_are_the_same(
    commands: list[tuple[int, Command, int | None]], cuts: list[int]
) -> None:
    commands = without_repeated(commands)
    one_by_one = play(commands, [1] * len(commands))
    assert play(commands, cuts) == one_by_one
    assert play(commands, [len(commands)] if commands else []) == one_by_one


class Sealed(Event, type="letter.sealed"):
    word: SecretStr | None = None
    due: datetime | None = None


class Seal(Command, type="letter.seal"):
    letter: str
    word: str | None = None


@frozen
class Letter(Aggregate, key="letter"):
    due: datetime | None = None

    @decides
    def seal(self, command: Seal) -> Sealed:
        if command.word:
            return Sealed(word=SecretStr(command.word))
        return Sealed(due=datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Paris")))

    @evolves
    def sealed(self, event: Sealed) -> Self:
        return evolve(self, due=event.due)


LETTERS = Domain("letters", aggregates=[Letter])


def seal(word: str | None = None) -> Decision:
    model = LETTERS.aggregates["letter"]
    (decision,) = decide_run(
        Rules(model, lambda: NOON, Limits(), "letters"),
        LoadedAggregate(model.initial),
        [request(LETTERS, Seal(letter="a", word=word))],
    )
    return decision


def test_what_would_come_back_as_something_else_is_failed_and_names_the_field() -> None:
    decision = seal("hush")
    assert decision.events == ()
    assert decision.error is not None
    assert (decision.error.status, decision.error.code) == ("failed", "event_altered")
    assert decision.error.details["fields"][0]["path"] == "word"
    assert "hush" not in str(decision.error)


def test_the_state_evolves_on_what_will_be_read() -> None:
    decision = seal()
    (state,), (record,) = decision.states, decision.events
    assert isinstance(state, Letter)
    assert state.due == Sealed.from_log(record.data, 1).due
    assert state.due is not None
    assert state.due.tzinfo == timezone(timedelta(hours=2))

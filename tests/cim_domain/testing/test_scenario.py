"""Scenarios: what they accept, what they check, and what they say when a check fails."""

import re
from typing import Self

import pytest
from attrs import evolve, frozen

from cim_domain import Aggregate, Command, Event, Metadata, Rejected, caused_id, decides, evolves
from cim_domain.errors import ModelError
from cim_domain.testing.scenario import START, Scenario


class Deposit(Command, type="account.deposit"):
    number: str
    amounts: tuple[int, ...]


class Withdraw(Command, type="account.withdraw"):
    number: str
    amount: int


class Deposited(Event, type="account.deposited"):
    amount: int
    command_id: str = ""


class Withdrawn(Event, type="account.withdrawn", version=2):
    amount: int


class Noted(Event, type="account.noted"):
    texts: object


@frozen
class Account(Aggregate, key="number"):
    balance: int = 0
    seen: tuple[Metadata, ...] = ()

    @decides
    def deposit(self, command: Deposit, metadata: Metadata) -> list[Deposited]:
        return [
            Deposited(amount=amount, command_id=metadata.message_id) for amount in command.amounts
        ]

    @decides
    def withdraw(self, command: Withdraw) -> Withdrawn:
        if command.amount > self.balance:
            raise Rejected("account.overdrawn", "pay in first", balance=self.balance)
        return Withdrawn(amount=command.amount)

    @evolves
    def was_deposited(self, event: Deposited, metadata: Metadata) -> Self:
        return evolve(self, balance=self.balance + event.amount, seen=(*self.seen, metadata))

    @evolves
    def was_withdrawn(self, event: Withdrawn) -> Self:
        return evolve(self, balance=self.balance - event.amount)

    @evolves
    def was_noted(self, _event: Noted) -> Self:
        return self


class StrayCommand(Command, type="other.act"):
    number: str


class StrayEvent(Event, type="other.acted"):
    pass


ONE = "00000000-0000-0000-0000-000000000001"
TWO = "00000000-0000-0000-0000-000000000002"
CHOSEN = "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"

empty = Scenario(Account)
rich = empty.given(Deposited(amount=100))


def fails(words: str) -> pytest.RaisesExc[AssertionError]:
    return pytest.raises(AssertionError, match=re.escape(words))


def test_a_scenario_begins_before_all_events() -> None:
    assert empty.state == Account()
    assert empty.version == 0


def test_given_events_and_commands_lead_to_a_state() -> None:
    scenario = empty.given(Deposited(amount=5), Deposit(number="a", amounts=(1, 2)))
    assert scenario.state.balance == 8
    assert scenario.version == 3


def test_steps_leave_the_scenario_they_start_from_as_it_was() -> None:
    rich.given(Deposited(amount=1))
    rich.when(Withdraw(number="a", amount=100)).then(Withdrawn(amount=100))
    assert rich.state.balance == 100


def test_then_goes_on_from_the_state_afterwards() -> None:
    after = rich.when(Withdraw(number="a", amount=60)).then(Withdrawn(amount=60))
    rejection = after.when(Withdraw(number="a", amount=60)).then_rejected("account.overdrawn")
    assert rejection.details == {"balance": 40}


def test_a_rejected_command_changes_nothing() -> None:
    outcome = rich.when(Withdraw(number="a", amount=101))
    assert outcome.scenario.state == rich.state
    assert outcome.scenario.version == rich.version


def test_then_nothing_accepts_a_command_that_led_to_no_event() -> None:
    assert rich.when(Deposit(number="a", amounts=())).then_nothing().version == 1


def test_messages_are_numbered_unless_the_command_id_is_chosen() -> None:
    command = Deposit(number="a", amounts=(1,))
    empty.when(command).then(Deposited(amount=1, command_id=ONE))
    rich.when(command).then(Deposited(amount=1, command_id=TWO))
    rich.when(command, command_id=CHOSEN).then(Deposited(amount=1, command_id=CHOSEN))


def test_events_have_the_metadata_that_a_log_would_give_them() -> None:
    after = empty.when(Deposit(number="a", amounts=(1, 2)), command_id=CHOSEN).scenario
    first, second = after.state.seen
    assert [first.message_id, second.message_id] == [caused_id(CHOSEN, 0), caused_id(CHOSEN, 1)]
    assert second.message_type == "account.deposited"
    assert second.causation_id == second.correlation_id == CHOSEN
    assert second.aggregate_version == 2
    assert second.aggregate_id == first.aggregate_id is not None
    assert second.timestamp == START


def test_another_event_than_expected_fails_and_names_what_differs() -> None:
    outcome = rich.when(Withdraw(number="a", amount=1))
    with fails("event 1: amount: expected 2, got 1"):
        outcome.then(Withdrawn(amount=2))
    with fails("event 1: expected Deposited, got Withdrawn"):
        outcome.then(Deposited(amount=1))


@pytest.mark.parametrize("expected", [(), (Withdrawn(amount=1), Withdrawn(amount=1))])
def test_more_or_fewer_events_than_expected_fail(expected: tuple[Event, ...]) -> None:
    with fails("but it led to these events:\n    Withdrawn(amount=1)"):
        rich.when(Withdraw(number="a", amount=1)).then(*expected)


def test_a_rejection_where_events_were_expected_fails_and_is_told() -> None:
    with fails("but it was rejected with 'account.overdrawn': pay in first"):
        empty.when(Withdraw(number="a", amount=1)).then(Withdrawn(amount=1))
    with fails("expected no event\nbut it was rejected with 'account.overdrawn'"):
        empty.when(Withdraw(number="a", amount=1)).then_nothing()


def test_events_or_another_code_where_a_rejection_was_expected_fail() -> None:
    with fails("expected a rejection 'account.overdrawn'\nbut it led to these events:"):
        rich.when(Withdraw(number="a", amount=1)).then_rejected("account.overdrawn")
    with fails("expected a rejection 'account.closed'\nbut it was rejected with"):
        empty.when(Withdraw(number="a", amount=1)).then_rejected("account.closed")


def test_a_given_command_that_is_rejected_fails() -> None:
    with fails("given Withdraw(number='a', amount=1), but it was rejected with"):
        empty.given(Withdraw(number="a", amount=1))


def test_a_command_for_another_aggregate_fails() -> None:
    with fails("is for another account than ('a',)"):
        empty.given(Deposit(number="a", amounts=(1,)), Deposit(number="b", amounts=(1,)))


def test_messages_that_are_not_the_aggregates_fail() -> None:
    with fails("StrayCommand(number='a') is no command of Account"):
        empty.when(StrayCommand(number="a"))
    with fails("StrayEvent() is no event of Account"):
        empty.given(StrayEvent())


def test_an_event_that_its_json_changes_fails() -> None:
    with fails("texts: list comes back from its JSON in the place of tuple"):
        empty.given(Noted(texts=("a",)))


def test_a_class_that_is_no_aggregate_is_a_model_error() -> None:
    class Plain(Aggregate, key="number"):
        pass

    with pytest.raises(ModelError, match="must be a frozen attrs class"):
        Scenario(Plain)

"""Given, when, then: what an aggregate decides, told as a scenario and without any server.

    flake = Scenario(Flake).given(FlakeCreated(path="/srv/web"))

    flake.when(UpdateFlake(path="/srv/web")).then(FlakeUpdated(path="/srv/web"))
    flake.when(CreateFlake(path="/srv/web")).then_rejected("flake.exists")

Scenarios are values: each step gives a new one, so several tests can go on from the same beginning.
Every event goes through its JSON, as it will in the log, before the state evolves on it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, TypeVar, cast
from uuid import UUID

from attrs import Factory, evolve, field, frozen

from cim_domain.errors import Rejected
from cim_domain.identity import aggregate_id, caused_id
from cim_domain.model.aggregate import Aggregate, AggregateModel, read_aggregate
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Clock, Metadata
from cim_domain.testing.messages import START, as_stored, listed

A = TypeVar("A", bound=Aggregate)


def _model(scenario: "Scenario[A]") -> AggregateModel:
    return read_aggregate(scenario.aggregate)


def _initial(scenario: "Scenario[A]") -> A:
    return cast("A", scenario.model.initial)


@frozen
class Scenario(Generic[A]):
    """An aggregate after some history. Raises `ModelError` for a mistake in the class."""

    aggregate: type[A]
    model: AggregateModel = field(default=Factory(_model, takes_self=True), repr=False, eq=False)
    state: A = field(default=Factory(_initial, takes_self=True), kw_only=True)
    """What the history has led to."""
    version: int = field(default=0, kw_only=True)
    """How many events the history has."""
    key: tuple[str, ...] | None = field(default=None, kw_only=True)
    """The natural key that the commands so far have."""
    messages: int = field(default=0, kw_only=True)
    """How many events were given and commands were sent."""
    clock: Clock | None = field(default=None, kw_only=True)
    """What tells the time of each message; None: each is a second after the one before."""

    def given(self, *history: Event | Command) -> "Scenario[A]":
        """The scenario after more history: events, and commands that must be accepted.

        Raises `AssertionError` for a message that is not the aggregate's, and for a command that is
        rejected or has another key than those before it.
        """
        __tracebackhide__ = True
        scenario = self
        for message in history:
            if isinstance(message, Command):
                outcome = scenario.when(message)
                if outcome.rejected is not None:
                    raise AssertionError(f"given {message!r}, but it was {_told(outcome.rejected)}")
                scenario = outcome.scenario
            else:
                scenario = _recorded(scenario, (message,), _metadata(scenario, message))
        return scenario

    def when(self, command: Command, *, command_id: str | None = None) -> "Outcome[A]":
        """What comes of a command.

        `command_id` is a UUID as text; without it, the n-th message of the scenario has the id that
        is n as a UUID. Raises `AssertionError` as `given` does.
        """
        __tracebackhide__ = True
        if type(command) not in self.model.commands:
            raise AssertionError(f"{command!r} is no command of {self.aggregate.__name__}")
        key = self.model.key_of(command)
        if self.key not in (None, key):
            raise AssertionError(f"{command!r} is for another {self.model.name} than {self.key}")
        metadata = _metadata(self, command, command_id)
        asked: Scenario[A] = evolve(self, key=key)
        try:
            events = self.model.decide(self.state, command, metadata)
        except Rejected as rejected:
            return Outcome(_recorded(asked, (), metadata), (), rejected)
        return Outcome(_recorded(asked, events, metadata), events, None)


@frozen
class Outcome(Generic[A]):
    """What a command led to."""

    scenario: Scenario[A]
    """The scenario afterwards, to go on from."""
    events: tuple[Event, ...]
    rejected: Rejected | None

    def then(self, *expected: Event) -> Scenario[A]:
        """Check that exactly these events were decided, and go on from there."""
        __tracebackhide__ = True
        if self.rejected is not None or self.events != expected:
            raise AssertionError(
                f"expected {listed('event', expected)}\nbut it {self._came_to(expected)}"
            )
        return self.scenario

    def then_nothing(self) -> Scenario[A]:
        """Check that the command was accepted and led to no event, and go on from there."""
        __tracebackhide__ = True
        return self.then()

    def then_rejected(self, code: str) -> Rejected:
        """Check that the rules said no with this code; the rejection, for its details."""
        __tracebackhide__ = True
        if self.rejected is None or self.rejected.code != code:
            raise AssertionError(f"expected a rejection {code!r}\nbut it {self._came_to(())}")
        return self.rejected

    def _came_to(self, expected: tuple[Event, ...]) -> str:
        if self.rejected is not None:
            return f"was {_told(self.rejected)}"
        lines = [f"led to {listed('event', self.events)}"]
        for place, (one, other) in enumerate(zip(expected, self.events, strict=False), start=1):
            lines += [f"event {place}: {line}" for line in _differences(one, other)]
        return "\n".join(lines)


def _metadata(
    scenario: Scenario[A], message: Event | Command, message_id: str | None = None
) -> Metadata:
    return Metadata.root(
        message_id or str(UUID(int=scenario.messages + 1)),
        message.message_type,
        scenario.clock() if scenario.clock else START + timedelta(seconds=scenario.messages),
        "scenario",
    )


def _recorded(scenario: Scenario[A], events: Sequence[Event], cause: Metadata) -> Scenario[A]:
    """The scenario after one message and the events that it led to, or that it is."""
    state: Aggregate = scenario.state
    for index, event in enumerate(events):
        if type(event) not in scenario.model.events:
            raise AssertionError(f"{event!r} is no event of {scenario.aggregate.__name__}")
        metadata = evolve(
            cause.causing(caused_id(cause.message_id, index), event.message_type, cause.timestamp),
            aggregate_id=aggregate_id("scenario", None, scenario.model.name, scenario.key or ()),
            aggregate_version=scenario.version + index + 1,
            schema_version=event.schema_version,
        )
        state = scenario.model.evolve(state, as_stored(event), metadata)
    return evolve(
        scenario,
        state=cast("A", state),
        version=scenario.version + len(events),
        messages=scenario.messages + 1,
    )


def _told(rejected: Rejected) -> str:
    return f"rejected with {rejected.code!r}: {rejected.message}"


def _differences(expected: Event, event: Event) -> list[str]:
    if type(expected) is not type(event):
        return [f"expected {type(expected).__name__}, got {type(event).__name__}"]
    return [
        f"{name}: expected {getattr(expected, name)!r}, got {getattr(event, name)!r}"
        for name in type(expected).model_fields
        if getattr(expected, name) != getattr(event, name)
    ]

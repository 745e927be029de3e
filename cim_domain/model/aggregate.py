"""Aggregates: a frozen state that decides about commands and evolves on events.

    @frozen
    class Flake(Aggregate, key="path"):
        created: bool = False

        @decides
        def create(self, command: CreateFlake) -> FlakeCreated:
            if self.created:
                raise Rejected("flake.exists", f"there is a flake at {command.path}")
            return FlakeCreated(path=command.path)

        @evolves
        def was_created(self, event: FlakeCreated) -> Self:
            return evolve(self, created=True)

Both kinds of method are pure: no input or output, no clock, no ids made up inside. What varies
arrives in the command, or in the `Metadata` that a method may take as its last parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

import attrs
from attrs import frozen

from cim_domain.errors import ModelError
from cim_domain.model.handlers import Handler, mark, mentioned, one_for_each
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Metadata
from cim_domain.model.naming import declared_beside, snake_case
from cim_domain.model.source_location import where
from cim_domain.model.subjects import require_name


class Aggregate:
    """The base of every aggregate: a frozen attrs class whose fields all have defaults.

    `key` names the field, or the fields, that every command of the aggregate has and that together
    say which one is meant. `name` is the first part of its messages' types; without it, the class's
    name in lower snake case. Snapshots of its states are of no use after any change of the code;
    with a `snapshot_version`, only once that is another one, which is then due with each change of
    how events lead to a state.
    """

    __slots__ = ()

    aggregate_name: ClassVar[str] = ""
    aggregate_key: ClassVar[tuple[str, ...]] = ()
    snapshot_version: ClassVar[int | str | None] = None

    def __init_subclass__(
        cls,
        *,
        key: str | tuple[str, ...] | None = None,
        name: str | None = None,
        snapshot_version: int | str | None = None,
    ) -> None:
        super().__init_subclass__()
        # attrs makes a slotted class anew, from the namespace that the first round filled here.
        if "aggregate_name" not in cls.__dict__:
            cls.aggregate_name = name or snake_case(cls.__name__)
            cls.aggregate_key = (key,) if isinstance(key, str) else key or ()
            cls.snapshot_version = snapshot_version


Decides = TypeVar("Decides", bound=Callable[..., Event | Sequence[Event] | None])
M = TypeVar("M", Command, Event)
Evolves = TypeVar("Evolves", bound=Callable[..., Aggregate])


def decides(method: Decides) -> Decides:
    """Mark a method that takes a command and returns its events: one, several or none.

    It raises `Rejected` where the rules say no.
    """
    mark(method, "decides")
    return method


def evolves(method: Evolves) -> Evolves:
    """Mark a method that takes an event and returns the next state."""
    mark(method, "evolves")
    return method


@frozen
class AggregateModel:
    """An aggregate class, read and checked: who decides about what, and who evolves on what."""

    cls: type[Aggregate]
    name: str
    key: tuple[str, ...]
    initial: Aggregate
    commands: Mapping[type[Command], Handler]
    events: Mapping[type[Event], Handler]

    def key_of(self, command: Command) -> tuple[str, ...]:
        """The natural key of the aggregate that a command is for, each part as text."""
        return tuple(str(getattr(command, part)) for part in self.key)

    def decide(self, state: Aggregate, command: Command, metadata: Metadata) -> tuple[Event, ...]:
        """The events that the command leads to. Raises `Rejected`, and what the method raises."""
        decided: Event | Sequence[Event] | None = self.commands[type(command)].call(
            state, command, metadata
        )
        if decided is None:
            return ()
        return (decided,) if isinstance(decided, Event) else tuple(decided)

    def evolve(self, state: Aggregate, event: Event, metadata: Metadata) -> Aggregate:
        """The state after the event. Raises `TypeError` where the method gives none."""
        handler = self.events[type(event)]
        evolved = handler.call(state, event, metadata)
        if not isinstance(evolved, self.cls):
            raise TypeError(f"{handler.place}: returned {type(evolved).__name__}, not the state")
        return evolved


def read_aggregate(cls: type[Aggregate]) -> AggregateModel:
    """Read an aggregate class. Raises `ModelError`, naming class and file, for a mistake in it."""
    place = where(cls)
    require_name(cls.aggregate_name, f"{place}: the aggregate's name")
    if not _is_frozen(cls):
        raise ModelError(f"{place}: an aggregate must be a frozen attrs class: add @frozen")
    if not cls.aggregate_key:
        raise ModelError(f"{place}: say which field of its commands is the key: key='...'")
    try:
        initial = cls()
    except TypeError as error:
        raise ModelError(
            f"{place}: every field needs a default, for the state before all events"
        ) from error
    model = AggregateModel(
        cls=cls,
        name=cls.aggregate_name,
        key=cls.aggregate_key,
        initial=initial,
        commands=one_for_each(cls, "decides", Command),
        events=one_for_each(cls, "evolves", Event),
    )
    _check_commands(model, place)
    _check_events(model, place)
    return model


def _is_frozen(cls: type) -> bool:
    return attrs.has(cls) and attrs.inspect(cls).is_frozen


def _check_commands(model: AggregateModel, place: str) -> None:
    for command in model.commands:
        _check_type(command, model, place)
        for part in model.key:
            if part not in command.model_fields:
                raise ModelError(
                    f"{place}: the key {part!r} is not a field of its command {where(command)}"
                )
    for command in _own(model, Command):
        if command not in model.commands:
            raise ModelError(f"{place}: no @decides method for the command {where(command)}")


def _check_events(model: AggregateModel, place: str) -> None:
    for event in model.events:
        _check_type(event, model, place)
    produced = {
        event for handler in model.commands.values() for event in mentioned(handler.returns, Event)
    }
    for event in sorted({*produced, *_own(model, Event)}, key=lambda one: one.__name__):
        if event is not Event and event not in model.events:
            raise ModelError(f"{place}: no @evolves method for the event {where(event)}")


def _check_type(message: type[Command | Event], model: AggregateModel, place: str) -> None:
    if not message.message_type:
        raise ModelError(f"{place}: {where(message)} has no type: declare it with type='...'")
    if message.message_type.split(".")[0] != model.name:
        raise ModelError(
            f"{place}: {where(message)} has the type {message.message_type!r}, which is not"
            f" of the aggregate {model.name!r}"
        )


def _own(model: AggregateModel, base: type[M]) -> list[type[M]]:
    """The messages of the aggregate that its own module defines."""
    return [
        message
        for message in declared_beside(model.cls, base)
        if message.message_type.split(".")[0] == model.name
    ]

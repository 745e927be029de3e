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

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from attrs import evolve, frozen

from cim_domain.errors import Invalid
from cim_domain.model.failures import model_code
from cim_domain.model.fields.keys import ALLOWED, canonical_text, key_text, key_type
from cim_domain.model.handlers import Handler, mark, mentioned, misplaced, one_for_each
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Metadata
from cim_domain.model.mistakes import (
    Mistakes,
    begin,
    chosen_name,
    keep_names,
    names,
    note,
    noted,
    only_known,
)
from cim_domain.model.naming import declared_beside
from cim_domain.model.source_location import where
from cim_domain.model.states import state_problems
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
        **kwargs: Any,
    ) -> None:
        # attrs makes a slotted class anew, from the namespace that the first round filled here.
        first = begin(cls)
        super().__init_subclass__(**only_known(cls, kwargs, ("key", "name", "snapshot_version")))
        if first:
            keep_names(cls, Aggregate, _KEYWORDS)
            cls.aggregate_name = chosen_name(cls, name)
            cls.aggregate_key = names(cls, "key", key) or cls.aggregate_key
            given: object = snapshot_version
            if not isinstance(given, int | str | None):
                note(
                    cls, f"snapshot_version {snapshot_version!r} is neither a whole number nor text"
                )
            cls.snapshot_version = snapshot_version


_KEYWORDS = {
    "aggregate_name": "name=",
    "aggregate_key": "key=",
    "snapshot_version": "snapshot_version=",
}

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
    key_types: tuple[type, ...]
    """Of each part of the key, what it is: text, int, bool, UUID, date or datetime."""
    commands: Mapping[type[Command], Handler]
    events: Mapping[type[Event], Handler]

    @property
    def initial(self) -> Aggregate:
        """The state before all events, made anew each time."""
        with model_code:
            return self.cls()

    def key_of(self, command: Command) -> tuple[str, ...]:
        """The natural key of the aggregate that a command is for, each part as text.

        Raises `Invalid`, with the field's path, for a value that cannot be part of a key.
        """
        return tuple([_part_of_key(command, part) for part in self.key])

    def key_from(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The natural key that somebody wrote, each part in one of the forms its type has.

        Raises `ValueError` where it is none.
        """
        if len(texts) != len(self.key):
            raise ValueError(f"expected {len(self.key)} parts ({', '.join(self.key)})")
        return tuple(
            [canonical_text(kind, text) for kind, text in zip(self.key_types, texts, strict=True)]
        )

    def decide(self, state: Aggregate, command: Command, metadata: Metadata) -> tuple[Event, ...]:
        """The events that the command leads to. Raises `Rejected`, and what the method raises."""
        with model_code:
            decided: Event | Sequence[Event] | None = self.commands[type(command)].call(
                state, command, metadata
            )
            if decided is None:
                return ()
            return (decided,) if isinstance(decided, Event) else tuple(decided)

    def evolve(self, state: Aggregate, event: Event, metadata: Metadata) -> Aggregate:
        """The state after the event. Raises `TypeError` where the method gives none."""
        handler = self.events[type(event)]
        with model_code:
            evolved = handler.call(state, event, metadata)
        if not isinstance(evolved, self.cls):
            raise TypeError(f"{handler.place}: returned {type(evolved).__name__}, not the state")
        return evolved


def _part_of_key(command: Command, part: str) -> str:
    value = getattr(command, part)
    try:
        return key_text(value)
    except ValueError as error:
        field = type(command).model_fields[part]
        path = field.validation_alias if isinstance(field.validation_alias, str) else part
        raise Invalid(
            f"{command.message_type}: {path}: {error}",
            details={"fields": [{"path": path, "message": str(error)}]},
        ) from None


def read_aggregate(cls: type[Aggregate]) -> AggregateModel:
    """Read an aggregate class. Raises `ModelError`, with all mistakes that are in it."""
    mistakes = Mistakes()
    model = examine_aggregate(cls, mistakes)
    mistakes.refuse()
    return model


def examine_aggregate(cls: type[Aggregate], mistakes: Mistakes) -> AggregateModel:
    """What can be read of an aggregate class, with the mistakes in it."""
    place = where(cls)
    mistakes.take_noted(cls)
    with mistakes.gathered():
        require_name(cls.aggregate_name, f"{place}: the aggregate's name")
    if not cls.aggregate_key and not noted(cls):
        mistakes.add(f"{place}: say which field of its commands is the key: key='...'")
    for problem in state_problems(cls):
        mistakes.add(f"{place}: {problem}")
    misplaced(cls, ("decides", "evolves"), mistakes)
    model = AggregateModel(
        cls=cls,
        name=cls.aggregate_name,
        key=cls.aggregate_key,
        key_types=(),
        commands=one_for_each(cls, "decides", Command, mistakes),
        events=one_for_each(cls, "evolves", Event, mistakes),
    )
    whole = cls not in mistakes.unread
    for message in (*model.commands, *model.events, *_own(model, Command), *_own(model, Event)):
        mistakes.take_noted(message)
    _check_commands(model, place, mistakes, whole=whole)
    _check_events(model, place, mistakes, whole=whole)
    return evolve(model, key_types=_key_types(model, place, mistakes))


def _check_commands(model: AggregateModel, place: str, mistakes: Mistakes, *, whole: bool) -> None:
    for command in model.commands:
        _check_type(command, model, place, mistakes)
    for command in _all_commands(model):
        for part in model.key:
            if part not in command.model_fields:
                mistakes.add(
                    f"{place}: the key {part!r} is not a field of its command {where(command)}"
                )
    for command in _own(model, Command):
        if whole and command not in model.commands:
            mistakes.add(f"{place}: no @decides method for the command {where(command)}")


def _all_commands(model: AggregateModel) -> Iterable[type[Command]]:
    return dict.fromkeys((*model.commands, *_own(model, Command)))


def _key_types(model: AggregateModel, place: str, mistakes: Mistakes) -> tuple[type, ...]:
    """The type of each part of the key, which is the same in all commands."""
    found: list[type] = []
    for part in model.key:
        types: dict[type, type[Command]] = {}
        for command in _all_commands(model):
            if part in command.model_fields:
                kind = key_type(command.model_fields[part].annotation)
                if kind is None:
                    mistakes.add(
                        f"{place}: the key {part!r} of {where(command)} is not one of these alone:"
                        f" {ALLOWED}"
                    )
                else:
                    types.setdefault(kind, command)
        if len(types) > 1:
            (one, first), (other, second), *_ = types.items()
            mistakes.add(
                f"{place}: the key {part!r} is {one.__name__} in {where(first)} and"
                f" {other.__name__} in {where(second)}: make it one, or they mean two aggregates"
            )
        found.append(next(iter(types), str))
    return tuple(found)


def _check_events(model: AggregateModel, place: str, mistakes: Mistakes, *, whole: bool) -> None:
    for event in model.events:
        _check_type(event, model, place, mistakes)
    produced = {
        event for handler in model.commands.values() for event in mentioned(handler.returns, Event)
    }
    for event in sorted({*produced, *_own(model, Event)}, key=lambda one: one.__name__):
        if event is Event:
            continue
        if event in produced:
            mistakes.take_noted(event)
        if whole and event not in model.events:
            mistakes.add(f"{place}: no @evolves method for the event {where(event)}")


def _check_type(
    message: type[Command | Event], model: AggregateModel, place: str, mistakes: Mistakes
) -> None:
    if noted(message):
        return
    if not message.message_type:
        mistakes.add(f"{place}: {where(message)} has no type: declare it with type='...'")
    elif message.message_type.split(".")[0] != model.name:
        mistakes.add(
            f"{place}: {where(message)} has the type {message.message_type!r}, which is not"
            f" of the aggregate {model.name!r}"
        )


def _own(model: AggregateModel, base: type[M]) -> list[type[M]]:
    """The messages of the aggregate that its own module defines."""
    return [
        message
        for message in declared_beside(model.cls, base)
        if message.message_type and message.message_type.split(".")[0] == model.name
    ]

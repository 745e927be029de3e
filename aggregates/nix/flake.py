"""A flake: a directory with a ``flake.nix``, its inputs, and which inputs follow which.

- A path has one flake: ``flake.exists``, ``flake.unknown``.
- An input's name is taken once. Adding it again as it is records nothing; with another url, or
  with other follows, it is ``flake.input_exists``: to change an input, remove it and add it anew.
- A follows maps an input of the new input to an input that the flake already has, and to no other
  (``flake.follows_unknown``). So that it stays true, an input that others follow cannot be removed
  (``flake.input_followed``).
- An update locks the inputs anew; what comes of that is outside, so each one is recorded.
"""

from typing import Annotated, Self

from attrs import evolve, field, frozen
from pydantic import Field

from aggregates.nix.values import Description, FlakePath, FlakeTemplate, InputName, InputUrl
from cim_domain import Aggregate, Command, Event, Rejected, decides, evolves

MAX_FOLLOWS = 256

Follows = Annotated[dict[InputName, InputName], Field(max_length=MAX_FOLLOWS)]
"""From an input of an input to the flake's own input that it is replaced by."""


# Commands


class CreateFlake(Command, type="flake.create"):
    """Make a flake at a path, from a template or empty."""

    path: FlakePath
    description: Description = ""
    template: FlakeTemplate | None = None


class UpdateFlake(Command, type="flake.update"):
    """Lock the flake's inputs anew."""

    path: FlakePath


class AddFlakeInput(Command, type="flake.add_input"):
    """Give the flake one more input."""

    path: FlakePath
    name: InputName
    url: InputUrl
    follows: Follows = Field(default_factory=dict)


class RemoveFlakeInput(Command, type="flake.remove_input"):
    """Take an input away."""

    path: FlakePath
    name: InputName


# Events


class FlakeCreated(Event, type="flake.created"):
    """There is a flake at the path."""

    path: str
    description: str = ""
    template: FlakeTemplate | None = None


class FlakeUpdated(Event, type="flake.updated"):
    """The flake's inputs are to be locked anew."""

    path: str


class FlakeInputAdded(Event, type="flake.input_added"):
    """The flake has one more input."""

    path: str
    name: str
    url: str
    follows: dict[str, str] = Field(default_factory=dict)


class FlakeInputRemoved(Event, type="flake.input_removed"):
    """The input is gone."""

    path: str
    name: str
    url: str
    """What the input pointed to."""


# State


@frozen
class FlakeInput:
    """One input: what it points to, and which of its own inputs follow inputs of the flake."""

    url: str
    follows: dict[str, str]


@frozen
class Flake(Aggregate, key="path"):
    """Whether there is a flake, and its inputs by name."""

    created: bool = False
    inputs: dict[str, FlakeInput] = field(factory=dict)

    # Decisions

    @decides
    def create(self, command: CreateFlake) -> FlakeCreated:
        if self.created:
            raise Rejected(
                "flake.exists",
                f"there is a flake at {command.path}; send flake.update, or take another path",
            )
        return FlakeCreated(
            path=command.path, description=command.description, template=command.template
        )

    @decides
    def update(self, command: UpdateFlake) -> FlakeUpdated:
        self._require_created(command.path)
        return FlakeUpdated(path=command.path)

    @decides
    def add_input(self, command: AddFlakeInput) -> FlakeInputAdded | None:
        self._require_created(command.path)
        if present := self.inputs.get(command.name):
            if present == FlakeInput(command.url, command.follows):
                return None
            raise Rejected(
                "flake.input_exists",
                f"the flake has an input {command.name!r} with another url or other follows;"
                " remove it first, or take another name",
                name=command.name,
            )
        if unknown := sorted({*command.follows.values()} - {*self.inputs}):
            raise Rejected(
                "flake.follows_unknown",
                f"{command.name!r} is to follow {', '.join(map(repr, unknown))}, which the flake"
                " does not have as an input; add that first",
                unknown=unknown,
            )
        return FlakeInputAdded(
            path=command.path, name=command.name, url=command.url, follows=command.follows
        )

    @decides
    def remove_input(self, command: RemoveFlakeInput) -> FlakeInputRemoved:
        self._require_created(command.path)
        present = self.inputs.get(command.name)
        if present is None:
            raise Rejected(
                "flake.input_unknown",
                f"the flake has no input {command.name!r}; flake.get_inputs lists what it has",
                name=command.name,
            )
        if followers := self._followers(command.name):
            raise Rejected(
                "flake.input_followed",
                f"{command.name!r} is followed by {', '.join(map(repr, followers))};"
                " remove those first",
                followers=followers,
            )
        return FlakeInputRemoved(path=command.path, name=command.name, url=present.url)

    def _require_created(self, path: str) -> None:
        if not self.created:
            raise Rejected("flake.unknown", f"there is no flake at {path}; send flake.create first")

    def _followers(self, name: str) -> list[str]:
        return sorted(one for one, it in self.inputs.items() if name in it.follows.values())

    # Evolutions

    @evolves
    def was_created(self, _event: FlakeCreated) -> Self:
        return evolve(self, created=True)

    @evolves
    def was_updated(self, _event: FlakeUpdated) -> Self:
        return self

    @evolves
    def input_was_added(self, event: FlakeInputAdded) -> Self:
        added = FlakeInput(event.url, event.follows)
        return evolve(self, inputs={**self.inputs, event.name: added})

    @evolves
    def input_was_removed(self, event: FlakeInputRemoved) -> Self:
        return evolve(
            self, inputs={name: it for name, it in self.inputs.items() if name != event.name}
        )

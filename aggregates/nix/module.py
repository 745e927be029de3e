"""A NixOS module: the options it declares, the configuration it sets, and what it imports.

- A name has one module: ``module.exists``, ``module.unknown``. Once deleted, the name is free
  again.
- Updating to the same content records nothing.
"""

from typing import Self

from attrs import evolve, frozen
from pydantic import Field

from aggregates.nix.content import Content, JsonObject, NonEmptyText
from aggregates.nix.values import ModuleName
from cim_domain import Aggregate, Command, Event, Json, Rejected, decides, evolves


class ModuleContent(Content):
    """What a module consists of, as events hold it."""

    options: Json = Field(default_factory=dict)
    """The options it declares, by name."""
    config: Json = Field(default_factory=dict)
    """What it sets."""
    imports: tuple[str, ...] = ()
    """Paths or names of further modules."""


class CheckedModuleContent(ModuleContent, extra="forbid"):
    """The same as a client sends it: unknown fields are refused, JSON and texts are checked."""

    options: JsonObject = Field(default_factory=dict)
    config: JsonObject = Field(default_factory=dict)
    imports: tuple[NonEmptyText, ...] = ()


# Commands


class CreateModule(Command, type="module.create"):
    """Make a module."""

    name: ModuleName
    module: CheckedModuleContent


class UpdateModule(Command, type="module.update"):
    """Give a module other content; what is left out becomes empty."""

    name: ModuleName
    module: CheckedModuleContent


class DeleteModule(Command, type="module.delete"):
    """Take a module away; its name is free again."""

    name: ModuleName


# Events


class ModuleCreated(Event, type="module.created"):
    """There is a module of this name."""

    name: str
    module: ModuleContent


class ModuleUpdated(Event, type="module.updated"):
    """The module has this content now."""

    name: str
    module: ModuleContent


class ModuleDeleted(Event, type="module.deleted"):
    """There is no module of this name any more."""

    name: str


# State


@frozen
class Module(Aggregate, key="name"):
    """Whether there is a module, and a digest of its content."""

    content: str | None = None
    """None where there is no module, or none any more."""

    # Decisions

    @decides
    def create(self, command: CreateModule) -> ModuleCreated:
        if self.content is not None:
            raise Rejected(
                "module.exists",
                f"there is a module {command.name!r}; send module.update, or take another name",
            )
        return ModuleCreated(name=command.name, module=command.module)

    @decides
    def update(self, command: UpdateModule) -> ModuleUpdated | None:
        self._require_present(command.name)
        if self.content == command.module.digest():
            return None
        return ModuleUpdated(name=command.name, module=command.module)

    @decides
    def delete(self, command: DeleteModule) -> ModuleDeleted:
        self._require_present(command.name)
        return ModuleDeleted(name=command.name)

    def _require_present(self, name: str) -> None:
        if self.content is None:
            raise Rejected(
                "module.unknown", f"there is no module {name!r}; send module.create first"
            )

    # Evolutions

    @evolves
    def has_content(self, event: ModuleCreated | ModuleUpdated) -> Self:
        return evolve(self, content=event.module.digest())

    @evolves
    def was_deleted(self, _event: ModuleDeleted) -> Self:
        return evolve(self, content=None)

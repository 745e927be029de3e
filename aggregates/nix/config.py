"""A configuration of a system: its content, and which generation of it is active.

- A name has one configuration: ``config.exists``, ``config.unknown``. Updating to the same content
  records nothing.
- Each switch gives the next generation, counted from 1. Boot and test give none: boot changes what
  starts next time, test what runs until then.
- A rollback goes to a generation there has been (``config.generation_unknown``). Without a target
  it goes to the one that was active when the present one was made, so that one rollback after the
  other leads further back, as ``nixos-rebuild --rollback`` does, and never in circles; the first
  has none (``config.no_previous_generation``).
- A test stands on no generation. A rollback from it without a target ends the test and returns to
  the generation that was active before; its `from_generation` is null.
- A rollback also takes back a boot that has not been followed by a switch. One to the generation
  that is active anyway, with no test or boot to end, records nothing.
- An update after the first activation leaves the configuration modified until the next activation:
  what is active is not what is written. A rollback does not change that.
"""

from enum import StrEnum
from typing import Self

from attrs import evolve, frozen

from aggregates.nix.content import Content, Name
from aggregates.nix.values import (
    ActivationType,
    ConfigName,
    FlakePath,
    Generation,
    Hostname,
    ModuleName,
    OverlayName,
    System,
)
from cim_domain import Aggregate, Command, Event, Rejected, decides, evolves


class ConfigStatus(StrEnum):
    """What was done with a configuration last."""

    ABSENT = "absent"
    CREATED = "created"
    ACTIVATED = "activated"
    BOOT_READY = "boot_ready"
    TESTING = "testing"
    MODIFIED = "modified"


class Configuration(Content):
    """What a configuration consists of, as events hold it."""

    system: str
    path: str
    """Where the flake that holds it is."""
    hostname: str
    modules: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    specialisations: tuple[str, ...] = ()


class CheckedConfiguration(Configuration, extra="forbid"):
    """The same as a client sends it: unknown fields are refused, values are checked."""

    system: System
    path: FlakePath
    hostname: Hostname
    modules: tuple[ModuleName, ...] = ()
    overlays: tuple[OverlayName, ...] = ()
    packages: tuple[Name, ...] = ()
    specialisations: tuple[Name, ...] = ()


# Commands


class CreateConfig(Command, type="config.create"):
    """Make a configuration."""

    name: ConfigName
    configuration: CheckedConfiguration


class UpdateConfig(Command, type="config.update"):
    """Give a configuration other content; lists that are left out become empty."""

    name: ConfigName
    configuration: CheckedConfiguration


class ActivateConfig(Command, type="config.activate"):
    """Have a configuration take effect."""

    name: ConfigName
    activation_type: ActivationType


class RollBackConfig(Command, type="config.rollback"):
    """Return to an earlier generation."""

    name: ConfigName
    to_generation: Generation | None = None
    """None: the one before the present one."""


# Events


class ConfigCreated(Event, type="config.created"):
    """There is a configuration of this name."""

    name: str
    configuration: Configuration


class ConfigUpdated(Event, type="config.updated"):
    """The configuration has this content now."""

    name: str
    configuration: Configuration


class ConfigActivated(Event, type="config.activated"):
    """The configuration takes effect."""

    name: str
    activation_type: ActivationType
    generation: int | None
    """The one that a switch gave; None for boot and test."""


class ConfigRolledBack(Event, type="config.rolled_back"):
    """An earlier generation is active again."""

    name: str
    from_generation: int | None
    """The one that was active; None where a test was."""
    to_generation: int


# State


@frozen
class Config(Aggregate, key="name"):
    """A digest of the content, the generations there have been, and what is active."""

    status: ConfigStatus = ConfigStatus.ABSENT
    content: str = ""
    predecessors: tuple[int | None, ...] = ()
    """For each generation, from 1 on: the one that was active when it was made."""
    active: int | None = None
    """The generation that is active, or was before the test."""
    testing: bool = False
    boot_pending: bool = False

    # Decisions

    @decides
    def create(self, command: CreateConfig) -> ConfigCreated:
        if self.status is not ConfigStatus.ABSENT:
            raise Rejected(
                "config.exists",
                f"there is a configuration {command.name!r}; send config.update, or take another"
                " name",
            )
        return ConfigCreated(name=command.name, configuration=command.configuration)

    @decides
    def update(self, command: UpdateConfig) -> ConfigUpdated | None:
        self._require_present(command.name)
        if self.content == command.configuration.digest():
            return None
        return ConfigUpdated(name=command.name, configuration=command.configuration)

    @decides
    def activate(self, command: ActivateConfig) -> ConfigActivated:
        self._require_present(command.name)
        switch = command.activation_type is ActivationType.SWITCH
        return ConfigActivated(
            name=command.name,
            activation_type=command.activation_type,
            generation=len(self.predecessors) + 1 if switch else None,
        )

    @decides
    def roll_back(self, command: RollBackConfig) -> ConfigRolledBack | None:
        self._require_present(command.name)
        target = command.to_generation or self._previous()
        if target is None:
            raise Rejected(
                "config.no_previous_generation",
                "no generation was active before the present one; switch first, or name the"
                " generation to go to",
            )
        if target > len(self.predecessors):
            raise Rejected(
                "config.generation_unknown",
                f"there is no generation {target}; {self._known()}",
                generation=target,
                latest=len(self.predecessors),
            )
        if target == self.active and not (self.testing or self.boot_pending):
            return None
        return ConfigRolledBack(
            name=command.name,
            from_generation=None if self.testing else self.active,
            to_generation=target,
        )

    def _require_present(self, name: str) -> None:
        if self.status is ConfigStatus.ABSENT:
            raise Rejected(
                "config.unknown", f"there is no configuration {name!r}; send config.create first"
            )

    def _previous(self) -> int | None:
        if self.testing or self.active is None:
            return self.active
        return self.predecessors[self.active - 1]

    def _known(self) -> str:
        if not self.predecessors:
            return "the configuration has none until it is activated with switch"
        return f"name one from 1 to {len(self.predecessors)}"

    # Evolutions

    @evolves
    def was_created(self, event: ConfigCreated) -> Self:
        return evolve(self, status=ConfigStatus.CREATED, content=event.configuration.digest())

    @evolves
    def was_updated(self, event: ConfigUpdated) -> Self:
        never_activated = self.status is ConfigStatus.CREATED
        return evolve(
            self,
            status=ConfigStatus.CREATED if never_activated else ConfigStatus.MODIFIED,
            content=event.configuration.digest(),
        )

    @evolves
    def was_activated(self, event: ConfigActivated) -> Self:
        match event.activation_type:
            case ActivationType.SWITCH:
                return evolve(
                    self,
                    status=ConfigStatus.ACTIVATED,
                    predecessors=(*self.predecessors, self.active),
                    active=event.generation,
                    testing=False,
                    boot_pending=False,
                )
            case ActivationType.BOOT:
                return evolve(self, status=ConfigStatus.BOOT_READY, boot_pending=True)
            case ActivationType.TEST:
                return evolve(self, status=ConfigStatus.TESTING, testing=True)

    @evolves
    def was_rolled_back(self, event: ConfigRolledBack) -> Self:
        modified = self.status is ConfigStatus.MODIFIED
        return evolve(
            self,
            status=ConfigStatus.MODIFIED if modified else ConfigStatus.ACTIVATED,
            active=event.to_generation,
            testing=False,
            boot_pending=False,
        )

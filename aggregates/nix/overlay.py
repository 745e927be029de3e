"""An overlay: packages it overrides, and packages it adds.

- A name has one overlay: ``overlay.exists``, ``overlay.unknown``. Once deleted, the name is free
  again.
- Updating to the same content records nothing.
"""

from typing import Self

from attrs import evolve, frozen
from pydantic import Field

from aggregates.nix.content import Content, JsonObject
from aggregates.nix.values import OverlayName
from cim_domain import Aggregate, Command, Event, Json, Rejected, decides, evolves


class OverlayContent(Content):
    """What an overlay consists of, as events hold it."""

    overrides: Json = Field(default_factory=dict)
    """What it changes, by the package's name."""
    additions: Json = Field(default_factory=dict)
    """What it adds, by the package's name."""


class CheckedOverlayContent(OverlayContent, extra="forbid"):
    """The same as a client sends it: unknown fields are refused, JSON is checked."""

    overrides: JsonObject = Field(default_factory=dict)
    additions: JsonObject = Field(default_factory=dict)


# Commands


class CreateOverlay(Command, type="overlay.create"):
    """Make an overlay."""

    name: OverlayName
    overlay: CheckedOverlayContent


class UpdateOverlay(Command, type="overlay.update"):
    """Give an overlay other content; what is left out becomes empty."""

    name: OverlayName
    overlay: CheckedOverlayContent


class DeleteOverlay(Command, type="overlay.delete"):
    """Take an overlay away; its name is free again."""

    name: OverlayName


# Events


class OverlayCreated(Event, type="overlay.created"):
    """There is an overlay of this name."""

    name: str
    overlay: OverlayContent


class OverlayUpdated(Event, type="overlay.updated"):
    """The overlay has this content now."""

    name: str
    overlay: OverlayContent


class OverlayDeleted(Event, type="overlay.deleted"):
    """There is no overlay of this name any more."""

    name: str


# State


@frozen
class Overlay(Aggregate, key="name"):
    """Whether there is an overlay, and a digest of its content."""

    content: str | None = None
    """None where there is no overlay, or none any more."""

    # Decisions

    @decides
    def create(self, command: CreateOverlay) -> OverlayCreated:
        if self.content is not None:
            raise Rejected(
                "overlay.exists",
                f"there is an overlay {command.name!r}; send overlay.update, or take another name",
            )
        return OverlayCreated(name=command.name, overlay=command.overlay)

    @decides
    def update(self, command: UpdateOverlay) -> OverlayUpdated | None:
        self._require_present(command.name)
        if self.content == command.overlay.digest():
            return None
        return OverlayUpdated(name=command.name, overlay=command.overlay)

    @decides
    def delete(self, command: DeleteOverlay) -> OverlayDeleted:
        self._require_present(command.name)
        return OverlayDeleted(name=command.name)

    def _require_present(self, name: str) -> None:
        if self.content is None:
            raise Rejected(
                "overlay.unknown", f"there is no overlay {name!r}; send overlay.create first"
            )

    # Evolutions

    @evolves
    def has_content(self, event: OverlayCreated | OverlayUpdated) -> Self:
        return evolve(self, content=event.overlay.digest())

    @evolves
    def was_deleted(self, _event: OverlayDeleted) -> Self:
        return evolve(self, content=None)

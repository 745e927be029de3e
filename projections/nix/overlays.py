"""Overlays: what each holds."""

from typing import Self
from uuid import UUID

from pydantic import AliasChoices, Field, model_validator

from aggregates.nix.overlay import OverlayContent, OverlayCreated, OverlayDeleted, OverlayUpdated
from aggregates.nix.values import OverlayName
from cim_domain import Metadata, Page, Projection, Query, Views, answers, projects
from projections.nix.common import (
    DatedView,
    TextQuery,
    aggregate_id,
    by_id_or_key,
    changed,
    first_dates,
    require_one,
)


class OverlayView(DatedView, name="overlay", indexed=("name",), searched=("name",)):
    """An overlay; there is none of one that was deleted."""

    overlay_id: str
    name: str
    overlay: OverlayContent


class GetOverlay(Query, type="overlay.get"):
    """The overlay of a name, or with an id, which may also be given as ``id``."""

    name: OverlayName | None = None
    overlay_id: UUID | None = Field(default=None, validation_alias=AliasChoices("overlay_id", "id"))

    @model_validator(mode="after")
    def _means_one_overlay(self) -> Self:
        require_one(self, ("name",), ("overlay_id",))
        return self


class ListOverlays(TextQuery, type="overlay.list"):
    """The overlays by name; `text` is looked for in the name."""


class Overlays(Projection):
    """A view for each overlay, under its id."""

    @projects
    def created(
        self, _: OverlayView | None, event: OverlayCreated, metadata: Metadata
    ) -> OverlayView:
        return OverlayView(
            overlay_id=aggregate_id(metadata),
            name=event.name,
            overlay=event.overlay,
            **first_dates(metadata),
        )

    @projects
    def updated(
        self, view: OverlayView | None, event: OverlayUpdated, metadata: Metadata
    ) -> OverlayView:
        return changed(view, metadata, overlay=event.overlay)

    @projects
    def deleted(self, _: OverlayView | None, __: OverlayDeleted) -> None:
        return None

    @answers
    async def get_overlay(self, query: GetOverlay, views: Views) -> OverlayView:
        return await by_id_or_key(views, OverlayView, query.overlay_id, name=query.name)

    @answers
    async def list_overlays(self, query: ListOverlays, views: Views) -> Page[OverlayView]:
        return await views.find(
            OverlayView, text=query.text, order_by="name", limit=query.limit, after=query.after
        )

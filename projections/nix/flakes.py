"""Flakes: what is known about each, and which inputs it has."""

from typing import Self
from uuid import UUID

from pydantic import model_validator

from aggregates.nix.flake import FlakeCreated, FlakeInputAdded, FlakeInputRemoved, FlakeUpdated
from aggregates.nix.values import FlakePath, FlakeTemplate
from cim_domain import Metadata, Page, Projection, Query, Views, answers, projects
from projections.nix.common import (
    DatedView,
    Part,
    TextQuery,
    aggregate_id,
    by_id_or_key,
    changed,
    first_dates,
    present,
    require_one,
)


class FlakeInput(Part):
    """An input of a flake; `follows` goes from inputs of the input to inputs of the flake."""

    name: str
    url: str
    follows: dict[str, str]


class FlakeView(DatedView, name="flake", indexed=("path",), searched=("path", "description")):
    """A flake, its inputs ordered by name."""

    flake_id: str
    path: str
    description: str
    template: FlakeTemplate | None
    inputs: tuple[FlakeInput, ...] = ()


class _OfOneFlake(Query):
    path: FlakePath | None = None
    flake_id: UUID | None = None

    @model_validator(mode="after")
    def _means_one_flake(self) -> Self:
        require_one(self, ("path",), ("flake_id",))
        return self


class GetFlake(_OfOneFlake, type="flake.get"):
    """The flake at a path, or with an id."""


class GetFlakeInputs(_OfOneFlake, type="flake.get_inputs"):
    """The inputs of a flake."""


class ListFlakes(TextQuery, type="flake.list"):
    """The flakes by path; `text` is looked for in path and description."""


class Flakes(Projection):
    """A view for each flake, under its id."""

    @projects
    def created(self, _: FlakeView | None, event: FlakeCreated, metadata: Metadata) -> FlakeView:
        return FlakeView(
            flake_id=aggregate_id(metadata),
            path=event.path,
            description=event.description,
            template=event.template,
            **first_dates(metadata),
        )

    @projects
    def updated(self, view: FlakeView | None, _: FlakeUpdated, metadata: Metadata) -> FlakeView:
        return changed(view, metadata)

    @projects
    def input_added(
        self, view: FlakeView | None, event: FlakeInputAdded, metadata: Metadata
    ) -> FlakeView:
        added = FlakeInput(name=event.name, url=event.url, follows=event.follows)
        inputs = sorted((*present(view, metadata).inputs, added), key=lambda one: one.name)
        return changed(view, metadata, inputs=tuple(inputs))

    @projects
    def input_removed(
        self, view: FlakeView | None, event: FlakeInputRemoved, metadata: Metadata
    ) -> FlakeView:
        left = tuple(one for one in present(view, metadata).inputs if one.name != event.name)
        return changed(view, metadata, inputs=left)

    @answers
    async def get_flake(self, query: GetFlake, views: Views) -> FlakeView:
        return await by_id_or_key(views, FlakeView, query.flake_id, path=query.path)

    @answers
    async def get_inputs(self, query: GetFlakeInputs, views: Views) -> tuple[FlakeInput, ...]:
        flake = await by_id_or_key(views, FlakeView, query.flake_id, path=query.path)
        return flake.inputs

    @answers
    async def list_flakes(self, query: ListFlakes, views: Views) -> Page[FlakeView]:
        return await views.find(
            FlakeView, text=query.text, order_by="path", limit=query.limit, after=query.after
        )

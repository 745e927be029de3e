"""Modules: what each holds."""

from typing import Self
from uuid import UUID

from pydantic import AliasChoices, Field, model_validator

from aggregates.nix.module import ModuleContent, ModuleCreated, ModuleDeleted, ModuleUpdated
from aggregates.nix.values import ModuleName
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


class ModuleView(DatedView, name="module", indexed=("name",), searched=("name",)):
    """A module; there is none of one that was deleted."""

    module_id: str
    name: str
    module: ModuleContent


class GetModule(Query, type="module.get"):
    """The module of a name, or with an id, which may also be given as ``id``."""

    name: ModuleName | None = None
    module_id: UUID | None = Field(default=None, validation_alias=AliasChoices("module_id", "id"))

    @model_validator(mode="after")
    def _means_one_module(self) -> Self:
        require_one(self, ("name",), ("module_id",))
        return self


class ListModules(TextQuery, type="module.list"):
    """The modules by name; `text` is looked for in the name."""


class Modules(Projection):
    """A view for each module, under its id."""

    @projects
    def created(self, _: ModuleView | None, event: ModuleCreated, metadata: Metadata) -> ModuleView:
        return ModuleView(
            module_id=aggregate_id(metadata),
            name=event.name,
            module=event.module,
            **first_dates(metadata),
        )

    @projects
    def updated(
        self, view: ModuleView | None, event: ModuleUpdated, metadata: Metadata
    ) -> ModuleView:
        return changed(view, metadata, module=event.module)

    @projects
    def deleted(self, _: ModuleView | None, __: ModuleDeleted) -> None:
        return None

    @answers
    async def get_module(self, query: GetModule, views: Views) -> ModuleView:
        return await by_id_or_key(views, ModuleView, query.module_id, name=query.name)

    @answers
    async def list_modules(self, query: ListModules, views: Views) -> Page[ModuleView]:
        return await views.find(
            ModuleView, text=query.text, order_by="name", limit=query.limit, after=query.after
        )

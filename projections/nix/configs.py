"""Configurations: what each holds, and how far it has taken effect."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import AliasChoices, Field, model_validator

from aggregates.nix.config import (
    ConfigActivated,
    ConfigCreated,
    ConfigRolledBack,
    ConfigStatus,
    ConfigUpdated,
    Configuration,
)
from aggregates.nix.values import ActivationType, ConfigName, System
from cim_domain import Metadata, Page, Projection, Query, Views, answers, projects
from projections.nix.common import (
    DatedView,
    ListQuery,
    aggregate_id,
    by_id_or_key,
    changed,
    first_dates,
    given,
    present,
    require_one,
)


class ConfigurationView(DatedView, name="configuration", indexed=("name", "system", "status")):
    """A configuration as it is written, and how far it has taken effect."""

    config_id: str
    name: str
    status: ConfigStatus
    system: str
    configuration: Configuration
    generation: int | None = None
    """The one that is active, or was before the test."""
    generations: int = 0
    """How many there have been."""
    activated_at: datetime | None = None
    """When it was activated or rolled back last."""


class GetConfig(Query, type="config.get"):
    """The configuration of a name, or with an id, which may also be given as ``id``."""

    name: ConfigName | None = None
    config_id: UUID | None = Field(default=None, validation_alias=AliasChoices("config_id", "id"))

    @model_validator(mode="after")
    def _means_one_configuration(self) -> Self:
        require_one(self, ("name",), ("config_id",))
        return self


class ListConfigs(ListQuery, type="config.list"):
    """The configurations by name."""

    system: System | None = None
    status: ConfigStatus | None = None


_STATUS_AFTER = {
    ActivationType.SWITCH: ConfigStatus.ACTIVATED,
    ActivationType.BOOT: ConfigStatus.BOOT_READY,
    ActivationType.TEST: ConfigStatus.TESTING,
}


class Configs(Projection):
    """A view for each configuration, under its id."""

    @projects
    def created(
        self, _: ConfigurationView | None, event: ConfigCreated, metadata: Metadata
    ) -> ConfigurationView:
        return ConfigurationView(
            config_id=aggregate_id(metadata),
            name=event.name,
            status=ConfigStatus.CREATED,
            system=event.configuration.system,
            configuration=event.configuration,
            **first_dates(metadata),
        )

    @projects
    def updated(
        self, view: ConfigurationView | None, event: ConfigUpdated, metadata: Metadata
    ) -> ConfigurationView:
        never_activated = present(view, metadata).status is ConfigStatus.CREATED
        return changed(
            view,
            metadata,
            status=ConfigStatus.CREATED if never_activated else ConfigStatus.MODIFIED,
            system=event.configuration.system,
            configuration=event.configuration,
        )

    @projects
    def activated(
        self, view: ConfigurationView | None, event: ConfigActivated, metadata: Metadata
    ) -> ConfigurationView:
        activated = changed(
            view,
            metadata,
            status=_STATUS_AFTER[event.activation_type],
            activated_at=metadata.timestamp,
        )
        if event.generation is None:
            return activated
        return activated.model_copy(
            update={"generation": event.generation, "generations": event.generation}
        )

    @projects
    def rolled_back(
        self, view: ConfigurationView | None, event: ConfigRolledBack, metadata: Metadata
    ) -> ConfigurationView:
        modified = present(view, metadata).status is ConfigStatus.MODIFIED
        return changed(
            view,
            metadata,
            status=ConfigStatus.MODIFIED if modified else ConfigStatus.ACTIVATED,
            generation=event.to_generation,
            activated_at=metadata.timestamp,
        )

    @answers
    async def get_config(self, query: GetConfig, views: Views) -> ConfigurationView:
        return await by_id_or_key(views, ConfigurationView, query.config_id, name=query.name)

    @answers
    async def list_configs(self, query: ListConfigs, views: Views) -> Page[ConfigurationView]:
        return await views.find(
            ConfigurationView,
            given(system=query.system, status=query.status),
            order_by="name",
            limit=query.limit,
            after=query.after,
        )

"""Activations: which configuration is active on which host, and what was before."""

from datetime import datetime
from typing import Literal

from aggregates.nix.config import ConfigActivated, ConfigCreated, ConfigRolledBack, ConfigUpdated
from aggregates.nix.values import ActivationType, ConfigName, Hostname
from cim_domain import Metadata, NotFound, Page, Projection, Query, View, Views, answers, projects
from projections.nix.common import ListQuery, Part, aggregate_id, by_id_or_key, given, present


class ActiveView(View, name="configuration", indexed=("name", "is_active", "hostname", "sequence")):
    """What of a configuration is active; on the host that was written in it at that time."""

    config_id: str
    name: str
    written_hostname: str
    generation_hostnames: tuple[str, ...] = ()
    """Of each generation, from 1 on."""
    is_active: bool = False
    hostname: str = ""
    generation: int | None = None
    activation_type: ActivationType = ActivationType.SWITCH
    since: datetime | None = None
    sequence: int = 0
    """The place in the log of what made it active; times of two services may disagree."""
    correlation_id: str = ""


class HistoryEntryView(View, name="history_entry", indexed=("config_id", "version")):
    """One activation or rollback."""

    config_id: str
    version: int
    time: datetime
    type: Literal["switch", "boot", "test", "rollback"]
    generation: int | None
    """The one that was made or gone back to; null for boot and test."""
    from_generation: int | None = None
    """Of a rollback: the one that was active; null where a test was."""
    correlation_id: str


class CurrentConfiguration(Part):
    """What is active on a host."""

    config_id: str
    name: str
    hostname: str
    generation: int | None
    """Null for a test."""
    activation_type: ActivationType
    """Switch also after a rollback."""
    since: datetime
    correlation_id: str


class GetCurrentConfig(Query, type="config.get_current", aliases=("config.current",)):
    """What is active on a host; without one, what was made active last, on whichever host."""

    hostname: Hostname | None = None


class GetConfigHistory(ListQuery, type="config.get_history"):
    """The activations and rollbacks of a configuration, newest first."""

    name: ConfigName


def _entry_key(_: object, metadata: Metadata) -> str:
    return f"{metadata.aggregate_id}.{metadata.aggregate_version}"


class Activations(Projection):
    """For each configuration what of it is active, under its id, and each entry of its history."""

    @projects
    def nothing_active(
        self, _: ActiveView | None, event: ConfigCreated, metadata: Metadata
    ) -> ActiveView:
        return ActiveView(
            config_id=aggregate_id(metadata),
            name=event.name,
            written_hostname=event.configuration.hostname,
        )

    @projects
    def written_anew(
        self, view: ActiveView | None, event: ConfigUpdated, metadata: Metadata
    ) -> ActiveView:
        return present(view, metadata).model_copy(
            update={"written_hostname": event.configuration.hostname}
        )

    @projects
    def took_effect(
        self, view: ActiveView | None, event: ConfigActivated, metadata: Metadata
    ) -> ActiveView:
        before = present(view, metadata)
        hostname = before.written_hostname
        match event.activation_type:
            case ActivationType.BOOT:
                return before
            case ActivationType.TEST:
                return _active(before, metadata, hostname, None, ActivationType.TEST)
            case ActivationType.SWITCH:
                active = _active(before, metadata, hostname, event.generation)
                hostnames = (*before.generation_hostnames, hostname)
                return active.model_copy(update={"generation_hostnames": hostnames})

    @projects
    def took_effect_again(
        self, view: ActiveView | None, event: ConfigRolledBack, metadata: Metadata
    ) -> ActiveView:
        before = present(view, metadata)
        hostname = before.generation_hostnames[event.to_generation - 1]
        return _active(before, metadata, hostname, event.to_generation)

    @projects(key=_entry_key)
    def activation_entered(
        self, _: HistoryEntryView | None, event: ConfigActivated, metadata: Metadata
    ) -> HistoryEntryView:
        return HistoryEntryView(
            config_id=aggregate_id(metadata),
            version=metadata.aggregate_version,
            time=metadata.timestamp,
            type=event.activation_type.value,
            generation=event.generation,
            correlation_id=metadata.correlation_id,
        )

    @projects(key=_entry_key)
    def rollback_entered(
        self, _: HistoryEntryView | None, event: ConfigRolledBack, metadata: Metadata
    ) -> HistoryEntryView:
        return HistoryEntryView(
            config_id=aggregate_id(metadata),
            version=metadata.aggregate_version,
            time=metadata.timestamp,
            type="rollback",
            generation=event.to_generation,
            from_generation=event.from_generation,
            correlation_id=metadata.correlation_id,
        )

    @answers
    async def get_current(self, query: GetCurrentConfig, views: Views) -> CurrentConfiguration:
        latest = await views.find(
            ActiveView,
            given(is_active=True, hostname=query.hostname),
            order_by="sequence",
            descending=True,
            limit=1,
        )
        if not latest.items:
            place = f"on {query.hostname}" if query.hostname else "anywhere"
            raise NotFound(f"no configuration is active {place}")
        return CurrentConfiguration.model_validate(latest.items[0], from_attributes=True)

    @answers
    async def get_history(self, query: GetConfigHistory, views: Views) -> Page[HistoryEntryView]:
        config = await by_id_or_key(views, ActiveView, None, name=query.name)
        return await views.find(
            HistoryEntryView,
            {"config_id": config.config_id},
            order_by="version",
            descending=True,
            limit=query.limit,
            after=query.after,
        )


def _active(
    view: ActiveView,
    metadata: Metadata,
    hostname: str,
    generation: int | None,
    activation_type: ActivationType = ActivationType.SWITCH,
) -> ActiveView:
    return view.model_copy(
        update={
            "is_active": True,
            "hostname": hostname,
            "generation": generation,
            "activation_type": activation_type,
            "since": metadata.timestamp,
            "sequence": metadata.sequence,
            "correlation_id": metadata.correlation_id,
        }
    )

"""What a service stands on: where its events and views are kept, and what tells it the time.

    Service(domain, nats, settings, adapters=Adapters(views=my_views))

Whoever keeps them elsewhere, or wants to look on, gives functions of his own.
"""

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from cim_domain.errors import ConfigurationError
from cim_domain.model.domain import Domain
from cim_domain.model.metadata import Clock, utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.service.settings import ServiceSettings
from cim_domain.store.jetstream import JetStreamEvents, Patience
from cim_domain.store.port import EventStore, LogIdentity
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import ViewDatabase
from cim_domain.views.sql.database import SqlViews


def open_events(link: Link, subjects: Subjects, settings: ServiceSettings) -> EventStore:
    """The domain's stream, which is there already."""
    return JetStreamEvents(link, subjects, Patience(budget=settings.store_patience))


def open_views(
    settings: ServiceSettings, nats: NatsSettings, domain: Domain, log: LogIdentity
) -> ViewDatabase:
    """The database that the settings name, with the views of this log.

    Nothing is opened yet, save a missing directory made.
    """
    views = settings.views.get_secret_value()
    if views == "memory":
        return MemoryViews()
    if views == "sqlite":
        directory = nats.data_directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"NATS_DATA_DIRECTORY (nats.data_directory): {directory} cannot be made"
                f" ({error.strerror}); name a directory that this user may write"
            ) from error
        return SqlViews.sqlite(sqlite_views_path(nats, domain.name), domain.name, log.log_id)
    if views.startswith(("postgresql://", "postgresql+psycopg://")):
        url = "postgresql+psycopg://" + views.partition("://")[2]
        return SqlViews.postgresql(url, domain.name, log.log_id)
    raise ConfigurationError(
        "CIM_DOMAIN_VIEWS (service.views): expected sqlite, memory or a URL postgresql://..."
    )


def sqlite_views_path(nats: NatsSettings, domain: str) -> Path:
    """The file in which the views of a domain are, where they are in SQLite."""
    prefix = f"{nats.subject_prefix}-" if nats.subject_prefix else ""
    return nats.data_directory / f"{prefix}{domain}-views.sqlite3"


@frozen
class Adapters:
    """How a service opens what it stands on."""

    events: Callable[[Link, Subjects, ServiceSettings], EventStore] = open_events
    views: Callable[[ServiceSettings, NatsSettings, Domain, LogIdentity], ViewDatabase] = open_views
    clock: Clock = utc_now

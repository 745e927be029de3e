"""What a database keeps of views: of this log and of others, of projections there are and were.

Only looked at: nothing is made, set aside or changed.
"""

from pathlib import Path

import orjson
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from cim_domain.errors import Unavailable
from cim_domain.views.generations import State
from cim_domain.views.sql.postgresql import PostgresqlBackend
from cim_domain.views.sql.tables import registry_table

PATIENCE = 2.0
"""Seconds that a look may wait for a lock."""


@frozen(order=True)
class KeptViews:
    """The views of one projection, made from one log."""

    log: str
    """The id of the log."""
    projection: str
    tables: tuple[str, ...]
    """The names of those of all generations."""


def kept_in_file(path: Path, domain: str) -> list[KeptViews]:
    """Those in a SQLite file, which is there. Blocks. Raises `Unavailable`."""
    url = sa.URL.create(
        "sqlite", database=f"{path.absolute().as_uri()}", query={"mode": "ro", "uri": "true"}
    )
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": PATIENCE})
    return _kept(engine, domain)


def kept_in_postgresql(url: str, domain: str) -> list[KeptViews]:
    """Those in a database. Blocks. Raises `Unavailable`, and `ConfigurationError` for the URL."""
    return _kept(PostgresqlBackend.at(url, domain, patience=PATIENCE).engine, domain)


def _kept(engine: sa.Engine, domain: str) -> list[KeptViews]:
    try:
        with engine.connect() as connection:
            registry = registry_table(domain)
            if not sa.inspect(connection).has_table(registry.name):
                return []
            return kept_views(connection, registry)
    except SQLAlchemyError as error:
        raise Unavailable(
            f"the database of the views cannot be read: {type(error).__name__}",
            code="views_unavailable",
        ) from error
    finally:
        engine.dispose()


def kept_views(connection: sa.Connection, registry: sa.Table) -> list[KeptViews]:
    """Those of a registry, in order."""
    columns = registry.c
    asked = sa.select(columns.log, columns.projection, columns.tables)
    found: dict[tuple[str, str], list[str]] = {}
    for row in connection.execute(asked.where(columns.state != State.DROPPED.value)):
        found.setdefault((row.log, row.projection), []).extend(orjson.loads(row.tables))
    return sorted(KeptViews(*place, tuple(sorted(tables))) for place, tables in found.items())

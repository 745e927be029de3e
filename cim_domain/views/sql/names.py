"""Readable names of views, for those who look at the database with other programs.

Each live generation of each view has a view of the database: the fields that are indexed, under
their names, and the document. `{projection}_{view}_{generation}` is that one as long as it is live;
`{projection}_{view}` is the one that came into use last, through every switch.

They are a courtesy: where the database refuses to make one, the log says so and all else goes on.
"""

import logging
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import DBAPIError

from cim_domain.model.view import View
from cim_domain.views.sql.backend import Backend
from cim_domain.views.sql.tables import (
    DOCUMENT,
    FORMAT,
    KEY,
    LONGEST_NAME,
    OWNER,
    TEXT,
    ViewTable,
    safe_name,
)

LATEST = 0
"""In the place of a generation's number: the one that came into use last."""

logger = logging.getLogger("cim_domain.projections")


def names_table(domain: str) -> sa.Table:
    """The table of readable names: of which view each is, and what it shows."""
    return sa.Table(
        safe_name("cim_names", domain, str(FORMAT)),
        sa.MetaData(),
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("projection", TEXT, primary_key=True),
        sa.Column("view", TEXT, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("shows", sa.BigInteger, nullable=False),
        sa.Column("name", TEXT, nullable=False, unique=True),
    )


@frozen(eq=False)
class Names:
    """The readable names of a domain. Every method works within a transaction."""

    table: sa.Table
    _backend: Backend

    @classmethod
    def of(cls, domain: str, backend: Backend) -> "Names":
        """Those of a domain."""
        return cls(names_table(domain), backend)

    def create(self, connection: sa.Connection) -> None:
        """Make the table, unless it is there."""
        self.table.create(connection, checkfirst=True)

    def show(
        self,
        connection: sa.Connection,
        log: str,
        projection: str,
        number: int,
        tables: Mapping[type[View], ViewTable],
    ) -> None:
        """Give a generation that is live now, the one that came into use last, its names."""
        for kept in tables.values():
            for of in (LATEST, number):
                name = _Name(log, projection, kept.layout.view.view_name, of)
                try:
                    self._point(connection, name, number, kept)
                except DBAPIError as error:
                    if not self._is_refused(error):
                        raise
                    logger.warning(
                        "the views of %s have no readable name in the database: %s: see that the"
                        " service's user may create a schema and views in it",
                        projection,
                        type(error.orig).__name__,
                    )
                    return

    def release(
        self, connection: sa.Connection, log: str, projection: str, number: int, *, gone: bool
    ) -> None:
        """Take away a generation's own names; of one that is gone, all by which it is shown.

        The name of a generation that stays, stays with it where somebody is reading there.
        """
        columns = self.table.c
        at = [columns.log == log, columns.projection == projection, columns.shows == number]
        if not gone:
            at.append(columns.number != LATEST)
        for name in connection.execute(sa.select(columns.name).where(*at)).scalars().all():
            try:
                with connection.begin_nested():
                    self._backend.drop_view(connection, self._quoted(connection, name))
                    connection.execute(self.table.delete().where(columns.name == name))
            except DBAPIError as error:
                if not self._is_refused(error):
                    raise
                if gone:
                    # Whatever lies there is not ours to drop; what it shows of ours goes all the
                    # same, with the table.
                    connection.execute(self.table.delete().where(columns.name == name))

    def drop_table(self, connection: sa.Connection, name: str) -> None:
        """Drop a table, if it is there, with names of it that nobody knows any more."""
        self._backend.drop_table(connection, name)

    def _point(
        self, connection: sa.Connection, name: "_Name", number: int, kept: ViewTable
    ) -> None:
        """Have a name show a generation, unless it does."""
        columns = self.table.c
        at = [columns[field] == value for field, value in name.columns.items()]
        # What fails here must not undo what the transaction is about.
        with connection.begin_nested():
            asked = sa.select(columns.name, columns.shows).where(*at)
            known = connection.execute(asked).one_or_none()
            if known is not None and known.shows == number:
                return
            self._backend.make_schema(connection)
            if known is None:
                called = self._free(connection, name)
                row: sa.Executable = self.table.insert().values(
                    **name.columns, shows=number, name=called
                )
            else:
                called = known.name
                row = self.table.update().where(*at).values(shows=number)
            selected = _compiled(connection, self._selected(kept))
            quoted = self._quoted(connection, called)
            if known is None:
                self._backend.make_view(connection, quoted, selected)
            else:
                self._backend.replace_view(connection, quoted, selected)
            connection.execute(row)

    def _is_refused(self, error: DBAPIError) -> bool:
        # A table that is lost is no refusal: all of them are looked for then.
        return self._backend.is_refused(error) and not self._backend.lacks_table(error)

    def _free(self, connection: sa.Connection, name: "_Name") -> str:
        """The plain name, or where somebody has that one, a name that is nobody's."""
        taken = sa.select(self.table.c.name).where(self.table.c.name == name.plain)
        fits = len(name.plain.encode()) <= LONGEST_NAME
        if fits and connection.execute(taken).one_or_none() is None:
            return name.plain
        return safe_name(name.plain, name.log, name.projection, name.view)

    def _quoted(self, connection: sa.Connection, name: str) -> str:
        quote = connection.dialect.identifier_preparer.quote_identifier
        schema = self._backend.schema
        return quote(name) if schema is None else f"{quote(schema)}.{quote(name)}"

    def _selected(self, kept: ViewTable) -> sa.Select[tuple[object, ...]]:
        columns = kept.table.c
        json_names = {
            name: info.serialization_alias or name
            for name, info in kept.layout.view.model_fields.items()
        }
        fields = [
            self._backend.shown(
                columns[field], column.coding.plain, columns[DOCUMENT], json_names[field]
            )
            for field, column in kept.layout.columns.items()
        ]
        labels = _labels(kept.layout.columns)
        # What is added to the fields comes last: a database goes on with the rest then.
        row = (columns[OWNER], columns[KEY], columns[DOCUMENT], *fields)
        return sa.select(*(one.label(label) for one, label in zip(row, labels, strict=True)))


@frozen
class _Name:
    log: str
    projection: str
    view: str
    number: int

    @property
    def columns(self) -> dict[str, str | int]:
        """What it is known by."""
        return {
            "log": self.log,
            "projection": self.projection,
            "view": self.view,
            "number": self.number,
        }

    @property
    def plain(self) -> str:
        """As people read it."""
        name = f"{self.projection}_{self.view}"
        return name if self.number == LATEST else f"{name}_{self.number}"


def _labels(fields: Iterable[str]) -> list[str]:
    """The names of the columns; those of fields are their own, if the database takes them."""
    named = [one if len(one.encode()) <= LONGEST_NAME else safe_name(one) for one in fields]
    taken = {one.lower() for one in named}
    own = [one if one not in taken else f"row_{one}" for one in ("organization", "key", "document")]
    return [*own, *named]


def _compiled(connection: sa.Connection, selected: sa.Select[tuple[object, ...]]) -> str:
    return str(selected.compile(connection, compile_kwargs={"literal_binds": True}))

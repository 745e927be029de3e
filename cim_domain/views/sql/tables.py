"""The tables of views: their names, their columns, and the statements that write them."""

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from attrs import Factory, frozen

from cim_domain.views.columns import Kind, comparable
from cim_domain.views.layout import ViewLayout, unfit
from cim_domain.views.port import Change
from cim_domain.views.sql.backend import Backend

FORMAT = 5
"""Counts the shapes of the tables: one of an older shape is never taken for one of these."""

LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL takes."""

_DIGEST = 10

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that is compared by code points."""

_TYPES: dict[Kind, sa.types.TypeEngine[str] | sa.types.TypeEngine[int] | sa.Double[float]] = {
    Kind.TEXT: TEXT,
    Kind.INTEGER: sa.BigInteger(),
    Kind.REAL: sa.Double(),
}

# Keys of columns within SQLAlchemy; no field's name has a dot.
OWNER = "row.organization"
KEY = "row.key"
DOCUMENT = "row.document"
SEARCH = "row.search"

_KEYS_AT_ONCE = (4, 32, 256)
"""Keys in one statement: of few sizes, so that few statements are compiled."""

Tuple = tuple[str | int | float | None, ...]


def safe_name(*parts: str) -> str:
    """An SQL name of at most 63 bytes for these parts: readable, and no other parts' name."""
    digest = blake2b("\x00".join(parts).encode(), digest_size=_DIGEST // 2).hexdigest()
    readable = re.sub(r"[^a-z0-9_]", "_", "_".join(parts).lower())
    return f"{readable[: LONGEST_NAME - _DIGEST - 1]}_{digest}"


def registry_table(domain: str) -> sa.Table:
    """The table of generations: one row for each that ever was."""
    return sa.Table(
        safe_name("cim_views", domain, str(FORMAT)),
        sa.MetaData(),
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("projection", TEXT, primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("layout", TEXT, nullable=False),
        sa.Column("handles", TEXT, nullable=False),
        sa.Column("checkpoint", sa.BigInteger, nullable=False),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("tables", TEXT, nullable=False),
    )


def skipped_table(domain: str) -> sa.Table:
    """The table of events that a generation was moved over without them."""
    return sa.Table(
        safe_name("cim_skipped", domain, str(FORMAT)),
        sa.MetaData(),
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("projection", TEXT, primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    )


@frozen(eq=False)
class ViewTable:
    """One view in one generation: its table, and the texts of the statements that write it.

    The indexes beside the primary key are apart from the table: while it is filled from the start
    of the log nobody asks for them, and to make them at the end takes a fraction of the time.
    """

    layout: ViewLayout
    table: sa.Table
    indexes: tuple[sa.Index, ...]
    upsert: str
    delete: str
    present: sa.Select[Any]
    """Fails where the table is not there, and finds nothing else."""
    _backend: Backend
    _loads: dict[int, str] = Factory(dict)

    def load(
        self, connection: sa.Connection, owner: str, keys: list[str]
    ) -> Iterator[tuple[str, str]]:
        """Key and document of those rows of an organization that exist."""
        for start in range(0, len(keys), _KEYS_AT_ONCE[-1]):
            asked = keys[start : start + _KEYS_AT_ONCE[-1]]
            size = next(size for size in _KEYS_AT_ONCE if size >= len(asked))
            # Asked for twice, a row comes once.
            filled = [*asked, *[asked[-1]] * (size - len(asked))]
            found = connection.exec_driver_sql(self._load(size), (owner, *filled))
            yield from map(tuple, found)

    def row(self, change: Change) -> Tuple:
        """The parameters of `upsert` or, where the view is gone, of `delete`.

        Raises `Failed` for what cannot be kept.
        """
        owner, key = change.row
        try:
            place = comparable(owner), comparable(key)
        except UnicodeEncodeError as error:
            raise unfit(self.layout.view, "key", error) from error
        if change.value is None:
            return place
        return (
            *place,
            self.layout.write(change.value).decode(),
            self.layout.search_text(change.value),
            *self.layout.values(change.value),
        )

    def _load(self, keys: int) -> str:
        """The text of the statement for so many keys; to compile it takes longer than to ask."""
        if keys not in self._loads:
            columns = self.table.c
            wanted = columns[KEY].in_([sa.bindparam(f"key_{number}") for number in range(keys)])
            asked = sa.select(columns[KEY], columns[DOCUMENT]).where(
                columns[OWNER] == sa.bindparam("owner"), wanted
            )
            self._loads[keys] = str(asked.compile(self._backend.engine))
        return self._loads[keys]


def view_table(
    backend: Backend, place: tuple[str, str], projection: str, number: int, layout: ViewLayout
) -> ViewTable:
    """The table of a view; `place` is the domain and the id of the log.

    Columns of fields are numbered, so that no field's name matters.
    """
    view = layout.view.view_name
    domain, log = place
    name = safe_name(domain, projection, view, str(number), log, str(FORMAT))
    columns = {
        field: sa.Column(
            f"field_{number}", _TYPES[column.coding.kind], nullable=column.optional, key=field
        )
        for number, (field, column) in enumerate(layout.columns.items())
    }
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("organization", TEXT, primary_key=True, key=OWNER),
        sa.Column("key", TEXT, primary_key=True, key=KEY),
        sa.Column("document", sa.Text, nullable=False, key=DOCUMENT),
        sa.Column("search", TEXT, nullable=False, key=SEARCH),
        *columns.values(),
    )
    indexes = []
    for indexed, column in columns.items():
        ordered = backend.ascending(column) if layout.columns[indexed].optional else column
        indexes.append(
            sa.Index(safe_name(name, column.name), table.c[OWNER], ordered, table.c[KEY])
        )
    # Else making the table would make them, too.
    table.indexes.clear()
    at = [column == sa.bindparam(f"at_{column.name}") for column in table.primary_key]
    delete = str(table.delete().where(*at).compile(backend.engine))
    present = sa.select(sa.literal(1)).select_from(table).where(sa.false())
    upsert = backend.upsert(table)
    return ViewTable(layout, table, tuple(indexes), upsert, delete, present, backend)

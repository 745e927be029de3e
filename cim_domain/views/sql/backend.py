"""What differs from one SQL database to the next, behind one port."""

from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Engine, Index, Table
from sqlalchemy.exc import DBAPIError

from cim_domain.errors import CimError

READERS = 3
"""Threads that read for queries."""

THREADS = READERS + 2
"""With the one that writes and the one that looks; each has at most one connection."""

WRITES = "cim_writes"
"""The execution option of a connection that is going to write."""


class Backend(Protocol):
    """One kind of database. Everything but `engine` is called in the writer's thread, unless said.

    `engine` has a connection for every thread and hides the parameters of statements from errors.
    """

    @property
    def engine(self) -> Engine:
        """Connections; used from every thread."""

    @property
    def seconds(self) -> float:
        """How long anything may take, unless it is allowed more."""

    @property
    def recovered(self) -> Path | None:
        """Where `prepare` set aside what was damaged."""

    def prepare(self) -> None:
        """Make the database ready. Raises `ConfigurationError`, `Unavailable` and `DBAPIError`."""

    def lock_registry(self, connection: Connection) -> None:
        """Let no other process change generations until this transaction ends."""

    def upsert(self, table: Table) -> str:
        """An insert that replaces the row with the same primary key, for `write_many`.

        The rows that it takes have the table's columns, in their order.
        """

    def write_many(self, connection: Connection, text: str, rows: list[tuple[Any, ...]]) -> None:
        """Execute a statement of the driver's style for each row."""

    def index(self, connection: Connection, index: Index) -> None:
        """Make an index unless it is there, while others may want to make the same one."""

    def filled(self, connection: Connection, table: Table) -> None:
        """Take notice that a table which was empty holds all its rows."""

    def position(self, text: ColumnElement[str], part: str) -> ColumnElement[int]:
        """Where a text holds a part, character by character, counted from 1; 0: nowhere."""

    def ascending(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """A column that may be NULL, in an index's ascending order: NULL comes first."""

    @property
    def schema(self) -> str | None:
        """The schema of readable names; None: there are no schemas."""

    def make_schema(self, connection: Connection) -> None:
        """Make the schema of readable names, unless it is there."""

    def make_view(self, connection: Connection, name: str, selected: str) -> None:
        """Make a view of the database; where somebody else's may be there, it is refused."""

    def replace_view(self, connection: Connection, name: str, selected: str) -> None:
        """Have a view of the database, which is there, show something else."""

    def drop_view(self, connection: Connection, name: str) -> None:
        """Drop a view of the database, and what others have made of it."""

    def drop_table(self, connection: Connection, name: str) -> None:
        """Drop a table, if it is there, and what shows it."""

    def shown(
        self, column: ColumnElement[Any], plain: type, document: ColumnElement[str], field: str
    ) -> ColumnElement[Any]:
        """A column as people read it; `field` is its name in the JSON of `document`."""

    def is_refused(self, error: DBAPIError) -> bool:
        """Whether a readable name cannot be had here, for want of a right or of the name itself."""

    def allow(self, connection: Connection, seconds: float) -> None:
        """Let the statements of a transaction take so long."""

    def interrupt(self, thread: int) -> None:
        """Have the database end what a thread waits for; called from another thread."""

    def cut(self, thread: int) -> None:
        """End the connection of a thread, which waits for an answer; called from another one."""

    def forget(self, thread: int) -> None:
        """Drop the connection of this thread."""

    def lacks_table(self, error: DBAPIError) -> bool:
        """Whether a statement failed for want of a table; called from every thread."""

    def refusal(self, error: DBAPIError) -> CimError:
        """The kit's error for one of the driver's while the database is made ready at the start."""

    def translate(self, error: DBAPIError) -> CimError:
        """The kit's error for one of the driver's; called from every thread."""

    def release(self) -> None:
        """Let go of everything; nothing is called afterwards."""

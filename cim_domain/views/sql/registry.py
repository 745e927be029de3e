"""The rows of the registry: which generations of a projection there are, and how far they are."""

import orjson
import sqlalchemy as sa
from attrs import evolve, frozen

from cim_domain.views.generations import TAKES_EVENTS, Code, Generation, State, superseded
from cim_domain.views.port import Checkpoint, CheckpointMoved
from cim_domain.views.sql.names import Names
from cim_domain.views.sql.tables import ViewTable, registry_table, skipped_table


@frozen(eq=False)
class Registry:
    """The generations of all projections of a domain. Every method works within a transaction."""

    table: sa.Table
    skipped: sa.Table
    log: str
    """The id of the log that is meant."""
    names: Names
    _move: sa.Update

    @classmethod
    def of(cls, domain: str, log: str, names: Names) -> "Registry":
        """The registry of a domain, for one log."""
        table = registry_table(domain)
        return cls(table, skipped_table(domain), log, names, _moving(table))

    def of_log(self, log: str) -> "Registry":
        """The same tables, for another log."""
        return evolve(self, log=log)

    def create(self, connection: sa.Connection) -> None:
        """Make the tables that are not there."""
        self.table.create(connection, checkfirst=True)
        self.skipped.create(connection, checkfirst=True)
        self.names.create(connection)

    def drop_incomplete(self, connection: sa.Connection) -> list[str]:
        """Drop the generations whose tables are not all there; gives their projections."""
        columns = self.table.c
        asked = sa.select(columns.projection, columns.generation, columns.tables).where(
            columns.log == self.log, columns.state != State.DROPPED.value
        )
        there = set(sa.inspect(connection).get_table_names())
        lost = [
            row
            for row in connection.execute(asked)
            if not there.issuperset(orjson.loads(row.tables))
        ]
        for row in lost:
            self._drop(connection, row.projection, row.generation)
        return sorted({row.projection for row in lost})

    def generations(self, connection: sa.Connection, name: str, *, lock: bool) -> list[Generation]:
        """Those of a projection; locked ones keep their checkpoint until the transaction ends."""
        asked = sa.select(self.table).where(
            self.table.c.log == self.log, self.table.c.projection == name
        )
        rows = connection.execute(asked.with_for_update() if lock else asked)
        return [
            Generation(
                number=row.generation,
                code=Code(row.version, row.layout, tuple(row.handles.split())),
                checkpoint=Checkpoint(row.checkpoint, row.event),
                state=State(row.state),
                used=row.used,
            )
            for row in rows
        ]

    def add(
        self, connection: sa.Connection, name: str, made: Generation, tables: list[ViewTable]
    ) -> None:
        """Note a new generation and make its tables."""
        names = [made_table.table.name for made_table in tables]
        # Where the registry was lost and the names were not, they are of a generation before.
        self.names.release(connection, self.log, name, made.number, gone=True)
        connection.execute(
            self.table.insert().values(
                log=self.log,
                projection=name,
                generation=made.number,
                version=made.code.version,
                layout=made.code.layout,
                handles=" ".join(made.code.handles),
                checkpoint=made.checkpoint.sequence,
                event=made.checkpoint.event_id,
                state=made.state.value,
                used=made.used,
                tables=orjson.dumps(names).decode(),
            )
        )
        for made_table in tables:
            self.names.drop_table(connection, made_table.table.name)
            made_table.table.create(connection)

    def become(self, connection: sa.Connection, name: str, known: Generation) -> None:
        """Set state and use of a generation. The tables of a dropped one go; its number stays."""
        if known.state is State.DROPPED:
            self._drop(connection, name, known.number)
            return
        if known.state is State.RETIRED:
            self.names.release(connection, self.log, name, known.number, gone=False)
        values = {"state": known.state.value, "used": known.used}
        row = self._row(name, known.number)
        connection.execute(self.table.update().where(*row).values(values))

    def move(
        self,
        connection: sa.Connection,
        name: str,
        number: int,
        expected: int,
        checkpoint: Checkpoint,
    ) -> None:
        """Move a checkpoint. Raises `CheckpointMoved` and `Superseded`."""
        place = {
            "of": self.log,
            "name": name,
            "number": number,
            "expected": expected,
            "moved": checkpoint.sequence,
            "at": checkpoint.event_id,
        }
        moved = connection.execute(self._move, place)
        if moved.rowcount == 0:
            self.checkpoint(connection, name, number)
            raise CheckpointMoved(f"the views {name!r} are not at {expected} any more")

    def skip(
        self, connection: sa.Connection, name: str, number: int, expected: int, event: Checkpoint
    ) -> None:
        """Move a checkpoint over an event. Raises `CheckpointMoved` and `Superseded`."""
        self.move(connection, name, number, expected, event)
        connection.execute(
            self.skipped.insert().values(
                log=self.log, projection=name, generation=number, sequence=event.sequence
            )
        )

    def has_skipped(self, connection: sa.Connection, name: str, number: int, sequence: int) -> bool:
        """Whether a generation was moved over an event. Raises `Superseded`."""
        self.checkpoint(connection, name, number)
        asked = sa.select(self.skipped.c.sequence).where(
            *_at(self.skipped, self.log, name, number), self.skipped.c.sequence == sequence
        )
        return connection.execute(asked).one_or_none() is not None

    def checkpoint(self, connection: sa.Connection, name: str, number: int) -> Checkpoint:
        """How far a generation is. Raises `Superseded`."""
        columns = self.table.c
        found = connection.execute(
            sa.select(columns.checkpoint, columns.event, columns.state).where(
                *self._row(name, number)
            )
        ).one_or_none()
        if found is None or State(found.state) not in TAKES_EVENTS:
            raise superseded(name, number)
        return Checkpoint(found.checkpoint, found.event)

    def is_dropped(self, connection: sa.Connection, name: str, number: int) -> bool:
        """Whether a generation's tables are gone."""
        found = connection.execute(
            sa.select(self.table.c.state).where(*self._row(name, number))
        ).scalar_one_or_none()
        return found is None or found == State.DROPPED.value

    def _drop(self, connection: sa.Connection, name: str, number: int) -> None:
        self.names.release(connection, self.log, name, number, gone=True)
        row = self._row(name, number)
        asked = sa.select(self.table.c.tables).where(*row)
        for table in orjson.loads(connection.execute(asked).scalar_one()):
            self.names.drop_table(connection, table)
        skipped = _at(self.skipped, self.log, name, number)
        connection.execute(self.skipped.delete().where(*skipped))
        dropped = self.table.update().where(*row).values(state=State.DROPPED.value)
        connection.execute(dropped)

    def _row(self, name: str, number: int) -> tuple[sa.ColumnElement[bool], ...]:
        return _at(self.table, self.log, name, number)


def _moving(table: sa.Table) -> sa.Update:
    """Every transaction has it: put together once."""
    return (
        table.update()
        .where(*_at(table, sa.bindparam("of"), sa.bindparam("name"), sa.bindparam("number")))
        .where(table.c.checkpoint == sa.bindparam("expected"))
        .where(table.c.state.in_([state.value for state in TAKES_EVENTS]))
        .values(checkpoint=sa.bindparam("moved"), event=sa.bindparam("at"))
    )


def _at(
    table: sa.Table,
    log: str | sa.BindParameter[str],
    name: str | sa.BindParameter[str],
    number: int | sa.BindParameter[int],
) -> tuple[sa.ColumnElement[bool], ...]:
    columns = table.c
    return columns.log == log, columns.projection == name, columns.generation == number

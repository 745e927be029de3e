"""Views in PostgreSQL: a real server, started here, on a socket in a directory of its own."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.testing.views import Thing, ViewsConformance, keep, named, names, put, things
from cim_domain.views.port import CheckpointMoved, ViewDatabase
from cim_domain.views.sql import SqlViews

NOBODY = 65534


def binaries() -> Path | None:
    """The directory of initdb and pg_ctl, newest first."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    return packaged[-1].parent if packaged else None


class Server:
    """A PostgreSQL server without durability; as root it runs as nobody, for it refuses root."""

    def __init__(self, place: Path, directory: Path) -> None:
        self.place = place
        self.directory = directory
        self.user = NOBODY if os.geteuid() == 0 else None

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.place / program, *arguments],
            check=True,
            user=self.user,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"LC_ALL": "C", "PATH": os.defpath},
        )

    def initialize(self) -> None:
        self.run(
            "initdb", "--pgdata=data", "--username=cim", "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off"
        self.run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={options}")

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "--wait", "--pgdata=data", "--mode=immediate")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://cim@/{database}?host={self.directory}"

    def create_database(self, encoding: str = "UTF8") -> str:
        name = f"views_{uuid4().hex}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        locale = "C.UTF-8" if encoding == "UTF8" else "C"
        with engine.connect() as connection:
            connection.execute(
                sa.text(
                    f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'"
                    f" LOCALE '{locale}'"
                )
            )
        engine.dispose()
        return self.url(name)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    place = binaries()
    if place is None:
        pytest.skip("no PostgreSQL here: neither initdb in PATH nor /usr/lib/postgresql/*/bin")
    # A socket's path is at most 107 bytes long, so not below pytest's own directory.
    with tempfile.TemporaryDirectory(prefix="cim-pg-") as directory:
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        server = Server(place, Path(directory))
        server.initialize()
        server.start()
        yield server
        server.stop()


@pytest.fixture
def url(server: Server) -> str:
    return server.create_database()


@pytest.fixture(scope="module")
def shared(server: Server) -> str:
    """One database for all of the suite, whose tests have a domain each."""
    return server.create_database()


class TestPostgresqlViews(ViewsConformance):
    @pytest.fixture
    async def database(self, shared: str) -> AsyncIterator[ViewDatabase]:
        self.domain = f"d{uuid4().hex}"
        self.url = shared
        self.opened = [SqlViews.postgresql(shared, self.domain)]
        yield self.opened[0]
        for database in self.opened:
            await database.close()

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        await database.close()
        self.opened.append(SqlViews.postgresql(self.url, self.domain))
        return self.opened[-1]


@pytest.fixture
async def instances(url: str) -> AsyncIterator[list[SqlViews]]:
    """Two services on one database."""
    opened = [SqlViews.postgresql(url, "nix") for _ in range(2)]
    yield opened
    for database in opened:
        await database.close()


async def test_instances_that_start_together_share_one_generation(
    instances: list[SqlViews],
) -> None:
    stores = await asyncio.gather(*(database.open(things()) for database in instances))
    assert [(store.generation, store.live) for store in stores] == [(1, True), (1, True)]


async def test_of_two_instances_that_commit_at_once_one_wins(instances: list[SqlViews]) -> None:
    stores = [await database.open(things()) for database in instances]
    outcomes = await asyncio.gather(
        *(
            store.commit([put("k", Thing(name=str(number)))], expected=0, checkpoint=number + 1)
            for number, store in enumerate(stores)
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [CheckpointMoved]
    winner = outcomes.index(None)
    assert await names(stores[0]) == await names(stores[1]) == [str(winner)]


async def test_who_waits_for_a_lock_too_long_is_told(url: str) -> None:
    database = SqlViews.postgresql(url, "nix", patience=0.1)
    store = await database.open(things())
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        registry = sa.inspect(connection).get_table_names()
        table = next(name for name in registry if name.startswith("cim_views"))
        connection.execute(sa.text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        with pytest.raises(Unavailable) as refused:
            await keep(store, named("a"))
        assert refused.value.code == "views_locked"
    engine.dispose()
    await keep(store, named("a"))
    assert await names(store) == ["a"]
    await database.close()


async def test_views_work_again_once_the_server_is_back(server: Server, url: str) -> None:
    database = SqlViews.postgresql(url, "nix")
    store = await database.open(things())
    await keep(store, named("a"))
    server.stop()
    try:
        with pytest.raises(Unavailable) as refused:
            await names(store)
        assert refused.value.code == "views_unavailable"
        with pytest.raises(Unavailable):
            await store.commit([], expected=1, checkpoint=2)
    finally:
        server.start()
    await keep(store, {"b": Thing(name="b")})
    assert await names(store) == ["a", "b"]
    await database.close()


async def test_a_database_of_another_encoding_is_refused(server: Server) -> None:
    database = SqlViews.postgresql(server.create_database("SQL_ASCII"), "nix")
    with pytest.raises(ConfigurationError, match="UTF8"):
        await database.open(things())
    await database.close()


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u:secret@h/d", "postgresql+pg8000://u:secret@h"]
)
def test_a_url_that_does_not_fit_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SqlViews.postgresql(url, "nix")
    assert "secret" not in str(refused.value)


def test_no_repr_shows_a_password() -> None:
    assert "secret" not in repr(SqlViews.postgresql("postgresql://u:secret@h/d", "nix"))

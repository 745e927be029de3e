"""A real PostgreSQL, on a socket in a directory of its own, for the tests that need one."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def shared(server: Server) -> str:
    """A database for all the tests that have a domain each."""
    return server.create_database()

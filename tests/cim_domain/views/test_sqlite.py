"""Views in a SQLite file."""

import asyncio
import logging
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.testing.views.conformance import (
    Thing,
    ViewsConformance,
    keep,
    named,
    names,
    put,
    things,
)
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.port import Checkpoint, CheckpointMoved, ViewDatabase, ViewStore
from cim_domain.views.sql.database import SqlViews
from cim_domain.views.sql.sqlite import READER_CACHE, WRITER_CACHE
from cim_domain.views.sql.sqlite_file import CHECKED_ALWAYS
from cim_domain.views.sql.tables import FORMAT
from cim_domain.views.sql.threads import READERS


class TestSqliteViews(ViewsConformance):
    @pytest.fixture
    async def database(self, path: Path) -> AsyncIterator[ViewDatabase]:
        self.path = path
        self.opened = [SqlViews.sqlite(path, "nix", "log")]
        yield self.opened[0]
        for database in self.opened:
            await database.close()

    async def reopen(self, database: ViewDatabase) -> ViewDatabase:
        await database.close()
        self.opened.append(SqlViews.sqlite(self.path, "nix", "log"))
        return self.opened[-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "views.db"


@pytest.fixture
async def views(path: Path) -> AsyncIterator[Callable[[], SqlViews]]:
    """Opens the file, as often as asked for."""
    opened: list[SqlViews] = []

    def open_views() -> SqlViews:
        opened.append(SqlViews.sqlite(path, "nix", "log", patience=0.1))
        return opened[-1]

    yield open_views
    for database in opened:
        await database.close()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def content(path: Path) -> bytes:
    return path.read_bytes()


def modes_in(directory: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


def not_a_database(path: Path) -> bytes:
    path.write_bytes(b"no database at all" * 1000)
    return content(path)


def overwritten_in_the_middle(path: Path) -> bytes:
    whole = bytearray(path.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    path.write_bytes(whole)
    return content(path)


def cut_short(path: Path) -> bytes:
    path.write_bytes(path.read_bytes()[:5000])
    return content(path)


def of_an_older_format(path: Path) -> bytes:
    execute(path, f"PRAGMA user_version = {FORMAT - 1}")
    return content(path)


async def test_files_are_for_their_owner_alone(views: Callable[[], SqlViews], path: Path) -> None:
    await keep(await views().open(things()), named("a"))
    assert modes_in(path.parent) == dict.fromkeys(
        ("views.db", "views.db-wal", "views.db-shm", "views.db.lock"), 0o600
    )


async def test_each_thread_has_a_connection_and_only_the_writers_keeps_many_pages(
    views: Callable[[], SqlViews],
) -> None:
    database = views()
    store = await database.open(things())
    await keep(store, named("a"))

    def kept(connection: sa.Connection) -> tuple[int, int]:
        kibibytes = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
        return id(connection.connection.dbapi_connection), -kibibytes

    threads = database._threads
    writer = await threads.write(kept)
    readers = set(await asyncio.gather(*(threads.read(kept) for _ in range(50))))
    assert await threads.read_as_writer(kept) == writer
    assert writer[1] == WRITER_CACHE
    assert 1 <= len(readers) <= READERS
    assert writer[0] not in {connection for connection, _ in readers}
    assert {kibibytes for _, kibibytes in readers} == {READER_CACHE}


@pytest.mark.parametrize(
    "spoil", [not_a_database, overwritten_in_the_middle, cut_short, of_an_older_format]
)
async def test_a_file_that_is_no_good_is_set_aside_and_views_begin_anew(
    views: Callable[[], SqlViews],
    path: Path,
    spoil: Callable[[Path], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for turn in (1, 2):
        before = views()
        await keep(await before.open(things()), named(*map(str, range(500))))
        await before.close()
        spoiled = spoil(path)
        aside = path.with_name(f"views.db.corrupt-{turn}")
        after = views()
        with caplog.at_level(logging.WARNING):
            store = await after.open(things())
        assert after.recovered == aside
        assert content(aside) == spoiled
        assert str(aside) in caplog.text
        assert (store.live, await read_up_to(store), await names(store)) == (
            True,
            0,
            [],
        )
        await after.close()
        execute(path, "SELECT 1")


def damaged_where_it_is_not_read_at_the_start(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 :] = b"\xff" * (len(whole) - len(whole) // 2)
    path.write_bytes(whole)


def make_large(path: Path) -> None:
    """So that the file is checked only where there is reason to."""
    ballast = f"INSERT INTO ballast VALUES (zeroblob({CHECKED_ALWAYS}))"
    execute(path, "CREATE TABLE ballast (bytes)", ballast)


async def test_a_large_file_is_checked_where_a_process_has_not_ended_in_order(
    views: Callable[[], SqlViews], path: Path
) -> None:
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, path)
    assert await killed.wait() == -signal.SIGKILL
    make_large(path)
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    damaged_where_it_is_not_read_at_the_start(path)
    database = views()
    assert (await database.open(things())).live
    assert database.recovered is not None


async def test_a_large_file_is_checked_where_damage_was_met(
    views: Callable[[], SqlViews], path: Path
) -> None:
    database = views()
    store = await database.open(things())
    make_large(path)
    await keep(store, named(*map(str, range(5000))))
    await database.close()
    damaged_where_it_is_not_read_at_the_start(path)
    # Nothing is said until it is read: the process before had ended in order.
    meeting = views()
    store = await meeting.open(things())
    with pytest.raises(Unavailable) as refused:
        await store.load(Thing, [("", f"{number:04}") for number in range(5000)])
    assert refused.value.code == "views_damaged"
    await meeting.close()
    after = views()
    await after.open(things())
    assert after.recovered is not None


async def test_while_others_have_a_file_open_the_last_to_end_says_that_it_is_in_order(
    views: Callable[[], SqlViews], path: Path
) -> None:
    lock = path.with_name(f"{path.name}.lock")
    first, second = views(), views()
    await first.open(things())
    await second.open(things())
    await first.close()
    assert content(lock) == b"in use\n"
    await second.close()
    assert content(lock) == b""


async def test_views_that_are_being_built_have_no_index_until_the_switch(
    views: Callable[[], SqlViews], path: Path
) -> None:
    def indexes(store: ViewStore) -> int:
        asked = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        with closing(sqlite3.connect(path)) as connection:
            named = f"{asked} AND tbl_name = ?"
            table = store.table(Thing).table.name
            return connection.execute(named, (table,)).fetchone()[0]

    database = views()
    live = await database.open(things())
    rebuilt = await database.rebuild(things())
    assert (indexes(live), indexes(rebuilt)) == (len(Thing.indexed), 0)
    await keep(rebuilt, named("a"))
    await database.switch(rebuilt)
    assert indexes(rebuilt) == len(Thing.indexed)


async def test_a_good_file_is_not_set_aside(views: Callable[[], SqlViews], path: Path) -> None:
    for _ in range(2):
        database = views()
        await keep(await database.open(things()), named("a"))
        assert database.recovered is None
        await database.close()
    assert not [name for name in modes_in(path.parent) if "corrupt" in name]


async def test_a_file_that_another_process_has_open_is_not_set_aside(
    views: Callable[[], SqlViews], path: Path
) -> None:
    holder = views()
    await holder.open(things())
    of_an_older_format(path)
    with pytest.raises(ConfigurationError, match="another process"):
        await views().open(things())
    await holder.close()
    second = views()
    await second.open(things())
    assert second.recovered is not None


async def test_a_file_of_a_newer_format_is_refused_and_left_alone(
    views: Callable[[], SqlViews], path: Path
) -> None:
    database = views()
    await keep(await database.open(things()), named("a"))
    await database.close()
    execute(path, f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(ConfigurationError, match="newer release"):
        await views().open(things())
    execute(path, f"PRAGMA user_version = {FORMAT}")
    assert await names(await views().open(things())) == ["a"]


async def test_another_programs_database_is_refused_and_left_alone(
    views: Callable[[], SqlViews], path: Path
) -> None:
    execute(path, "CREATE TABLE precious (a)", "INSERT INTO precious VALUES (1)")
    before = content(path)
    with pytest.raises(ConfigurationError, match="another program"):
        await views().open(things())
    assert content(path) == before


async def test_an_empty_file_is_taken(views: Callable[[], SqlViews], path: Path) -> None:
    execute(path, "SELECT 1")
    assert content(path) == b""
    assert (await views().open(things())).live


async def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    database = SqlViews.sqlite(tmp_path / "none" / "views.db", "nix", "log")
    with pytest.raises(ConfigurationError, match="create it"):
        await database.open(things())
    await database.close()


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    database = SqlViews.sqlite(tmp_path, "nix", "log")
    with pytest.raises(ConfigurationError, match="name a file"):
        await database.open(things())
    await database.close()


async def test_who_waits_for_another_writer_too_long_is_told(
    views: Callable[[], SqlViews], path: Path
) -> None:
    store = await views().open(things())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as refused:
            await keep(store, named("a"))
        assert refused.value.code == "views_locked"
        assert await names(store) == []
    await keep(store, named("a"))
    assert await names(store) == ["a"]


async def test_what_was_damaged_while_in_use_is_said(
    views: Callable[[], SqlViews], path: Path
) -> None:
    database = views()
    await keep(await database.open(things()), named(*map(str, range(500))))
    await database.close()
    reopened = await views().open(things())
    overwritten_in_the_middle(path)
    with pytest.raises(Unavailable) as refused:
        await names(reopened)
    assert refused.value.code == "views_damaged"


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from cim_domain.errors import Unavailable
from cim_domain.testing.views.conformance import Thing, keep, names, put, things
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.port import Checkpoint
from cim_domain.views.sql.database import SqlViews

async def main():
    database = SqlViews.sqlite(Path(sys.argv[1]), "nix", "log")
    store = await database.open(things())
    await keep(store, {"first": Thing(name="first")})
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
    large = [put(str(number), Thing(name=str(number), text="x" * 1000)) for number in range(2000)]
    for _ in range(2):
        try:
            await store.commit(large, expected=1, checkpoint=Checkpoint(2))
        except Unavailable as error:
            assert error.code == "views_full", error.code
            assert "free space" in error.message
        else:
            raise AssertionError("there was room")
        assert await read_up_to(store) == 1
        assert await names(store) == ["first"]
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    await store.commit(large, expected=1, checkpoint=Checkpoint(2))
    assert await read_up_to(store) == 2
    assert await store.reader(None).count(Thing) == 2001
    await database.close()

asyncio.run(main())
"""


def test_a_commit_that_finds_no_room_changes_nothing_and_succeeds_once_there_is(
    path: Path,
) -> None:
    """A process that may write no file beyond a size stands for a full disk."""
    subprocess.run([sys.executable, "-c", FULL_DISK, path], check=True)


READ_ONLY = """
import asyncio, os, tempfile
from pathlib import Path
from cim_domain.errors import Unavailable
from cim_domain.testing.views.conformance import keep, named, names, things
from cim_domain.views.sql.database import SqlViews

async def opened(path):
    database = SqlViews.sqlite(path, "nix", "log")
    try:
        return await names(await database.open(things()))
    except Unavailable as error:
        fitting = ("read only", "Permission denied", "may be written")
        assert any(one in error.message for one in fitting), error.message
        return error.code
    finally:
        await database.close()

async def main(directory):
    if os.geteuid() == 0:
        os.chown(directory, 65534, 65534)
        os.setuid(65534)
    path = directory / "views.db"
    database = SqlViews.sqlite(path, "nix", "log")
    await keep(await database.open(things()), named("a"))
    await database.close()
    for place, writable, read_only in ((path, 0o600, 0o400), (directory, 0o700, 0o500)):
        place.chmod(read_only)
        assert await opened(path) == "views_unavailable"
        place.chmod(writable)
        assert await opened(path) == ["a"]

with tempfile.TemporaryDirectory() as directory:
    asyncio.run(main(Path(directory)))
"""


def test_what_cannot_be_written_is_unavailable_and_works_again_once_it_can() -> None:
    """Root may write everything, so root becomes nobody first."""
    subprocess.run([sys.executable, "-c", READ_ONLY], check=True)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from cim_domain.testing.views.conformance import keep, named, things
from cim_domain.views.sql.database import SqlViews

async def main(path):
    database = SqlViews.sqlite(path, "nix", "log")
    await keep(await database.open(things()), named(*map(str, range(5000))))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""

RUNNER = """
import asyncio, sys
from pathlib import Path
from cim_domain.testing.views.conformance import Thing, put, things
from cim_domain.testing.views.sample import read_up_to
from cim_domain.views.port import Checkpoint, CheckpointMoved
from cim_domain.views.sql.database import SqlViews

async def main(path, commits):
    database = SqlViews.sqlite(path, "nix", "log")
    store = await database.open(things())
    done = 0
    while done < commits:
        at = await read_up_to(store)
        try:
            thing = put(str(at), Thing(number=at))
            await store.commit([thing], expected=at, checkpoint=Checkpoint(at + 1))
            done += 1
        except CheckpointMoved:
            continue
    await database.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_processes_move_the_views_one_after_another(
    views: Callable[[], SqlViews], path: Path
) -> None:
    runners = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", RUNNER, path, "100")
        for _ in range(2)
    ]
    assert [await runner.wait() for runner in runners] == [0, 0]
    store = await views().open(things())
    assert (store.generation, await read_up_to(store)) == (1, 200)
    assert await store.reader(None).count(Thing) == 200


async def test_a_cancelled_commit_is_whole_or_not_at_all(
    views: Callable[[], SqlViews], path: Path
) -> None:
    store = await views().open(things())
    task = asyncio.create_task(
        store.commit(
            [put(str(n), Thing()) for n in range(500)], expected=0, checkpoint=Checkpoint(1)
        )
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    try:
        await store.commit([put("last", Thing())], expected=0, checkpoint=Checkpoint(2))
    except CheckpointMoved:
        assert (await read_up_to(store), await store.reader(None).count(Thing)) == (
            1,
            500,
        )
    else:
        assert await store.reader(None).count(Thing) == 1


async def test_views_of_several_logs_lie_side_by_side(path: Path) -> None:
    databases = [SqlViews.sqlite(path, "nix", log) for log in ("one", "another")]
    stores = [await database.open(things()) for database in databases]
    for store, name in zip(stores, ("a", "b"), strict=True):
        await keep(store, named(name))
    assert [await names(store) for store in stores] == [["a"], ["b"]]
    assert [store.generation for store in stores] == [1, 1]
    rebuilt = await databases[0].rebuild(things())
    await keep(rebuilt, named("c"))
    assert await databases[0].switch(rebuilt)
    assert await names(stores[1]) == ["b"]
    await stores[1].skip(Checkpoint(2), expected=1)
    assert not await rebuilt.has_skipped(2)
    for database in databases:
        await database.close()

"""The disk of the embedded server is full: told at once, and over by itself when there is room."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.server.embedded import ServerOptions
from cim_domain.service.runner import ENDED, run_service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.service.servers import SUMS, asked

S = Subjects("sums")
RESERVE = 4 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[Link]:
    ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        run_service(
            SUMS,
            load_settings(data_directory=data),
            load_service_settings(views="memory"),
            server=ServerOptions(data_directory=data, port=0, reserve=RESERVE),
            on_ready=ready.set_result,
        )
    )
    link = await Link.open(
        load_settings(reconnect={"first_delay": 0.05}), name="test", url=await ready
    )
    yield link
    await link.close()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == ENDED


def fill(place: Path, *, left: int) -> Path:
    """Have so many bytes left, or none."""
    found = os.statvfs(place)
    size = found.f_bavail * found.f_frsize - left
    with (place / "other").open("wb") as file:
        file.write(b"x" * size)
    return place / "other"


async def add(link: Link, name: str) -> Any:
    return await asked(link, S.command("tally.add"), {"name": name})


async def checks(link: Link) -> Any:
    return (await asked(link, S.health, {}))["checks"]


async def test_where_little_is_left_nothing_is_stored_and_health_says_so(small_disk: Path) -> None:
    async with served(small_disk / "data") as link:
        assert (await add(link, "before"))["status"] == "accepted"
        assert (await checks(link))["server"]["status"] == "healthy"
        other = fill(small_disk, left=3 * RESERVE)
        assert (await checks(link))["server"]["status"] == "degraded"
        assert (await add(link, "little"))["status"] == "accepted"
        other.unlink()
        other = fill(small_disk, left=RESERVE // 2)
        async with asyncio.timeout(2):
            refused = await add(link, "full")
        assert refused["error"]["code"] == "log_full"
        found = await checks(link)
        assert {found[one]["status"] for one in ("server", "storage")} == {"degraded"}
        other.unlink()
        assert (await add(link, "after"))["status"] == "accepted"
        found = await checks(link)
        assert {found[one]["status"] for one in ("server", "storage")} == {"healthy"}
        assert found["server"]["restarts"] == 0


async def test_a_server_that_could_not_write_is_started_again_when_there_is_room(
    small_disk: Path,
) -> None:
    async with served(small_disk / "data") as link:
        assert (await add(link, "before"))["status"] == "accepted"
        other = fill(small_disk, left=0)
        # Past the service, which would not ask it to.
        with pytest.raises(NoAnswer):
            await link.requests.one(S.journal("tally.added", "x"), b"x" * 50_000, timeout=1)
        async with asyncio.timeout(2):
            assert (await add(link, "full"))["error"]["code"] == "log_full"
        other.unlink()
        async with asyncio.timeout(20):
            while True:
                try:
                    if (await checks(link))["server"]["restarts"] == 1:
                        break
                except NoAnswer:
                    pass
                await asyncio.sleep(0.05)
        reply = await add(link, "after")
        assert reply["status"] == "accepted"
        names = await asked(link, S.query("tally.names"), {}, X_Min_Sequence=str(reply["sequence"]))
        assert names == ["after", "before"]

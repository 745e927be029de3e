"""The suite does no harm itself: nothing outlives it, and clients that cannot send do not spin."""

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.testing.server import throwaway_server
from tests.faults.instances import ROOT
from tests.faults.verdict.history import Sent
from tests.faults.wire import Progress, Wire

OWNER = """
import asyncio, sys
from pathlib import Path
from tests.faults.instances import Instance

async def main():
    one = Instance("one", [sys.executable, "-c", "input()"], Path(sys.argv[1]), dict)
    one.start()
    while one.pid is None:
        await asyncio.sleep(0)
    print(one.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_service_dies_with_the_suite_that_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        service = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
        owner.wait()
    with os.fdopen(service, "rb", buffering=0):
        # Readable once the process has ended; it is nobody's child that could be waited for here.
        readable, _, _ = select.select([service], [], [], 20)
        assert readable


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """One whose server is gone for good."""
    async with throwaway_server() as server:
        link = await Link.open(load_settings(), name="test", url=server.url)
        wire = Wire(link, Subjects("nix"), Progress())
        await wire.start()
    yield wire
    await link.close()


async def test_a_client_without_a_connection_lets_others_go_on(wire: Wire) -> None:
    sent = Sent("0b1a6b3e-3d3c-4a52-9c53-2f5b0d9d8a11", "flake.create", b"{}")

    async def insist() -> None:
        while not sent.is_settled:
            await wire.send(sent, "request", 0.2)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await insist()
    assert len(sent.attempts) < 20

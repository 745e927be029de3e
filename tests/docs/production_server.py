"""A server started with the configuration that the documentation ships."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cim_domain.nats.server.embedded import server_binary

ROLES = ("service", "client", "reader", "operator")
INBOXES = {"service": "_INBOX", **{role: f"_INBOX_{role}" for role in ROLES[1:]}}
"""Where each role's replies arrive; nobody else may listen there."""

_LISTENS = re.compile(r"Listening for client connections on 127\.0\.0\.1:(\d+)")
_STORE = '"/var/lib/nats"'
_READY = "Server is ready"


def password(role: str) -> str:
    """The password that the started server knows for a role."""
    return f"password-of-{role}"


@asynccontextmanager
async def production_server(configuration: Path, directory: Path) -> AsyncIterator[str]:
    """The URL of a server with `configuration`; only its directory and port are the test's own."""
    copy = _copy(configuration, directory)
    process = await asyncio.create_subprocess_exec(
        str(server_binary()), "-c", str(copy), "-a", "127.0.0.1", "-p", "-1",
        env={f"NATS_{role.upper()}_PASSWORD": password(role) for role in ROLES},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield f"nats://127.0.0.1:{await _port(process)}"
    finally:
        if process.returncode is None:
            process.terminate()
        # What it says meanwhile must not fill the pipe.
        await process.communicate()


def _copy(configuration: Path, directory: Path) -> Path:
    text = configuration.read_text()
    assert text.count(_STORE) == 1
    copy = directory / configuration.name
    copy.write_text(text.replace(_STORE, f'"{directory}"'))
    return copy


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    said = ""
    while _READY not in said:
        line = await process.stderr.readline()
        assert line, f"nats-server ended:\n{said}"
        said += line.decode()
    listens = _LISTENS.search(said)
    assert listens, said
    return int(listens[1])

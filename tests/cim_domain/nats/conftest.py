"""Real servers for the tests of this directory."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BINARY = Path(sys.executable).parent / "nats-server"


class PlainServer:
    """A nats-server on a loopback port of its own, which it keeps when started again."""

    def __init__(self, directory: Path, config: str) -> None:
        self._directory = directory
        self._config = config
        self._process: subprocess.Popen[str] | None = None
        self.port = -1
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self, config: str | None = None) -> None:
        file = self._write(config)
        self._process = subprocess.Popen(
            [BINARY, "-c", file], stderr=subprocess.PIPE, text=True, cwd=self._directory
        )
        assert self._process.stderr
        log = []
        for line in self._process.stderr:
            log.append(line)
            if found := re.search(r"Listening for client connections on .*:(\d+)", line):
                self.port = int(found[1])
            if "Server is ready" in line:
                return
        self.stop()
        pytest.fail("the server did not start:\n" + "".join(log))

    def reload(self, config: str) -> None:
        """Have it go by another configuration; it says nothing when it does."""
        self._write(config)
        os.kill(self.pid, signal.SIGHUP)

    def _write(self, config: str | None) -> Path:
        self._config = self._config if config is None else config
        file = self._directory / "nats.conf"
        file.write_text(f'listen: "127.0.0.1:{self.port}"\n{self._config}\n')
        return file

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[Callable[..., PlainServer]]:
    """`plain_server(config_text)` starts a server; all are stopped after the test."""
    servers: list[PlainServer] = []

    def start(config: str = "") -> PlainServer:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = PlainServer(directory, config)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()

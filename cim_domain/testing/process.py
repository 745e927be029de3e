"""A service as a process of its own, as people run it: for tests of what signals and crashes do.

with service_process("nix", data_directory=directory, arguments=("--port", "0")) as service:
    service.process.terminate()
    assert service.wait() == 0
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

READY = " is ready "
"""What the log says once requests are answered."""

PATIENCE = 30.0
"""Seconds for a process to end."""


@frozen(eq=False)
class ServiceProcess:
    """One ``cim-domain serve``."""

    process: subprocess.Popen[str]
    log: list[str] = field(factory=list)
    _ready: threading.Event = field(factory=threading.Event)

    def read_log(self) -> None:
        """Collect the log until the process ends."""
        for line in self.process.stderr or ():
            self.log.append(line)
            if READY in line:
                self._ready.set()
        self._ready.set()

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises `RuntimeError`, with its log, when it ended instead."""
        self._ready.wait()
        if not any(READY in line for line in self.log):
            raise RuntimeError("the service did not start:\n" + "".join(self.log))

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of the kit and of colours, and with `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NATS_", "CIM_DOMAIN_"))
        and name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    }
    return {**kept, **more}


@contextmanager
def service_process(
    domain: str,
    *,
    data_directory: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[ServiceProcess]:
    """A service that answers, run in `directory`; killed by its own id if it still runs after."""
    command = [sys.executable, "-m", "cim_domain.cli", "serve", domain, *arguments]
    process = subprocess.Popen(  # noqa: S603 - this very interpreter, and no shell
        [*command, "--data-directory", str(data_directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment or clean_environment(),
        cwd=directory,
    )
    service = ServiceProcess(process)
    reader = threading.Thread(target=service.read_log, name="log of a service")
    reader.start()
    try:
        service.wait_until_ready()
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()

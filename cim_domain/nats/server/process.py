"""The server as a process: started, recognised, ended."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server import launch as launcher

_KILL_WAIT = 10.0
_POLL = 0.02


async def launch(binary: Path, config: Path, log: int) -> Process:
    """Start nats-server in a session of its own, its output to the descriptor `log`.

    On Linux the kernel ends it with the *thread* that awaits this, so await it on the thread
    that lives as long as the service: the one of the event loop.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-IS",
        launcher.__file__,
        str(os.getpid()),
        str(binary),
        str(config),
        stdin=DEVNULL,
        stdout=log,
        stderr=log,
        cwd=config.parent,
        start_new_session=True,  # Ctrl-C at the terminal is for the service, which stops it last
    )


async def end(process: Process, timeout: float) -> bool:  # noqa: ASYNC109 - then it is killed
    """SIGTERM, and SIGKILL after `timeout` seconds; whether the former was enough."""
    try:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself: what is wanted
            process.terminate()
        await asyncio.wait_for(process.wait(), timeout)
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return True


def is_running(pid: int, config: str) -> bool:
    """Whether the process `pid` is there and its command line ends with this configuration file."""
    path = os.fsencode(config)
    return (
        _command_line(pid).endswith(b"\0" + path + b"\0")
        if sys.platform == "linux"
        else _printed_command_line(pid).endswith(b" " + path)
    )


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""  # not there, or another user's


def _printed_command_line(pid: int) -> bytes:
    answer = subprocess.run(  # noqa: S603 - a number is all that varies
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
    )
    return answer.stdout.rstrip()


async def end_orphan(pid: int, config: str, timeout: float) -> None:  # noqa: ASYNC109 - as in `end`
    """End a server that outlived its owner, by its pid: SIGTERM, SIGKILL after `timeout` seconds.

    Raises ConfigurationError when it cannot be ended.
    """
    for number, wait in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILL_WAIT)):
        if not is_running(pid, config):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ConfigurationError(
                f"a nats-server left behind by an earlier owner (pid {pid}) belongs to another "
                "user: end it first"
            ) from error
        if await _has_ended(pid, config, wait):
            return
    raise ConfigurationError(
        f"a nats-server left behind by an earlier owner (pid {pid}) cannot be ended: end it first"
    )


async def _has_ended(pid: int, config: str, within: float) -> bool:
    deadline = asyncio.get_running_loop().time() + within
    while is_running(pid, config):
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


def describe_exit(code: int) -> str:
    """A return code in words: ``exit code 1``, ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"

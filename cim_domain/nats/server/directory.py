"""The embedded server's data directory: private, owned by one process, read by other commands.

owner.lock        held by the owner for its whole life; names its pid
server.json       pid and URL of the server, for other commands and for the next owner
nats-server.conf  written at every start
nats-server.log   what the server says
ports/            the server itself says here, by its pid, that it listens
jetstream/        the streams
"""

import fcntl
import json
import os
from pathlib import Path

from attrs import asdict, define, field, frozen

from cim_domain.errors import ConfigurationError
from cim_domain.nats.server.process import is_running

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_TAIL_LINES = 15
_TAIL_BYTES = 8192


def _resolved(path: Path) -> Path:
    return path.resolve()


@frozen
class ServerState:
    """What the owner leaves for others: the server's process, and its URL once it listens."""

    pid: int
    config: str
    url: str | None = None

    def is_alive(self) -> bool:
        """Whether that process is there and still is this server."""
        return is_running(self.pid, self.config)


@define
class DataDirectory:
    """Paths and files of one data directory; `claim` before writing any."""

    path: Path = field(converter=_resolved)
    _lock: int | None = field(default=None, init=False)

    @property
    def config(self) -> Path:
        return self.path / "nats-server.conf"

    @property
    def log(self) -> Path:
        return self.path / "nats-server.log"

    @property
    def ports(self) -> Path:
        return self.path / "ports"

    @property
    def state(self) -> Path:
        return self.path / "server.json"

    @property
    def lock(self) -> Path:
        return self.path / "owner.lock"

    def claim(self) -> None:
        """Make the directory, close it to others, and own it until `release` or the process ends.

        Raises ConfigurationError when another owner has it or it cannot be made private.
        """
        try:
            self._make_private()
            self._lock = self._lock_or_refuse()
            self.ports.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        except OSError as error:
            self.release()
            raise ConfigurationError(
                f"the data directory {self.path} cannot be used: {error.strerror or error}"
            ) from error

    def release(self) -> None:
        """Forget the server's state and let another owner in; harmless when not owned."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        try:
            self.state.unlink(missing_ok=True)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also for copies that forked processes inherited
            os.close(lock)

    def write(self, path: Path, text: str) -> None:
        """Replace a file at once: a reader sees the old text or the new, never a part."""
        draft = path.with_name(path.name + ".new")
        with os.fdopen(self._open(draft, os.O_WRONLY | os.O_TRUNC), "w") as file:
            file.write(text)
        draft.replace(path)

    def write_state(self, state: ServerState) -> None:
        self.write(self.state, json.dumps(asdict(state)))

    def read_state(self) -> ServerState | None:
        """What the last owner left, if it can be read as that."""
        try:
            return ServerState(**json.loads(self.state.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def open_log(self) -> int:
        """A descriptor that appends to the server's log; the caller closes it."""
        return self._open(self.log, os.O_WRONLY | os.O_APPEND)

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def log_tail(self, since: int) -> str:
        """The last lines the server said after its log had `since` bytes."""
        size = self.log_size()
        since = since if since <= size else 0  # rotated in between
        if size == since:
            return "(its log says nothing)"
        with self.log.open("rb") as file:
            file.seek(max(since, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def listening_url(self, pid: int) -> str | None:
        """The URL on which the server with this pid says it takes clients, once it does."""
        for file in self.ports.glob(f"*_{pid}.ports"):
            try:
                return str(json.loads(file.read_bytes())["nats"][0])
            except (FileNotFoundError, ValueError):
                return None  # not written to its end yet
        return None

    def forget_listening(self) -> None:
        """Remove what killed servers left: a later one may get the same pid."""
        for file in self.ports.glob("*.ports"):
            file.unlink(missing_ok=True)

    def _make_private(self) -> None:
        self.path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        if not self.path.stat().st_mode & 0o077:
            return
        if not self.lock.exists() and any(self.path.iterdir()):
            raise ConfigurationError(
                f"the data directory {self.path} is open to other users and holds other files: "
                "name an empty directory, or close this one with chmod 700"
            )
        self.path.chmod(_DIRECTORY_MODE)

    def _lock_or_refuse(self) -> int:
        lock = self._open(self.lock, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise ConfigurationError(
                f"the data directory {self.path} is in use by process {owner}: stop that "
                "process, name another data directory, or name the URL of its server"
            ) from None
        except OSError:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return lock

    @staticmethod
    def _open(path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)


def find_url(data_directory: Path) -> str | None:
    """The URL of the embedded server that lives in this data directory now, if there is one.

    Raises ConfigurationError when the directory may not be read.
    """
    directory = DataDirectory(data_directory)
    try:
        state = directory.read_state()
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {directory.path} cannot be read: {error.strerror or error}"
        ) from error
    return state.url if state is not None and state.is_alive() else None

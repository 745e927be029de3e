"""What the embedded server is told: options of the kit, and nats-server's own configuration."""

import hashlib
import os
from pathlib import Path

from attrs import field, frozen

from cim_domain.nats.server.directory import DataDirectory
from cim_domain.nats.server.ports import HOST

_MAX_PENDING = 256 * 1024 * 1024
"""Bytes that may wait for a client before the server hangs up on it: as many as a crowd of large
requests has, most of which the service turns away once it has read them.
"""


@frozen(kw_only=True)
class RestartPolicy:
    """How often a server that died by itself is started again; times in seconds."""

    attempts: int = 5
    """This many attempts within `window`; the next death is reported as final."""
    window: float = 60.0
    first_delay: float = 0.1
    """Before the first attempt; doubled for each further one within the window."""
    longest_delay: float = 5.0

    def delay(self, attempts: int) -> float | None:
        """How long to wait when `attempts` were made within the window; None: give up."""
        if attempts >= self.attempts:
            return None
        return min(self.first_delay * 2.0**attempts, self.longest_delay)


@frozen(kw_only=True)
class ServerOptions:
    """An embedded server: where its data lies and how it listens. Times in seconds."""

    data_directory: Path
    """Made if absent, mode 0700; holds the streams, configuration, log and state."""
    port: int | None = None
    """None: `preferred_port` or the next free one; 0: any; else exactly this one."""
    preferred_port: int = 4222
    sync_always: bool = True
    """Whether what is acknowledged is on disk, not only with the operating system."""
    max_payload: int = 1024 * 1024
    """Bytes of one message, headers included."""
    reserve: int = 16 * 1024 * 1024
    """Bytes of the disk that are left free: with fewer, nothing more is stored."""
    extra_config: str = field(default="", repr=False)
    """Appended to the configuration: authorization, TLS, cluster. A key that is there already
    is replaced as a whole; paths of `include` start at the data directory. May hold secrets: the
    kit shows it nowhere."""
    binary: Path | None = None
    """None: see `server_binary`."""
    start_timeout: float = 60.0
    """A large store is read before the server listens."""
    stop_timeout: float = 10.0
    """From SIGTERM to SIGKILL."""
    restart: RestartPolicy = RestartPolicy()


def render_config(options: ServerOptions, directory: DataDirectory, port: int) -> str:
    """The text of nats-server's configuration file."""
    sync = "sync_interval: always" if options.sync_always else ""
    return f"""\
# Written at every start of the embedded server: changes made here are lost.
server_name: "{_server_name(directory)}"
host: "{HOST}"
port: {port}
max_payload: {options.max_payload}
max_pending: {_MAX_PENDING}
log_file: {_quote(directory.log)}
logfile_size_limit: 10MB
logfile_max_num: 4
ports_file_dir: {_quote(directory.ports)}
jetstream {{
  store_dir: {_quote(directory.path)}
  {sync}
}}
{options.extra_config}
"""


def _server_name(directory: DataDirectory) -> str:
    """The same at every start, for replicas know each other by name, and telling no path."""
    return "cim-domain-" + hashlib.sha256(os.fsencode(directory.path)).hexdigest()[:12]


def _quote(path: Path) -> str:
    """A string of nats-server's configuration language that is exactly this path."""
    plain = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
    text = "".join(chr(byte) if byte in plain else f"\\x{byte:02X}" for byte in os.fsencode(path))
    return f'"{text}"'

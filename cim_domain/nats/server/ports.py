"""Which port the embedded server listens on."""

import errno
import socket
from collections.abc import Iterator

from cim_domain.errors import ConfigurationError

HOST = "127.0.0.1"
ANY_PORT = -1  # nats-server's word for: whichever the system gives
_TRIES = 100
_HIGHEST = 65535


def candidate_ports(port: int | None, preferred: int) -> Iterator[int]:
    """The ports worth trying, in order; each is looked at when its turn comes.

    `port` is taken as it is, 0 means any; None means `preferred` or the next free one.
    Raises ConfigurationError when they run out.
    """
    if port == 0:
        yield ANY_PORT
    elif port is not None:
        _check(port)
        if not is_taken(port):
            yield port
        raise ConfigurationError(
            f"port {port} on {HOST} is in use: stop what listens there or name another port"
        )
    else:
        _check(preferred)
        last = min(preferred + _TRIES - 1, _HIGHEST)
        yield from (each for each in range(preferred, last + 1) if not is_taken(each))
        raise ConfigurationError(
            f"ports {preferred} to {last} on {HOST} are all in use: name a free port"
        )


def is_taken(port: int) -> bool:
    """Whether something holds the port on loopback; never for ANY_PORT."""
    return port != ANY_PORT and (_is_answered(port) or not _can_be_bound(port))


def _check(port: int) -> None:
    if not 1 <= port <= _HIGHEST:
        raise ConfigurationError(f"{port} is no port: 1 to {_HIGHEST}, or 0 for any")


def _is_answered(port: int) -> bool:
    # Some systems let a loopback address be bound beneath another's wildcard and so take its
    # clients; and a connection can meet itself where the system picks its port by chance.
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0 and probe.getsockname() != probe.getpeername()


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nats-server binds
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # the server's log explains the others best
    return True

"""Becomes nats-server, bound to the life of its owner. A script: ``OWNER_PID BINARY CONFIG``.

A fresh interpreter does this rather than code between fork and exec of the service, where a
lock held by another thread would hang the child for ever.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC")
"""What of the owner's environment the server gets: the rest may hold secrets, and it needs none."""


def _end_with(owner: int) -> None:
    """Have the kernel send SIGTERM when the owner's thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != owner:  # it ended before the kernel was asked to tell
        sys.exit("the owner is gone")


def main() -> None:
    owner, binary, config = sys.argv[1:]
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the owner blocks or ignores is inherited
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        _end_with(int(owner))
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    arguments = [binary, "--config", config]
    os.execve(binary, arguments, environment)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()

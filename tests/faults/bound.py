"""Becomes a command that the kernel kills with its owner. A script: ``OWNER_PID COMMAND…``.

A suite that is killed itself, for want of memory or by its user, leaves nothing running.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to the thread that started it, then become the command."""
    owner, *command = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != int(owner):
            sys.exit("the owner is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

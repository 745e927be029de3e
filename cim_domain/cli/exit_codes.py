"""How commands end, and what that tells their shell."""

from typing import NoReturn

from cim_domain.errors import CimError, ConfigurationError, ModelError, Unavailable

OK = 0
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130


class Usage(CimError):
    """The command was called with something that it cannot take."""


class Refused(Exception):
    """Ends a command whose result has been written, with the exit code `REFUSED`."""


def exit_code(error: CimError) -> int:
    """What a command that ends with this error tells its shell."""
    if isinstance(error, ConfigurationError | ModelError | Usage):
        return USAGE
    return UNREACHABLE if isinstance(error, Unavailable) else REFUSED


def usage(problem: str) -> NoReturn:
    """End the command over what it was called with."""
    raise Usage(problem)

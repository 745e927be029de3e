"""The command line: ``cim-domain``."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run it, with the working directory among the places where Python finds domains."""
    directory = os.getcwd()  # noqa: PTH109 - a string is what goes there
    if directory not in sys.path:
        # Behind everything else: a file there shadows no module that is installed.
        sys.path.append(directory)

    from cim_domain.cli.app import app  # noqa: PLC0415 - after the path is as it is to be

    app()

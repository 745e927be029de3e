"""The command line: ``cim-domain``."""

import os

__all__ = ["main"]


def main() -> None:
    """Run it, with the working directory among the places where domains are found."""
    # Here, so that a program which imports a module of this package does not load them all.
    from cim_domain.cli.app import app  # noqa: PLC0415
    from cim_domain.cli.places import find_domains_in  # noqa: PLC0415

    find_domains_in(os.getcwd())  # noqa: PTH109 - a string is what goes there
    app()

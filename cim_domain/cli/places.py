"""Where Python finds domains: those that are installed, and those in the working directory."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pkgutil import extend_path

PACKAGES = ("aggregates", "projections")


def find_domains_in(directory: str) -> None:
    """Have ``aggregates/NAME`` and ``projections/NAME`` in a directory found, too.

    The directory comes last, so that no file in it shadows a module that is installed.
    """
    if directory not in sys.path:
        sys.path.append(directory)
    for name in PACKAGES:
        if find_spec(name) is not None:
            package = import_module(name)
            package.__path__ = extend_path(package.__path__, name)

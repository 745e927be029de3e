"""Where Python finds domains: those that are installed, and those in the working directory."""

import sys
from contextlib import suppress
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pkgutil import extend_path

from cim_domain.model.discovery import READ_SIDE, WRITE_SIDE

PACKAGES = (WRITE_SIDE, READ_SIDE)


def find_code_in(directory: str) -> None:
    """Have the modules in a directory found, before others as with ``python -m``.

    Its `aggregates` and `projections` join those that are installed, also where an `__init__.py`
    in one of them would have Python look no further.
    """
    if directory not in sys.path:
        sys.path.insert(0, directory)
        invalidate_caches()
    for name in PACKAGES:
        # Whatever is wrong with such a file is told once the package is needed.
        with suppress(Exception, SystemExit):
            _join(name)


def _join(name: str) -> None:
    """Have a package that one directory has to itself be that of all directories."""
    spec = find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        package = import_module(name)
        found = list(package.__path__)
        joined = extend_path(found, name)
        if joined != found:
            package.__path__ = joined

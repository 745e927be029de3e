"""The write side of each domain: `aggregates.nix` is that of the domain `nix`.

A domain of one's own may stand in a directory of the same name elsewhere, such as the working
directory: all of them together are this package.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

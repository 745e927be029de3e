"""The system that something is built for, ``architecture-kernel``.

Nix takes any text for one and fails only when it builds. The list is closed instead, so that
``x86_64-linus`` is refused where it enters. It is the systems that nixpkgs exposes to flakes.
"""

from typing import Final, Literal, get_args

System = Literal[
    "x86_64-linux",
    "aarch64-linux",
    "i686-linux",
    "armv6l-linux",
    "armv7l-linux",
    "riscv64-linux",
    "powerpc64le-linux",
    "x86_64-darwin",
    "aarch64-darwin",
    "x86_64-freebsd",
]

SYSTEMS: Final[tuple[System, ...]] = get_args(System)

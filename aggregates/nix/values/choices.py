"""Values that are one of a few."""

from enum import StrEnum


class FlakeTemplate(StrEnum):
    """What a new flake starts from."""

    RUST = "rust"
    PYTHON = "python"
    NODEJS = "nodejs"
    GO = "go"
    CPP = "cpp"
    HASKELL = "haskell"
    POLYGLOT = "polyglot"
    NIXOS = "nixos"
    HOME_MANAGER = "home-manager"
    DEVSHELL = "devshell"


class ActivationType(StrEnum):
    """How a configuration takes effect, in the words of ``switch-to-configuration``."""

    SWITCH = "switch"
    """Now and at every boot; the only one that makes a generation."""
    BOOT = "boot"
    """From the next boot."""
    TEST = "test"
    """Now, until the next boot."""

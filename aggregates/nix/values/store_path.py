"""Paths in a Nix store: ``/nix/store/<digest>-<name>``.

The store directory may be another than ``/nix/store``: private stores have their own. A file
inside a store path is not a store path.
"""

import re
from typing import Annotated

from attrs import frozen
from pydantic import AfterValidator

from aggregates.nix.values.paths import MAX_PATH_BYTES, check_path
from aggregates.nix.values.refusal import refused

DEFAULT_STORE = "/nix/store"

_BASE = r"[0-9abcdfghijklmnpqrsvwxyz]{32}-(?!\.)[0-9A-Za-z+\-._?=]{1,211}"
_DEFAULT = re.compile(rf"{DEFAULT_STORE}/{_BASE}")
_ANY = re.compile(rf"(/.+)/{_BASE}", re.DOTALL)
_DIGEST_LENGTH = 32


@frozen
class StorePathParts:
    """A store path taken apart; `str` puts it together again."""

    directory: str
    digest: str
    """32 characters of Nix's base 32, which has no e, o, t and u."""
    name: str

    def __str__(self) -> str:
        return f"{self.directory}/{self.digest}-{self.name}"


def check_store_path(text: str) -> str:
    """Give back `text` if it is a store path; raises a `ValueError`."""
    if _DEFAULT.fullmatch(text):
        return text
    if len(text) <= MAX_PATH_BYTES and (found := _ANY.fullmatch(text)):
        check_path(found[1], "store_path")
        return text
    raise refused(
        "store_path",
        f"is not a store path; expected at most {MAX_PATH_BYTES} bytes: a store directory such as "
        f"{DEFAULT_STORE}, '/', 32 characters of Nix's base 32 (digits and lower case letters but "
        "e, o, t, u), '-', and a name of at most 211 letters, digits or '+', '-', '.', '_', '?', "
        "'=' that does not begin with '.'",
    )


def check_drv_path(text: str) -> str:
    """Give back `text` if it is the store path of a derivation; raises a `ValueError`."""
    check_store_path(text)
    if not text.endswith(".drv") or parse_store_path(text).name == ".drv":
        raise refused("drv_path", "does not end in '.drv'; expected the store path of a derivation")
    return text


def parse_store_path(text: str) -> StorePathParts:
    """Take a store path apart; raises a `ValueError`."""
    directory, _, base = check_store_path(text).rpartition("/")
    return StorePathParts(directory, base[:_DIGEST_LENGTH], base[_DIGEST_LENGTH + 1 :])


StorePath = Annotated[str, AfterValidator(check_store_path)]
DrvPath = Annotated[str, AfterValidator(check_drv_path)]

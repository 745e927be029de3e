"""Names of modules, overlays, configurations, of a flake's inputs, of a derivation's outputs."""

import re
from typing import Annotated

from pydantic import AfterValidator

from aggregates.nix.values.refusal import refused, shown
from aggregates.nix.values.text import CONTROL, refuse_control_characters

MAX_NAME_CHARACTERS = 255

_NAME = re.compile(rf"(?![-\s])[^{CONTROL}]{{1,{MAX_NAME_CHARACTERS}}}(?<!\s)")
_INPUT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OUTPUT = re.compile(r"[0-9A-Za-z_+?=][0-9A-Za-z_+?=.-]{0,210}")
_NOT_AN_INPUT = frozenset({"let", "in", "if", "then", "else", "assert", "with", "rec", "inherit"})


def check_name(text: str) -> str:
    """Give back `text` if it can name a module, an overlay or a configuration.

    1 to 255 characters on one line, no white space at its ends (nobody can see it), no leading
    ``-``. Dots, spaces, slashes and Unicode are fine, so a name is no file name.
    """
    if _NAME.fullmatch(text):
        return text
    if not text:
        raise refused("name", f"is empty; expected 1 to {MAX_NAME_CHARACTERS} characters")
    if len(text) > MAX_NAME_CHARACTERS:
        raise refused("name", f"is longer than {MAX_NAME_CHARACTERS} characters")
    refuse_control_characters("name", text)
    if text.startswith("-"):
        raise refused("name", "begins with '-' and would be taken for an option")
    raise refused("name", f"begins or ends with white space; expected {shown(text.strip())}")


def check_input_name(text: str) -> str:
    """Give back `text` if a flake's inputs can have it as an attribute's name, unquoted."""
    if len(text) > MAX_NAME_CHARACTERS:
        raise refused("input_name", f"is longer than {MAX_NAME_CHARACTERS} characters")
    if not _INPUT.fullmatch(text):
        raise refused(
            "input_name",
            "is not a Nix identifier; expected a letter, then letters, digits, '_' or '-'",
        )
    if text in _NOT_AN_INPUT or text in ("or", "self"):
        raise refused(
            "input_name", f"{text!r} has a meaning of its own in Nix; expected another name"
        )
    return text


def check_output_name(text: str) -> str:
    """Give back `text` if a derivation's output can be called so: ``out``, ``dev``, ``lib.so``."""
    if not _OUTPUT.fullmatch(text):
        raise refused(
            "output_name",
            "is not the name of an output; expected at most 211 letters, digits or "
            "'+', '-', '.', '_', '?', '=', not beginning with '-' or '.'",
        )
    return text


ModuleName = Annotated[str, AfterValidator(check_name)]
OverlayName = Annotated[str, AfterValidator(check_name)]
ConfigName = Annotated[str, AfterValidator(check_name)]
InputName = Annotated[str, AfterValidator(check_input_name)]
OutputName = Annotated[str, AfterValidator(check_output_name)]

"""Absolute POSIX paths that are natural keys, so each has one spelling.

A second spelling (``/srv/web/``, ``/srv//web``, ``/srv/./web``) is refused with the canonical one
in the message rather than changed: the key a client counts on stays the one it sent. ``..`` cannot
be resolved without looking at links, so it is refused too. Unicode is taken as it is, since a file
system tells composed and decomposed letters apart.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

from aggregates.nix.values.refusal import refused, shown
from aggregates.nix.values.text import CONTROL, refuse_control_characters

MAX_PATH_BYTES = 4096
MAX_SEGMENT_BYTES = 255

_CANONICAL = re.compile(rf"(?:/(?!\.\.?(?:/|\Z))[^/{CONTROL}]{{1,{MAX_SEGMENT_BYTES}}})+")


def check_path(text: str, kind: str = "path") -> str:
    """Give back `text` if it is an absolute path in canonical spelling.

    At most 4096 bytes, each segment at most 255, in UTF-8; spaces, dots and Unicode are fine, the
    root itself is not. Raises a `ValueError` of type `kind`.
    """
    if (
        len(text) <= MAX_PATH_BYTES
        and _CANONICAL.fullmatch(text)
        and (text.isascii() or _fits(text))
    ):
        return text
    raise refused(kind, _why_not(text, kind))


def _fits(text: str) -> bool:
    return len(text.encode()) <= MAX_PATH_BYTES and all(
        len(segment.encode()) <= MAX_SEGMENT_BYTES for segment in text.split("/")
    )


def _why_not(text: str, kind: str) -> str:
    if not text.startswith("/"):
        return "is not absolute; expected a path that begins with '/', such as /srv/web"
    if len(text) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    refuse_control_characters(kind, text)
    segments = text.split("/")
    if ".." in segments:
        return "has a '..' segment; expected the path it leads to"
    canonical = "/" + "/".join(segment for segment in segments if segment not in ("", "."))
    if canonical == "/":
        return "is the root directory; expected a path below it, such as /srv/web"
    if canonical != text:
        return f"is not in canonical spelling; expected {shown(canonical)}"
    return f"is longer than {MAX_PATH_BYTES} bytes, or a segment is than {MAX_SEGMENT_BYTES} bytes"


FlakePath = Annotated[str, AfterValidator(check_path)]
"""The directory of a flake, or any other absolute path that a message names."""

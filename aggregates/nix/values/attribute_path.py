"""Attribute paths of a flake's outputs: ``packages.x86_64-linux."a.b".default``.

A segment is an identifier or digits, else in double quotes; inside those there is no escape, so no
name with a quote can be written. Quotes that are not needed are kept: it prints what it parsed.
"""

import re
from functools import lru_cache
from typing import Annotated, Self
from urllib.parse import quote

from attrs import frozen
from pydantic import AfterValidator

from aggregates.nix.values.refusal import refused
from aggregates.nix.values.text import CONTROL, refuse_control_characters

MAX_ATTRIBUTE_CHARACTERS = 1024

_PLAIN = r"[A-Za-z_][A-Za-z0-9_'-]*|[0-9]+"
_QUOTED = rf'"[^"{CONTROL}]+"'
_PLAIN_SEGMENT = re.compile(_PLAIN)
_SEGMENT = re.compile(f"{_PLAIN}|{_QUOTED}")
_PATH = re.compile(rf"(?:{_PLAIN}|{_QUOTED})(?:\.(?:{_PLAIN}|{_QUOTED}))*")


@frozen
class Segment:
    """One name of an attribute path, and whether it is written in quotes."""

    name: str
    quoted: bool = False

    def __str__(self) -> str:
        return f'"{self.name}"' if self.quoted else self.name


@frozen
class AttributePathParts:
    """An attribute path taken apart; `str` prints what was parsed.

    One that exists is valid: the constructor raises a `ValueError` for what cannot be written.
    """

    segments: tuple[Segment, ...]

    def __attrs_post_init__(self) -> None:
        check_attribute_path(str(self))
        for segment in self.segments:
            if not _SEGMENT.fullmatch(str(segment)):
                raise refused("attribute_path", "a segment is empty, or needs quotes and has none")

    @classmethod
    def of(cls, *names: str) -> Self:
        """The path of these names, in quotes where they need them; raises a `ValueError`."""
        return cls(tuple(Segment(name, not _PLAIN_SEGMENT.fullmatch(name)) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        """The names without quotes; two paths to the same attribute have the same ones."""
        return tuple(segment.name for segment in self.segments)

    def __str__(self) -> str:
        return ".".join(map(str, self.segments))

    def fragment(self) -> str:
        """The path percent-encoded, to stand after ``#`` on a command line."""
        return quote(str(self), safe="")


def check_attribute_path(text: str) -> str:
    """Give back `text` if it is an attribute path, at most 1024 characters; raises `ValueError`."""
    if len(text) > MAX_ATTRIBUTE_CHARACTERS:
        raise refused("attribute_path", f"is longer than {MAX_ATTRIBUTE_CHARACTERS} characters")
    if _PATH.fullmatch(text):
        return text
    refuse_control_characters("attribute_path", text)
    raise refused(
        "attribute_path",
        "is not an attribute path; expected names joined by single dots, such as "
        'packages.x86_64-linux.default, a name in double quotes ("a.b") unless it is digits, or '
        "begins with a letter or '_' and goes on with letters, digits, '_', '-' or \"'\"",
    )


def parse_attribute_path(text: str) -> AttributePathParts:
    """Take an attribute path apart; raises a `ValueError`."""
    return _parsed(text)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> AttributePathParts:
    written = _SEGMENT.findall(check_attribute_path(text))
    return AttributePathParts(
        tuple(Segment(part.strip('"'), quoted=part.startswith('"')) for part in written)
    )


AttributePath = Annotated[str, AfterValidator(check_attribute_path)]

"""Text for people: descriptions, messages, log tails. It never reaches a command line.

Newlines and all of Unicode are fine; NUL is refused because databases and terminals end text
there. Lone surrogates, which UTF-8 does not have, pydantic refuses where a length is given.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from aggregates.nix.values.refusal import refused

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""What no value on one line may hold, as part of a regex's character class: control characters
(C0, DEL, C1), Unicode's line and paragraph separators, lone surrogates."""

_CONTROL = re.compile(f"[{CONTROL}]")


def refuse_control_characters(kind: str, text: str) -> None:
    """Raise a `ValueError` that names the first control character of `text`, if it has one."""
    if found := _CONTROL.search(text):
        raise refused(
            kind,
            f"holds the control character U+{ord(found[0]):04X} at position {found.start()}; "
            "expected text on one line without control characters",
        )


def _safe(text: str) -> str:
    if "\0" in text:
        raise refused(
            "text", f"holds NUL at position {text.index(chr(0))}; expected text without it"
        )
    return text


SafeText = Annotated[str, StringConstraints(max_length=16_384), AfterValidator(_safe)]
"""At most 16,384 characters; may be empty."""

Description = Annotated[str, StringConstraints(max_length=4_096), AfterValidator(_safe)]
"""At most 4,096 characters; may be empty."""

LogTail = Annotated[str, StringConstraints(max_length=131_072), AfterValidator(_safe)]
"""The last lines of a log, at most 131,072 characters; whoever reports it cuts it to that."""

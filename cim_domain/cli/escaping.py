"""Text from elsewhere, made fit for a terminal: nothing in it moves a cursor or hides a letter."""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, invisible formats such as changes of direction, half pairs, separators of lines."""

_ASCII = re.compile(r"[\x20-\x7e]*")


def escaped(text: str, *, lines: bool = False) -> str:
    r"""`text` with what cannot be seen written as an escape, ``\x1b``.

    With `lines`, line breaks stay.
    """
    if _ASCII.fullmatch(text):
        return text
    return "".join(
        _escaped(one)
        if unicodedata.category(one) in _HIDDEN and not (lines and one == "\n")
        else one
        for one in text
    )


def escaped_json(text: str) -> str:
    r"""JSON with the same written as JSON does, ``\u001b``: it reads back as it was."""
    if _ASCII.fullmatch(text):
        return text
    return "".join(
        _json_escaped(one) if unicodedata.category(one) in _HIDDEN and one != "\n" else one
        for one in text
    )


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode()


def _json_escaped(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

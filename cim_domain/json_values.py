"""Values of a model as JSON has them: what it does not have becomes text."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from enum import Enum
from typing import Any
from uuid import UUID

_WRITTEN = (bool, float, date, datetime, time, UUID)
"""What the writer of JSON knows, beside what is looked into here."""


def json_value(value: Any) -> Any:
    """The same as JSON can hold it: integers of 64 bits, text in UTF-8, keys that are text.

    Sets become lists, in no order; what JSON does not know is written as `str` writes it.
    """
    if value is None or isinstance(value, _WRITTEN):
        return value
    if isinstance(value, Enum):
        return json_value(value.value)
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, Mapping):
        return {plain_text(str(key)): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [json_value(one) for one in value]
    return plain_text(str(value))


def plain_text(text: str) -> str:
    """The text, with ``?`` for what UTF-8 cannot hold: halves of characters."""
    return text if text.isascii() else text.encode(errors="replace").decode()

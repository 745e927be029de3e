"""What a command is, in 16 characters: so that another one under its id is not taken for it."""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import orjson

from cim_domain.model.messages import Command

_BYTES = 12


def command_digest(command: Command) -> str:
    """Of a command's type and of what its sender gave, in whatever order.

    What was left out counts as its default, so that a field more does not change it.
    """
    given = command.__pydantic_serializer__.to_python(
        command, exclude_unset=True, exclude_defaults=True
    )
    try:
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        data = orjson.dumps([command.message_type, given], default=_in_order, option=options)
    except TypeError:
        # What orjson has no word for, such as a number of more than 64 bits.
        data = repr((command.message_type, given)).encode("utf-8", "backslashreplace")
    return urlsafe_b64encode(blake2b(data, digest_size=_BYTES).digest()).decode()


def _in_order(value: Any) -> Any:
    # A set has another order in every process.
    return sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else str(value)

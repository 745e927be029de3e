"""What a failure in a model's code is told as.

To those who ask, and in dead letters, it names the field or the line that it is about and none of
the values, which may be anybody's. The service's log has all of it.
"""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cim_domain.errors import RequestError

_OWN_WORDS = {"value_error", "assertion_error"}
"""Kinds of problems whose text is a validator's own: it may repeat the value."""

_MANY = 20
_LONG = 1000


def cause(error: BaseException) -> str:
    """The field or the line, and what is wrong with it; never a value."""
    if isinstance(error, RequestError):
        return error.message
    if isinstance(error, ValidationError):
        fields = problems(error)
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        first = fields[0]
        place = f"{first['path']}: " if first["path"] else ""
        return f"{place}{first['message']}{more}"
    return f"{type(error).__name__}{_line(error)}"


def cause_with_text(error: BaseException) -> str:
    """The same with the exception's own words, for those who run the code that raised it."""
    text = " ".join(str(error).split())[:_LONG]
    if isinstance(error, RequestError | ValidationError) or not text:
        return cause(error)
    return f"{type(error).__name__}: {text}{_line(error)}"


def problems(error: ValidationError) -> Sequence[Mapping[str, Any]]:
    """`path` and `message` of the first fields that do not fit."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {
            "path": ".".join(map(str, one["loc"])),
            "message": "a validator refuses it" if one["type"] in _OWN_WORDS else one["msg"],
        }
        for one in found[:_MANY]
    ]


def _line(error: BaseException) -> str:
    """` (order.py:40)`: the last line of the model's own that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if "site-packages" not in one.filename and _is_file(one.filename)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _is_file(name: str) -> bool:
    return not name.startswith("<")

"""What a failure in a model's code is: an `Exception`, whatever it raises; and what it is told as.

To those who ask, and in dead letters, it names the field or the line that it is about and none of
the values, which may be anybody's. The service's log has all of it.
"""

import asyncio
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from cim_domain.errors import ModelError, RequestError

_OWN_WORDS = {"value_error", "assertion_error"}
"""Kinds of problems whose text is a validator's own: it may repeat the value."""

_STANDARD_LIBRARY = str(Path(asyncio.__file__).parents[1])

_MANY = 20
_LONG = 1000


class ModelEnded(Exception):
    """A model's code raised what is no `Exception`, such as `SystemExit`: its `__cause__`."""


class _ModelCode:
    """A block that runs a model's code, as often as need be: what is raised in it is the message's.

    What is no `Exception` would end the task, or the whole process, in which many others wait.
    """

    def __init__(self, *, awaits: bool) -> None:
        self._awaits = awaits

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):
            return
        if self._awaits and _ends_the_task(error):
            return
        raise ModelEnded(f"it raised {type(error).__name__}") from error


model_code = _ModelCode(awaits=False)
"""`with model_code:` around what is called: nothing is awaited there, so nobody cancels it."""

awaited_model_code = _ModelCode(awaits=True)
"""`with awaited_model_code:` around what is awaited, which may be cancelled from outside, too."""


def _ends_the_task(error: BaseException) -> bool:
    """Whether somebody wants the task to end that awaits it: not the code that it awaits."""
    if isinstance(error, GeneratorExit):
        return True
    task = asyncio.current_task()
    ending = task is not None and task.cancelling() > 0
    return isinstance(error, asyncio.CancelledError) and ending


def cause(error: BaseException) -> str:
    """The field or the line, and what is wrong with it; never a value."""
    error = _raised(error)
    if isinstance(error, RequestError):
        return error.message
    if isinstance(error, ModelError):
        return f"{'; '.join(error.mistakes)}{_line(error)}"
    if isinstance(error, ValidationError):
        fields = problems(error)
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        first = fields[0]
        place = f"{first['path']}: " if first["path"] else ""
        return f"{place}{first['message']}{more}"
    return f"{type(error).__name__}{_line(error)}"


def cause_with_text(error: BaseException) -> str:
    """The same with the exception's own words, for those who run the code that raised it."""
    error = _raised(error)
    text = " ".join(str(error).split())[:_LONG]
    if isinstance(error, ModelError | RequestError | ValidationError) or not text:
        return cause(error)
    return f"{type(error).__name__}: {text}{_line(error)}"


def _raised(error: BaseException) -> BaseException:
    return error.__cause__ or error if isinstance(error, ModelEnded) else error


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
    own = [one for one in frames if _is_own(one.filename)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _is_own(file: str) -> bool:
    """Whether somebody wrote it for this model: no library, nor what has no file."""
    return "site-packages" not in file and not file.startswith(("<", _STANDARD_LIBRARY))

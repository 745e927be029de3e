"""How a value object says no: a `ValueError` that pydantic reports at the field's path.

A sentence says what is wrong and what is expected. It may show a path or a name, which are no
secrets; of a URL it never shows more than a parameter's name, and pydantic's own copy of the input
is replaced too, since credentials are put into URLs by mistake.
"""

from collections.abc import Callable

from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

_SHOWN_CHARACTERS = 200
_HIDDEN = "(not shown)"


def refused(kind: str, sentence: str) -> PydanticCustomError:
    """The error to raise; `kind` is its type for programs, such as ``flake_path``."""
    return PydanticCustomError(kind, sentence)


def shown(text: str) -> str:
    """`text` in quotes, unprintable characters escaped, cut to 200 characters."""
    cut = text[:_SHOWN_CHARACTERS]
    return f"{cut!r} ..." if len(text) > len(cut) else repr(cut)


def url_validator(kind: str, check: Callable[[str], object]) -> BeforeValidator:
    """A validator that keeps a URL out of the errors about it, also out of their `input`.

    It runs before pydantic's own check for text, whose errors would show the input.
    """

    def validate(value: object) -> str:
        try:
            if not isinstance(value, str):
                raise refused(kind, "must be text")
            check(value)
        except PydanticCustomError as error:
            raise ValidationError.from_exception_data(
                kind, [{"type": error, "loc": (), "input": _HIDDEN}]
            ) from None
        return value

    return BeforeValidator(validate)

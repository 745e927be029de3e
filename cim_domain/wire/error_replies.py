"""Reading the error part of a reply back into the error it tells of."""

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from cim_domain.errors import (
    Busy,
    Conflict,
    Failed,
    Invalid,
    NotFound,
    Rejected,
    RequestError,
    Unavailable,
)

_BY_HTTP: dict[int, type[RequestError]] = {
    error.http: error
    for error in (Invalid, NotFound, Conflict, Rejected, Busy, Failed, Unavailable)
}


class ErrorPart(BaseModel):
    """``{code, message, details}``"""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class _Body(BaseModel):
    error: ErrorPart


def error_of(part: ErrorPart, http: int) -> RequestError:
    """The error that a part of a reply describes, of the class that its number stands for."""
    cls = _BY_HTTP.get(http, Failed)
    error = cls.__new__(cls)
    # Not by the class itself: `Rejected` takes its details as keywords, which cannot all be names.
    RequestError.__init__(error, part.message, code=part.code, details=part.details)
    return error


def read_error(data: bytes, http: int, text: str) -> RequestError:
    """The error in a reply; where its payload tells none, as of other services, the text is used.

    `http` and `text` are what the headers ``Nats-Service-Error-Code`` and ``-Error`` say.
    """
    try:
        part = _Body.model_validate_json(data).error
    except ValidationError:
        part = ErrorPart(code=_BY_HTTP.get(http, Failed).default_code, message=text or "no reason")
    return error_of(part, http)


def bad_reply(what: str) -> Failed:
    """The error for a reply that is none of this kit's."""
    return Failed(f"something answered that is not a service of this kit: {what}", code="bad_reply")

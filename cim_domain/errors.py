"""Every error the kit raises, in one tree.

    CimError
    ├── ModelError            mistakes in a model, found when the domain is put together
    │   └── LoadError         a domain's code is not where it is said to be, or does not run
    ├── ConfigurationError    a setting, a file or a server that does not fit; nothing was started
    └── RequestError          one message could not be served; becomes the error part of its reply
        ├── Invalid           the message is not what its type declares              (400)
        ├── NotFound          no such thing to answer about, no such subject         (404)
        ├── Conflict          the aggregate is not at the version that was expected  (409)
        ├── Rejected          the domain's rules say no                              (422)
        ├── Busy              too much in flight; send it again later                (429)
        ├── Failed            the service could not; the message is not to blame     (500)
        └── Unavailable       the server or a store is away                          (503)
            └── Outdated      the code that runs here is too old; a newer one's can      (503)

A request error has a `code` for programs (lower snake case, dotted where it belongs to an
aggregate: ``flake.exists``), a `message` for people, which says what to do next where that is not
plain, and `details`, of which what JSON does not have is written as text in a reply.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from cim_domain.json_values import json_value, plain_text

Status = Literal["accepted", "rejected", "invalid", "conflict", "failed"]


class CimError(Exception):
    """Any error of the kit."""


class ModelError(CimError):
    """Mistakes in a model: a sentence for each, which names the class and the file.

    The message of several has each on a line of its own.
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__(
            "\n".join([f"{len(mistakes)} mistakes in the model:", *mistakes])
            if len(mistakes) > 1
            else "".join(mistakes)
        )
        self.mistakes = mistakes


class LoadError(ModelError):
    """A domain's code is not where it is said to be, or does not run; `code` says which."""

    def __init__(self, *mistakes: str, code: str) -> None:
        super().__init__(*mistakes)
        self.code = code


class ConfigurationError(CimError):
    """A setting, a file or a server that does not fit; the message says what to change."""


class RequestError(CimError):
    """One message could not be served."""

    status: ClassVar[Status] = "failed"
    http: ClassVar[int] = 500
    default_code: ClassVar[str] = "failed"

    def __init__(
        self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details: Mapping[str, Any] = details or {}

    def as_dict(self) -> dict[str, Any]:
        """The error part of a reply: ``{code, message, details}``."""
        return {
            "code": plain_text(self.code),
            "message": plain_text(self.message),
            "details": json_value(self.details),
        }


class Invalid(RequestError):
    """The message is not what its type declares; `details["fields"]`: path and message of each."""

    status = "invalid"
    http = 400
    default_code = "invalid"


class NotFound(RequestError):
    """There is no such thing."""

    status = "invalid"
    http = 404
    default_code = "not_found"


class Conflict(RequestError):
    """The aggregate is not at the version that was expected."""

    status = "conflict"
    http = 409
    default_code = "conflict"


class Rejected(RequestError):
    """The domain's rules say no: ``raise Rejected("flake.exists", "/srv/web has a flake")``."""

    status = "rejected"
    http = 422
    default_code = "rejected"

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message, code=code, details=details)


class Busy(RequestError):
    """Too much in flight; nothing was done, send it again later."""

    http = 429
    default_code = "busy"


class Failed(RequestError):
    """The service could not; the message is not to blame."""


class Unavailable(RequestError):
    """The server or a store is away."""

    http = 503
    default_code = "unavailable"


class Outdated(Unavailable):
    """The code that runs here is too old for it: a newer one can, now or once it is there."""

"""JetStream's API as requests: what nats-py's own methods do not offer, or do by wild guesses.

Each function sends one documented request and reads its JSON answer. An answer that says no
becomes an `ApiError` with the server's own error code.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from nats.aio.msg import Msg

from cim_domain.errors import RequestError, Unavailable
from cim_domain.nats.connection.requests import Requests


class ApiError(RequestError):
    """JetStream said no: `error_code` is its own number, such as 10071."""

    def __init__(self, subject: str, status: int, error_code: int, description: str) -> None:
        super().__init__(
            f"JetStream refused {subject}: {description} ({error_code})",
            code="jetstream",
            details={"status": status, "error_code": error_code},
        )
        self.status_code = status
        self.error_code = error_code
        self.description = description


class StorageFull(ApiError, Unavailable):
    """There is no room: an account's or a stream's limit is reached, or the disk is full.

    Trying again at once is useless; nothing was stored.
    """

    def __init__(self, subject: str, status: int, error_code: int, description: str) -> None:
        super().__init__(subject, status, error_code, description)
        self.message = (
            f"JetStream has no room ({description}): give the account, the stream or the server"
            " more storage; nothing was stored"
        )
        self.code = "log_full"


NANOSECONDS = 1_000_000_000
"""In a second; JetStream's durations are whole nanoseconds."""

STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
MESSAGE_NOT_FOUND = 10037
FULL = frozenset({10002, 10023, 10028, 10047, 10077, 10122})
"""An account's limits, a server's, or what the store itself refuses: bytes, messages, the disk."""

TOO_LARGE = frozenset({10054, 10097})
"""A stream's own limit to one message, and JetStream's to headers."""

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""The second one on replicated streams, while another write to the subject is under way."""


async def call(
    requests: Requests,
    operation: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout: float = 5.0,  # noqa: ASYNC109
) -> dict[str, Any]:
    """Call ``$JS.API.{operation}``. Raises `ApiError` and `NoAnswer`."""
    subject = f"$JS.API.{operation}"
    payload = b"" if body is None else orjson.dumps(body)
    return answer_of(subject, await requests.one(subject, payload, timeout=timeout))


def answer_of(subject: str, message: Msg) -> dict[str, Any]:
    """The JSON of an API answer or of a publish acknowledgement. Raises `ApiError`."""
    try:
        answer = orjson.loads(message.data) if message.data else {}
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiError(subject, 500, 0, "something answered that is not JetStream")
    error = answer.get("error")
    if error:
        number = error.get("err_code", 0)
        kind = StorageFull if number in FULL else ApiError
        raise kind(
            subject, error.get("code", 500), number, error.get("description", "no description")
        )
    return answer

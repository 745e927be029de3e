"""Reading a stored message from the leader of its stream, who knows what is stored last."""

import base64
from collections.abc import Mapping
from typing import Any

from cim_domain.nats.connection.headers import lines_of, read_headers
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.nats.connection.requests import Requests
from cim_domain.nats.jetstream.api import MESSAGE_NOT_FOUND, ApiError, call
from cim_domain.nats.jetstream.direct import StoredMessage

TIME = "Nats-Time-Stamp"
"""The header in which a direct get says when the message was stored; so does what is read here."""


async def newest_on(requests: Requests, stream: str, subject: str) -> StoredMessage | None:
    """The newest message of a subject, if there is one. Raises `ApiError` and `NoAnswer`."""
    return await _get(requests, stream, {"last_by_subj": subject})


async def next_on(
    requests: Requests, stream: str, subject: str, start: int
) -> StoredMessage | None:
    """The first message of an exact subject from a sequence on. Raises as the others do."""
    return await _get(requests, stream, {"seq": start, "next_by_subj": subject})


async def message_at(requests: Requests, stream: str, sequence: int) -> StoredMessage | None:
    """The message at a place, unless it is no longer there. Raises `ApiError` and `NoAnswer`."""
    return await _get(requests, stream, {"seq": sequence})


async def _get(requests: Requests, stream: str, which: Mapping[str, Any]) -> StoredMessage | None:
    try:
        answer = await call(requests, f"STREAM.MSG.GET.{stream}", which)
    except ApiError as error:
        if error.error_code == MESSAGE_NOT_FOUND:
            return None
        raise
    found = answer["message"]
    # Where a header comes twice, nobody may take either value for the one that was meant.
    headers = LazyHeaders(
        lines_of(base64.b64decode(found.get("hdrs", ""))), read_headers
    ).combined()
    return StoredMessage(
        subject=found["subject"],
        sequence=found["seq"],
        headers={**headers, TIME: found["time"]},
        data=base64.b64decode(found.get("data", "")),
    )

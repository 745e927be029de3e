"""How a client's requests are sent, again while nobody is there, and what errors come back."""

import asyncio
import random
import re
from collections.abc import Mapping
from itertools import count

from nats.aio.msg import Msg

from cim_domain.backoff import Backoff
from cim_domain.errors import RequestError
from cim_domain.nats.connection.connect import check_header, check_size
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import Denied, NoAnswer
from cim_domain.wire.codec import ERROR, ERROR_CODE
from cim_domain.wire.error_replies import read_error
from cim_domain.wire.own_metadata import OwnMetadata

BETWEEN = Backoff(first_delay=0.05, ceiling=0.5)
"""How long it is between a request that found nobody and the next."""

NUMBER = re.compile(r"[0-9]{1,18}")

_REPLY = "_" * 64
"""As long as any subject of replies."""


class RetriedRequests:
    """Requests over a link: `timeout` is the seconds for one answer, `retry` those for retrying."""

    def __init__(self, link: Link, timeout: float, retry: float) -> None:
        self._link = link
        self._timeout = timeout
        self._retry = retry

    async def one(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        timeout: float | None,  # noqa: ASYNC109
    ) -> Msg:
        """The reply to a request. Raises `Invalid` where it is too large, and `NoAnswer`."""
        check_size(self._link.client, subject, data, headers or None, reply=_REPLY)
        clock = asyncio.get_running_loop().time
        end = clock() + self._retry
        lost: NoAnswer | None = None
        for attempt in count():
            try:
                return await self._link.requests.one(
                    subject, data, headers=headers, timeout=timeout or self._timeout
                )
            except Denied:
                raise
            except NoAnswer as error:
                if error.code == "disconnected":
                    lost = error
                delay = BETWEEN.delay(attempt, random.random())  # noqa: S311 - out of step
                if error.code == "timeout" or clock() + delay >= end:
                    # Once it may have arrived, that nobody is there now does not undo it.
                    raise _worded(lost or error, subject) from error
            await asyncio.sleep(delay)
        raise AssertionError("count() does not end")


def headers_of(values: Mapping[str, object]) -> dict[str, str]:
    """Those that have a value. Raises `Invalid` for a value that a header cannot have."""
    headers = {name: str(value) for name, value in values.items() if value is not None}
    for name, value in headers.items():
        check_header(name, value)
    return headers


def own_headers(actor_id: str | None, meta: Mapping[str, str] | None) -> dict[str, str]:
    """Who does it, and what else is said of it. Raises `Invalid` for what may not be said."""
    return OwnMetadata(actor_id, meta or {}).headers()


def error_number(reply: Msg) -> int | None:
    """The number of the error in a reply; None where it tells of none."""
    found = (reply.headers or {}).get(ERROR_CODE)
    if found is None:
        return None
    return int(found) if NUMBER.fullmatch(found) else 500


def error_in(reply: Msg) -> RequestError:
    """The error that a reply tells of."""
    return read_error(reply.data, error_number(reply) or 500, (reply.headers or {}).get(ERROR, ""))


def _worded(error: NoAnswer, subject: str) -> NoAnswer:
    if error.code != "no_responders":
        return NoAnswer(f"{subject}: {error.message}", code=error.code)
    return NoAnswer(f"no service answers on {subject}: start it, then try again", code=error.code)


def without_outcome(error: NoAnswer, command_id: str) -> NoAnswer:
    """The error of a command without a reply, with the id under which to send it again."""
    details = {"command_id": command_id}
    if error.code in {"no_responders", "permission_denied"}:
        return NoAnswer(error.message, code=error.code, details=details)
    return NoAnswer(
        f"{error.message}; whether the command had an effect is unknown until it is sent again with"
        f" the same id, {command_id}",
        code=error.code,
        details=details,
    )

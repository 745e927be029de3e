"""Whether the log at hand is still the one that was found at first.

A connection that comes back may lead elsewhere: to a server that was set up anew, or to a leaf node
with a JetStream of its own, where a stream of the same name is another log; or to the same log,
brought back from an older copy, which lacks the events that were seen last. Whoever reads or writes
asks here before, and the server is asked once a connection.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from attrs import define, field

from cim_domain.errors import ConfigurationError, Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import StoredMessage
from cim_domain.nats.jetstream.leader_reads import message_at
from cim_domain.store.jetstream.stream import log_identity
from cim_domain.store.port import LogIdentity
from cim_domain.wire.codec import EVENT_ID, read_event

_NEVER = 0


class Seen(NamedTuple):
    """An event that was in the log."""

    sequence: int
    event_id: str


@define(eq=False)
class KnownLog:
    """The log that was found at first; what works on it checks that it is still there."""

    _link: Link
    _subjects: Subjects
    _answer: float
    """Seconds for one answer of the server."""
    identity: LogIdentity | None = field(default=None, init=False)
    domain: str | None = field(default=None, init=False)
    """The JetStream domain of the server, if that has one."""
    last: Seen = field(default=Seen(0, ""), init=False)
    """The furthest event that was seen: acknowledged, or read."""
    _checked: int = field(default=_NEVER, init=False)
    """The connection on which it was looked at last."""

    async def check(self) -> LogIdentity:
        """Which log it is, on the connection at hand.

        Nothing is waited for behind the look, so that what is sent next goes to that log. Raises
        `Failed` (``another_log``) for what the kit has not made, and `Unavailable` (``other_log``)
        for another log than the first, or the first set back; `ApiError` and `NoAnswer` where that
        cannot be told now.
        """
        client = self._link.client
        while self.identity is None or self._checked != client.connections:
            connection = client.connections
            # Before it is asked: what is stored meanwhile need not be in the answer.
            last = self.last
            found = await self._ask()
            there = await self._has(last, found["state"])
            if connection == client.connections:
                self._take(found)
                if not there:
                    raise self._set_back(last)
                self._checked = connection
        return self.identity

    def doubt(self) -> None:
        """Have the server be asked anew: something else may be in the log's place."""
        self._checked = _NEVER

    def saw(self, sequence: int, event_id: str) -> None:
        """Take note of an event that is in the log."""
        if sequence > self.last.sequence:
            self.last = Seen(sequence, event_id)

    async def acknowledged(self, sequence: int, event_id: str, before: int) -> None:
        """See to it that an event's place follows `before`, the last one seen when it was sent.

        Where it does not, another log may have taken the place of this one on the same connection,
        or an older copy of it. Raises as `check` does.
        """
        if sequence <= before:
            self.doubt()
            await self.check()
        self.saw(sequence, event_id)

    async def _has(self, seen: Seen, state: Mapping[str, Any]) -> bool:
        """Whether the log at hand has an event where it was seen."""
        if seen.sequence == 0 or self.identity is None:
            return True
        if int(state["last_seq"]) < seen.sequence:
            return False
        stream = self._subjects.event_stream
        found = await message_at(self._link.requests, stream, seen.sequence)
        # An older copy that goes that far has another event there; this log has lost its own.
        return found is None or seen.event_id in self._event_ids(found)

    def _event_ids(self, found: StoredMessage) -> tuple[str | None, str]:
        """As whoever wrote it has it, and as it is read, which differs for a foreign one."""
        service = self._subjects.service
        record = read_event(found.subject, found.headers, found.data, found.sequence, service)
        return found.headers.get(EVENT_ID), record.metadata.message_id

    async def _ask(self) -> dict[str, Any]:
        return await call(
            self._link.requests,
            f"STREAM.INFO.{self._subjects.event_stream}",
            timeout=self._answer,
        )

    def _take(self, info: dict[str, Any]) -> None:
        try:
            found = log_identity(self._subjects, info["config"])
        except ConfigurationError as error:
            if self.identity is not None:
                raise self._another(str(error)) from error
            raise Failed(str(error), code="another_log") from error
        if self.identity is not None and found != self.identity:
            raise self._another(f"it is {found.log_id}")
        self.identity = found
        self.domain = info.get("domain")

    def _set_back(self, seen: Seen) -> Unavailable:
        return Unavailable(
            f"the log in {self._subjects.event_stream} does not have event {seen.sequence} as it"
            " was seen there: it was brought back from an older copy. Nothing is stored there until"
            " the service is restarted; it then goes on with the log as it is",
            code="other_log",
            details={"log": self.identity.log_id if self.identity else "", "event": seen.sequence},
        )

    def _another(self, found: str) -> Unavailable:
        log_id = self.identity.log_id if self.identity else ""
        return Unavailable(
            f"the server at hand has another log in {self._subjects.event_stream} than {log_id},"
            f" with which the service started ({found}): nothing is stored there. Bring the server"
            " of that log back, or restart the service to go on with this one",
            code="other_log",
            details={"log": log_id},
        )

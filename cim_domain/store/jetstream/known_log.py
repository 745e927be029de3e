"""Whether the log at hand is still the one that was found at first.

A connection that comes back may lead elsewhere: to a server that was set up anew, or to a leaf node
with a JetStream of its own, where a stream of the same name is another log. Whoever reads or writes
asks here before, and the server is asked once a connection.
"""

from typing import Any

from attrs import define, field

from cim_domain.errors import ConfigurationError, Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.store.jetstream.stream import log_identity
from cim_domain.store.port import LogIdentity

_NEVER = 0


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
    highest: int = field(default=0, init=False)
    """The last sequence that was acknowledged."""
    _checked: int = field(default=_NEVER, init=False)
    """The connection on which it was looked at last."""

    async def check(self) -> LogIdentity:
        """Which log it is, on the connection at hand.

        Nothing is waited for behind the look, so that what is sent next goes to that log. Raises
        `Failed` (``another_log``) for what the kit has not made, and `Unavailable` (``other_log``)
        for another log than the first; `ApiError` and `NoAnswer` where that cannot be told now.
        """
        client = self._link.client
        while self.identity is None or self._checked != client.connections:
            connection = client.connections
            found = await self._ask()
            if connection == client.connections:
                self._take(found)
                self._checked = connection
        return self.identity

    def doubt(self) -> None:
        """Have the server be asked anew: something else may be in the log's place."""
        self._checked = _NEVER

    async def acknowledged(self, sequence: int, before: int) -> None:
        """See to it that an event's place follows `before`, the highest when it was sent.

        Where it does not, another log may have taken the place of this one on the same connection.
        Raises as `check` does.
        """
        if sequence > before:
            self.highest = max(self.highest, sequence)
            return
        self.doubt()
        await self.check()
        # The same log, brought back from an older copy.
        self.highest = sequence

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

    def _another(self, found: str) -> Unavailable:
        log_id = self.identity.log_id if self.identity else ""
        return Unavailable(
            f"the server at hand has another log in {self._subjects.event_stream} than {log_id},"
            f" with which the service started ({found}): nothing is stored there. Bring the server"
            " of that log back, or restart the service to go on with this one",
            code="other_log",
            details={"log": log_id},
        )

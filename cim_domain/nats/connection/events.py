"""What happens to a connection, as events: logged, and handed to whoever wants to know."""

import logging
from collections.abc import Callable
from enum import StrEnum

from attrs import frozen
from nats.aio.client import Client

from cim_domain.nats.config.urls import redacted

logger = logging.getLogger("cim_domain.nats")


class ConnectionChange(StrEnum):
    """What can happen; `closed` is for good, `lame_duck` announces that the server will leave."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"
    LAME_DUCK = "lame_duck"
    ERROR = "error"
    CLOSED = "closed"


@frozen
class ConnectionEvent:
    """One change of a connection, or an error that no call could report."""

    change: ConnectionChange
    connection: str
    """The name the connection was given."""
    server: str | None
    """URL of the server it is connected to, without user and password; None while there is none."""
    error: Exception | None = None
    """For `error` what went wrong; for `closed` why, None when the program closed it."""


EventListener = Callable[[ConnectionEvent], None]


class EventReporter:
    """The callbacks of nats-py for one connection; quiet until it is connected the first time."""

    def __init__(self, nc: Client, name: str, on_event: EventListener | None) -> None:
        self._nc = nc
        self._name = name
        self._on_event = on_event
        self._started = False
        self._last_error = ""
        self._overcome: Exception | None = None

    async def connected(self) -> None:
        self._started = True
        self._overcome = self._nc.last_error
        self._report(ConnectionChange.CONNECTED, logging.INFO)

    async def disconnected(self) -> None:
        level = logging.INFO if self._nc.is_closed else logging.WARNING
        self._report(ConnectionChange.DISCONNECTED, level)

    async def reconnected(self) -> None:
        self._last_error = ""
        self._overcome = self._nc.last_error
        self._report(ConnectionChange.RECONNECTED, logging.INFO)

    async def lame_duck(self) -> None:
        self._report(ConnectionChange.LAME_DUCK, logging.WARNING)

    async def error(self, error: Exception) -> None:
        # The same error in a row is one line: a server that is away, a consumer that is slow.
        text = repr(error)
        level = logging.DEBUG if text == self._last_error else logging.WARNING
        self._last_error = text
        self._report(ConnectionChange.ERROR, level, error)

    async def closed(self) -> None:
        # The client never forgets the error of an attempt that a later one made good.
        error = None if self._nc.last_error is self._overcome else self._nc.last_error
        self._report(ConnectionChange.CLOSED, logging.ERROR if error else logging.INFO, error)

    def _report(self, change: ConnectionChange, level: int, error: Exception | None = None) -> None:
        if not self._started:
            return
        url = self._nc.connected_url
        event = ConnectionEvent(change, self._name, redacted(url.geturl()) if url else None, error)
        reason = f": {str(error) or type(error).__name__}" if error else ""
        at = f" ({event.server})" if event.server else ""
        logger.log(level, "NATS connection %s %s%s%s", self._name, change.value, at, reason)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            # Raised further, it would end the client's own task, and with it all reconnecting.
            logger.exception("the listener of NATS connection %s failed", self._name)

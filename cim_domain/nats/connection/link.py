"""A connection together with its requests and those who must hear when it is lost or comes back."""

from collections.abc import Callable
from typing import Self

from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.connect import connect
from cim_domain.nats.connection.events import ConnectionChange, ConnectionEvent
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.requests import Requests

_DENIALS = 5

Listener = Callable[[ConnectionChange], None]


class Link:
    """One connection to NATS, for everything that a program does over it.

    Nothing is kept for later while the server is away: a publish then fails at once, rather than
    being sent long after its caller gave up.
    """

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self.client: HardenedClient
        self.requests: Requests
        self.reconnects = 0
        self.denied: list[str] = []
        """What the server has refused this connection, in its own words; the latest few."""
        self._ready = False

    @classmethod
    async def open(
        cls,
        settings: NatsSettings,
        *,
        name: str,
        url: str | None = None,
        inbox_prefix: str | None = None,
    ) -> Self:
        """Connect; raises what `cim_domain.nats.connection.connect.connect` raises."""
        link = cls()
        link.client = await connect(
            settings,
            name=name,
            url=url,
            inbox_prefix=inbox_prefix,
            pending_size=0,
            on_event=link._changed,
        )
        link.requests = Requests(link.client)
        try:
            await link.requests.start()
        except BaseException:
            await link.client.close()
            raise
        link._ready = True
        return link

    @property
    def connected(self) -> bool:
        """Whether the server can be reached now, as far as the client knows."""
        return self.client.is_connected

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called on every change; what comes back ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def drain(self) -> None:
        """Take nothing new, let what has arrived be worked off, send what is queued, and close."""
        if self.client.is_connected:
            await self.client.drain()
        else:
            await self.close()

    async def close(self) -> None:
        """Close at once."""
        if not self.client.is_closed:
            await self.client.close()

    def _changed(self, event: ConnectionEvent) -> None:
        if not self._ready:
            return
        if event.change in {ConnectionChange.DISCONNECTED, ConnectionChange.CLOSED}:
            self.requests.connection_lost()
        elif event.change is ConnectionChange.RECONNECTED:
            self.reconnects += 1
        elif "permissions violation" in str(event.error).lower():
            # The server says it once, and nothing comes where something was waited for.
            self.requests.denied(str(event.error))
            self.denied = [*self.denied, str(event.error)[:200]][-_DENIALS:]
        for listener in tuple(self._listeners):
            listener(event.change)

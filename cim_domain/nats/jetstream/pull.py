"""Pulling messages of a consumer: always some asked for, never more than there is room for.

Large pulls with a callback are the fastest way that nats-py has. A restarted server has forgotten
what was asked for and says nothing about it, so every pull is bounded, and heartbeats that stay
away, like a lost connection, end the pulling: whoever needs more begins anew.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import NANOSECONDS, ApiError, call

HEARTBEAT = 5.0
"""Seconds after which the server says that there is nothing; twice as long without is a fault."""

EXPIRES = 6
"""So many heartbeats after which what was not delivered is asked for anew."""

PULL_IS_FULL = "Message Size Exceeds MaxBytes"
"""What the server says, with status 409, when a pull's bytes do not hold the next message."""

PULL_IS_DONE = "Batch Completed"
"""What it says, with status 409, when a pull that is bounded in bytes has all its messages."""

_DELIVERY = "$JS.ACK."
_PATIENCE = 2.2
_LEAVING = 2.0


class Pull:
    """Messages of one consumer, as they come, for as long as all is well with it.

    At most `room` messages are under way, waiting here, or `in_hand`: in the hands of whoever
    takes them, who calls `more` when there are fewer. While more than `max_bytes` wait here nothing
    is asked for, and no more than that comes for one pull. An `ephemeral` consumer goes at the end.
    """

    def __init__(
        self,
        link: Link,
        stream: str,
        consumer: str,
        room: int,
        in_hand: Callable[[], int],
        heartbeat: float = HEARTBEAT,
        *,
        max_bytes: int | None = None,
        ephemeral: bool = False,
    ) -> None:
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._farewell = f"CONSUMER.{'DELETE' if ephemeral else 'INFO'}.{stream}.{consumer}"
        self._inbox = link.client.new_inbox()
        self._room = room
        self._in_hand = in_hand
        self._heartbeat = heartbeat
        self._max_bytes = max_bytes
        self._bytes = 0
        self._asked = 0
        self._waiting: deque[Msg] = deque()
        self._heard = asyncio.Event()
        self._broken = False
        self._subscription: Subscription
        self._stop_listening: Callable[[], None]

    async def __aenter__(self) -> Self:
        self._subscription = await self._link.client.listen(self._inbox, self._receive)
        self._stop_listening = self._link.listen(self._connection_changed)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        self._broken = True
        with suppress(NatsError, Unavailable):
            try:
                await self._leave()
            finally:
                # Also while disconnected: the client would take it up again with the connection.
                await self._subscription.unsubscribe()

    async def take(self, most: int | None = None) -> list[Msg]:
        """Wait for messages and take all that are there, or so many at most; none: it is over."""
        self._ask()
        while not self._waiting:
            if self._broken:
                return []
            self._heard.clear()
            # Where nothing is asked for, because there is no room, there is nothing to hear.
            try:
                async with asyncio.timeout(_PATIENCE * self._heartbeat if self._asked else None):
                    await self._heard.wait()
            except TimeoutError:
                self._broken = True
            self._ask()
        return self.untaken(most)

    def untaken(self, most: int | None = None) -> list[Msg]:
        """Take what has come, without waiting: after the end, for handing it back."""
        count = len(self._waiting) if most is None else min(most, len(self._waiting))
        taken = [self._waiting.popleft() for _ in range(count)]
        self._bytes -= sum(map(_size, taken))
        return taken

    def more(self) -> None:
        """Hear that less is in hand, so that more can be asked for where that is worth it."""
        self._heard.set()

    async def _leave(self) -> None:
        """Return when the server knows, and all that it had sent before has arrived here."""
        # What came after the subscription's end would be nobody's until its time to be
        # acknowledged is over. nats-py's own `drain` does not wait for it; and where it waits for
        # the server (`flush`), being cancelled ends its reading: hence any request, answered
        # after what was sent before.
        await self._link.client._send_unsubscribe(self._subscription._id)  # noqa: SLF001
        with suppress(ApiError):
            await call(self._link.requests, self._farewell, timeout=_LEAVING)

    def _ask(self) -> None:
        room = self._room - self._asked - self._in_hand() - len(self._waiting)
        full = self._max_bytes is not None and self._bytes > self._max_bytes
        if self._broken or full or room < 1 or (self._asked and room < self._room // 2):
            return
        self._asked += room
        request = {
            "batch": room,
            "expires": int(EXPIRES * self._heartbeat * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * NANOSECONDS),
        }
        if self._max_bytes is not None:
            request["max_bytes"] = max(self._max_bytes, 2 * self._link.client.server_max_payload)
        try:
            self._link.client.send(self._subject, orjson.dumps(request), self._inbox)
        except NatsError:
            self._give_up()

    def _receive(self, message: Msg) -> None:
        if message.reply.startswith(_DELIVERY):
            self._asked -= 1
            self._bytes += _size(message)
            self._waiting.append(message)
        else:
            headers = message.headers or {}
            status = headers.get("Status")
            if status == "408" or headers.get("Description") in {PULL_IS_FULL, PULL_IS_DONE}:
                self._asked -= int(headers.get("Nats-Pending-Messages", "0"))
            elif status != "100":
                self._broken = True
        self._heard.set()

    def _connection_changed(self, change: ConnectionChange) -> None:
        if change in {ConnectionChange.RECONNECTED, ConnectionChange.CLOSED}:
            self._give_up()

    def _give_up(self) -> None:
        self._broken = True
        self._heard.set()


def _size(message: Msg) -> int:
    """Bytes, roughly: headers are kept as text already taken apart."""
    return len(message.data) + 1000

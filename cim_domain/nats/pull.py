"""Pulling messages of a consumer: always some asked for, never more than there is room for.

Large pulls with a callback are the fastest way that nats-py has. A restarted server has forgotten
what was asked for and says nothing about it, so every pull is bounded, and heartbeats that stay
away, like a lost connection, end the pulling: whoever needs more begins anew.
"""

import asyncio
from collections import deque
from typing import Self

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from cim_domain.nats.connection_events import ConnectionChange
from cim_domain.nats.jetstream import NANOSECONDS
from cim_domain.nats.link import Link

HEARTBEAT = 5.0
"""Seconds after which the server says that there is nothing; twice as long without is a fault."""

EXPIRES = 30.0
"""Seconds after which what was not delivered is asked for anew."""


class Pull:
    """Messages of one consumer, as they come, for as long as all is well with it.

    `room` is how many messages may be under way or in hand at a time: what is taken with `take`
    counts until it is given back with `release`.
    """

    def __init__(self, link: Link, stream: str, consumer: str, room: int) -> None:
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = link.client.new_inbox()
        self._room = room
        self._asked = 0
        self._in_hand = 0
        self._waiting: deque[Msg] = deque()
        self._heard = asyncio.Event()
        self._broken = False
        self._subscription: Subscription
        self._stop_listening = link.listen(self._connection_changed)

    async def __aenter__(self) -> Self:
        self._subscription = await self._link.client.subscribe(self._inbox, cb=self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        if self._link.connected:
            try:
                await self._subscription.unsubscribe()
            except NatsError:
                # The connection went in between; the server forgets the subscription with it.
                self._broken = True

    async def take(self, limit: int) -> list[Msg]:
        """Wait for messages and take up to `limit` of those that are there; none: it is over."""
        while not self._waiting:
            if self._broken:
                return []
            await self._ask()
            self._heard.clear()
            try:
                async with asyncio.timeout(2 * HEARTBEAT + 1):
                    await self._heard.wait()
            except TimeoutError:
                self._broken = True
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._in_hand += len(taken)
        return taken

    def untaken(self) -> list[Msg]:
        """What has come and nobody took: for handing back when there will be no more taking."""
        return list(self._waiting)

    async def release(self, number: int) -> None:
        """Give back the room of so many messages, and ask for more where that is worth it."""
        self._in_hand -= number
        await self._ask()

    async def _ask(self) -> None:
        room = self._room - self._asked - self._in_hand - len(self._waiting)
        if self._broken or room < max(1, self._room // 2):
            return
        self._asked += room
        request = {
            "batch": room,
            "expires": int(EXPIRES * NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT * NANOSECONDS),
        }
        try:
            await self._link.client.publish(self._subject, orjson.dumps(request), self._inbox)
        except NatsError:
            self._give_up()

    async def _receive(self, message: Msg) -> None:
        if message.reply:
            self._asked -= 1
            self._waiting.append(message)
        else:
            headers = message.headers or {}
            status = headers.get("Status")
            if status == "408":
                self._asked -= int(headers.get("Nats-Pending-Messages", "0"))
            elif status != "100":
                self._give_up()
        self._heard.set()

    def _connection_changed(self, change: ConnectionChange) -> None:
        if change in {ConnectionChange.RECONNECTED, ConnectionChange.CLOSED}:
            self._give_up()

    def _give_up(self) -> None:
        self._broken = True
        self._heard.set()

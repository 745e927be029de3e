"""A client that writes down everything: each attempt, and every reply to it, however late."""

import asyncio
from contextlib import suppress
from itertools import count

import nats.errors
import orjson
from attrs import define, field
from nats.aio.msg import Msg

from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.wire.codec import COMMAND_ID, ERROR_CODE, EXPECTED_VERSION, MESSAGE_ID
from cim_domain.wire.command_status import status_key
from tests.faults.verdict.history import Attempt, Kind, Reply, Sent

_PAUSE = 0.05

_AWAY = (
    nats.errors.OutboundBufferLimitError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.ConnectionReconnectingError,
)


@define(eq=False)
class Progress:
    """How many commands were accepted so far."""

    accepted: int = 0
    _waiting: list[tuple[int, asyncio.Future[None]]] = field(factory=list)

    def count(self) -> None:
        """One more."""
        self.accepted += 1
        for target, reached in self._waiting:
            if self.accepted >= target and not reached.done():
                reached.set_result(None)

    async def further(self, by: int) -> None:
        """Return when so many more were accepted."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.accepted + by, reached))
        await reached


@define(eq=False)
class Wire:
    """Sends commands over one connection."""

    link: Link
    subjects: Subjects
    progress: Progress
    _inbox: str = ""
    _connected: asyncio.Event = field(factory=asyncio.Event)
    _tokens: "count[int]" = field(factory=count)
    _attempts: dict[str, tuple[Attempt, asyncio.Future[None]]] = field(factory=dict)

    async def start(self) -> None:
        """Listen for replies."""
        self._inbox = self.link.client.new_inbox()
        await self.link.client.subscribe(f"{self._inbox}.*", cb=self._receive)
        self.link.listen(self._changed)
        self._connected.set()

    async def send(self, sent: Sent, kind: Kind, seconds: float) -> Attempt:
        """Send a command and wait for a reply, but no longer than so many seconds.

        Without a connection that time goes by first: whoever tries again lets others go on.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._connected.wait()
        loop = asyncio.get_running_loop()
        attempt = Attempt(kind, loop.time())
        sent.attempts.append(attempt)
        answered: asyncio.Future[None] = loop.create_future()
        token = str(next(self._tokens))
        self._attempts[token] = attempt, answered
        headers = {COMMAND_ID: sent.command_id}
        if sent.expected_version is not None:
            headers[EXPECTED_VERSION] = str(sent.expected_version)
        subject = self.subjects.command(sent.message_type)
        if kind == "submit":
            headers[MESSAGE_ID] = status_key(sent.command_id, None)
            subject = self.subjects.submit(sent.message_type)
        try:
            await self.link.client.publish(subject, sent.data, f"{self._inbox}.{token}", headers)
        except _AWAY:
            await asyncio.sleep(_PAUSE)
            return attempt
        await asyncio.wait([answered], timeout=seconds)
        answered.cancel()
        return attempt

    async def _receive(self, message: Msg) -> None:
        attempt, answered = self._attempts[message.subject.rpartition(".")[2]]
        reply = _read(message, asyncio.get_running_loop().time())
        attempt.replies.append(reply)
        if reply.status in {"accepted", "stored"}:
            self.progress.count()
        if not answered.done():
            answered.set_result(None)

    def _changed(self, change: ConnectionChange) -> None:
        if change is ConnectionChange.RECONNECTED:
            self._connected.set()
        elif change in {ConnectionChange.DISCONNECTED, ConnectionChange.CLOSED}:
            self._connected.clear()
            for _, answered in self._attempts.values():
                if not answered.done():
                    answered.set_result(None)


def _read(message: Msg, at: float) -> Reply:
    headers = message.headers or {}
    if not message.data:
        return Reply(at=at, status="nobody", http=int(headers.get("Status", "503")))
    content = orjson.loads(message.data)
    error = content.get("error") or {}
    if "status" not in content:
        # The answer of a stream.
        status = "refused" if error else "stored"
        code = str(error.get("err_code", ""))
        return Reply(
            at=at,
            status=status,
            code=code,
            http=503 if error else 0,
            sequence=content.get("seq"),
        )
    return Reply(
        at=at,
        status=content["status"],
        code=error.get("code", ""),
        http=int(headers.get(ERROR_CODE, "0")),
        version=content["version"],
        sequence=content["sequence"],
        events=tuple(event["id"] for event in content["events"]),
    )

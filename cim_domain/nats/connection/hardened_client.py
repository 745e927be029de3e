"""nats-py's client with what it lacks for a connection that must be encrypted, or end.

And one that other clients cannot break: nats-py stops reading, without a word, at a subject that is
no UTF-8 or a block of headers cut short, both of which servers pass on.

And a lighter one, where messages are many: `send` is `publish` without a turn of the event loop and
with headers that were written before, `listen` hands messages over as they are read, with neither
queue nor task in between.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import ParseResult

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from cim_domain.errors import Failed
from cim_domain.nats.connection.authentication import TlsFiles
from cim_domain.nats.connection.headers import FASTER, PLAIN_START, lines_of, read_headers
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.nats.connection.publications import header_block, publish_command
from cim_domain.nats.connection.strict_parser import StrictParser

READ = 256 * 1024
"""Bytes that are read at once, if there are so many: each time costs a turn of the event loop."""

_QUOTE = "'"

_NOT_LET_IN = ("authentication expired", "authentication revoked", "authorization violation")
"""What servers say, in lower case, to a connection whose user they let in no more."""

UNREADABLE_HEADERS = "X-Unreadable-Headers"
"""In the place of headers that cannot be read; in a dead letter, too."""


_STATUS = "Status"
"""What nats-py calls the number in the first line of headers that a server has made."""

_TOO_LARGE = "maximum payload violation"
"""What a server says, in lower case, before it hangs up."""


class HardenedClient(Client):
    """Mute in clear text when encryption was asked for, and never stuck after a failed handshake.

    nats-py encrypts when the server says so, whatever the URL's scheme. Whoever sits in between
    could say otherwise, and would be told the password.
    """

    def __init__(self) -> None:
        super().__init__()
        self._transport = _Transport()
        self._ps = StrictParser(self)
        self._listeners: dict[int, Callable[[Msg], None]] = {}
        self.tls_files: TlsFiles | None = None
        """Where the TLS context of each attempt to connect comes from."""
        self.queued = 0
        """Bytes of all messages that were to be sent; see `sent`."""
        self.connections = 0
        """How many were begun: what was learned of a server holds for one of them."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_limit: int | None = None
        self._limit_is_sure = False

    @property
    def sent(self) -> int:
        """How many of the bytes `queued`, about, have left this process."""
        transport = self._transport
        unsent = transport.unsent if isinstance(transport, _Transport) else 0
        return self.queued - self._pending_data_size - unsent

    @property
    def server_max_payload(self) -> int:
        """Bytes of the largest messages on this server: what its other accounts may send, too."""
        return max(self._max_payload, int(self._server_info.get("max_payload", 0)))

    def require_loop(self) -> None:
        """Raise `Failed` on another event loop: what is waited for there would never come."""
        if self._loop is not asyncio.get_running_loop():
            raise Failed(
                "this connection belongs to another event loop: open a client in each loop that"
                " uses one; a SyncDomainClient may be used from any thread",
                code="other_event_loop",
            )

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """As nats-py's."""
        self.send(subject, payload, reply, None if headers is None else header_block(headers))
        if 0 < self._max_pending_size < self._pending_data_size:
            await self._flush_pending(force_flush=True)

    def send(
        self, subject: str, payload: bytes, reply: str = "", block: bytes | None = None
    ) -> None:
        """As `publish`, at once; `block` holds the headers, see `publications`.

        Raises what nats-py's `publish` raises, but waits for nothing, however much is to be sent.
        """
        command = publish_command(subject, reply, block, payload)
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if self.is_draining_pubs:
            raise nats.errors.ConnectionDrainingError
        size = len(payload)
        if not self.is_connected and (
            self._max_pending_size <= 0 or size + self._pending_data_size > self._max_pending_size
        ):
            raise nats.errors.OutboundBufferLimitError
        if size + len(block or b"") > self._max_payload:
            raise nats.errors.MaxPayloadError
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        self._pending.append(command)
        self._pending_data_size += len(command)
        self.queued += len(command)
        if self.is_connected and self._flush_queue is not None and self._flush_queue.empty():
            # To whoever writes what is pending: once for all that comes in this turn of the loop.
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def listen(
        self, subject: str, receive: Callable[[Msg], None], queue: str = ""
    ) -> Subscription:
        """Have `receive` called with each message on a subject, as soon as it is read.

        It must not block, and what it raises is reported and does no harm.
        """
        self.require_loop()
        # The number that nats-py gives the next subscription, whose messages may come before the
        # call returns.
        number = self._sid + 1
        self._listeners[number] = receive
        try:
            return await self.subscribe(subject, queue)
        except BaseException:
            del self._listeners[number]
            raise

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        receive = self._listeners.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        found = await self._process_headers(headers) if headers else None
        try:
            receive(self._build_message(sid, subject, reply, data, found))
        except Exception as error:  # noqa: BLE001 - reading must go on, whoever is at fault
            await self._error_cb(error)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._listeners.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Of this attempt. nats-py would keep that of the first one, with its certificates."""
        if self.tls_files is not None:
            return self.tls_files.context()
        context: ssl.SSLContext = super().ssl_context
        return context

    async def _process_connect_init(self) -> None:
        self.connections += 1
        self._loop = asyncio.get_running_loop()
        if self._max_pending_size <= 0:
            # Whoever had it sent was told that the connection is lost, and the next server may be
            # another one.
            self._pending.clear()
            self._pending_data_size = 0
        self._limit_is_sure = False
        await super()._process_connect_init()
        if self._own_limit is not None:
            # Until the server has said what holds now.
            self._max_payload = min(self._max_payload, self._own_limit)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002
        await super()._process_info(info, initial_connection)
        told = info.get("max_payload")
        if not initial_connection and isinstance(told, int) and told > 0:
            # Said once more where an account's or a user's own limit is another than the server's.
            self._max_payload = self._own_limit = told
            self._limit_is_sure = True

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        if self._nkeys_seed is not None:
            # Here, so that nobody waits for a library of cryptography who has no key.
            import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415

            # nats-py signs with what the file holds, and shows the key that it held at first.
            try:
                self._setup_nkeys_connect()
            except (nkeys.NkeysError, ValueError):
                raise nats.errors.InvalidUserCredentialsError from None
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        error = nats.errors.Error(f"nats: {err_msg.strip(_QUOTE)}")
        if _TOO_LARGE in err_msg:
            # Limits may be lowered at any time, and a server tells it when one connects.
            await self._error_cb(error)
            await self._process_op_err(error)
        elif self.is_connected and _is_about_identity(err_msg):
            # nats-py closes for good; who connects may have new credentials by now, or will have.
            await self._process_op_err(error)
        else:
            await super()._process_err(err_msg)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if not headers:
            return None
        plain = headers.startswith(PLAIN_START)
        if FASTER and plain:
            # All that nats-py does with headers it does with any mapping.
            return LazyHeaders(lines_of(headers), read_headers)  # type: ignore[return-value]
        if not headers.startswith(b"NATS/1.0"):
            return {UNREADABLE_HEADERS: ""}
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, UnicodeDecodeError):
            return {UNREADABLE_HEADERS: ""}
        if not plain and _STATUS not in (found or ()):
            # Whatever follows a first line that is neither plain nor a status is guessed at.
            return {UNREADABLE_HEADERS: ""}
        return found

    async def _flush_pending(self, force_flush: bool = False) -> Any:  # noqa: FBT001, FBT002
        # nats-py swallows a cancellation here, and whoever was to end goes on for ever.
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        flushed = await super()._flush_pending(force_flush)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return flushed

    async def _process_pong(self) -> None:
        if not self._limit_is_sure:
            # A limit of our own would have been said before the answer to a second ping.
            self._own_limit = None
            self._max_payload = self._server_info.get("max_payload", self._max_payload)
            self._limit_is_sure = True
        # Of a ping that its sender gave up. nats-py would set its result all the same, and the
        # error of that ends all reading, with the connection still up.
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=_text(reply) if reply else "",
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002
        # Of a connection just lost, sending the rest fails, and nothing would be cleaned up.
        if isinstance(self._transport, _Transport):
            self._transport.closing = True
        await super()._close(status, do_cbs)

    async def check_answered(self) -> None:
        """Report a server that hung up in place of an answer; nats-py takes it for a connection."""
        if not self.is_connected:
            error = ConnectionResetError("the server hung up")
            await self._error_cb(error)
            raise error

    @property
    def wants_certificate(self) -> bool:
        """Whether the server last talked to asks clients for a certificate."""
        return bool(self._server_info.get("tls_verify"))


class _Transport(TcpTransport):
    """Lets go of connections whose handshake failed: nats-py leaves them open when it tries the
    next one, and waits for ever for the end of one that was to be encrypted.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.closing = False

    @property
    def unsent(self) -> int:
        """Bytes that wait for the operating system to take them."""
        return self._io_writer.transport.get_write_buffer_size() if self._io_writer else 0

    def writelines(self, payload: list[bytes]) -> None:
        """As nats-py's; what was to be sent goes nowhere where there is nobody to send it to.

        A transport that has ended may raise anything, a `TypeError` too since Python 3.12.
        """
        if self._io_writer is not None and not self._io_writer.is_closing():
            super().writelines(payload)  # type: ignore[no-untyped-call]
        elif not self.closing:
            raise ConnectionResetError("the connection has ended")

    async def drain(self) -> None:
        """As nats-py's; but nothing to worry about where the connection is to be closed anyway."""
        if self._io_writer is None and self.closing:
            return
        try:
            await super().drain()  # type: ignore[no-untyped-call]
        except OSError:
            if not self.closing:
                raise

    def __bool__(self) -> bool:
        # Falsy before it is connected, the client would put a plain one in its place.
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        self._let_go()
        await super().connect(uri, max(buffer_size, READ), connect_timeout)

    async def read(self, buffer_size: int) -> bytes:
        data: bytes = await super().read(max(buffer_size, READ))
        return data

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        try:
            await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._io_writer is not None:
            self._io_writer.close()
        self._bare_io_writer = self._io_writer = None


def _is_about_identity(error: str) -> bool:
    # The protocol has no codes: this text is all that a server says.
    return any(text in error.lower() for text in _NOT_LET_IN)


def _text(reply: bytes) -> str:
    """Where a reply subject is no text, no reply can be sent."""
    try:
        return reply.decode()
    except UnicodeDecodeError:
        return ""

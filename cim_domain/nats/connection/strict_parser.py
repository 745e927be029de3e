"""The server's side of the protocol, read by its words and not by patterns.

nats-py's parser takes any white space between words, vertical tabs and form feeds among it, which
servers let through as part of a subject. Whoever publishes to such a subject could end the
connection of a subscriber, or have a message delivered to any other of its subscriptions: an answer
of JetStream, for one, that JetStream never gave.
"""

import json

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, Parser

_END = b"\r\n"
_MAX_LINE = 1 << 20
"""Bytes. Only a server's INFO comes anywhere near."""


class StrictParser(Parser):
    """Takes the place of nats-py's parser; it has the same state, and calls the same client."""

    async def parse(self, data: bytes = b"") -> None:
        """Take in what the server sent. Raises nats-py's `ProtocolError`."""
        self.buf.extend(data)
        while self.buf:
            if self.state == AWAITING_MSG_PAYLOAD and len(self.buf) < self.needed + len(_END):
                return
            # Taken out at once: each piece taken from the front would move all that follow.
            read, self.buf = bytes(self.buf), bytearray()
            line = await self._deliver_all(read)
            if line is None:
                return
            await self._control(line)

    async def _deliver_all(self, read: bytes) -> bytes | None:
        """Deliver messages up to the next line that is about none; gives it, if there is one.

        What is left over is in the buffer then.
        """
        at = 0
        while True:
            if self.state == AWAITING_MSG_PAYLOAD:
                if len(read) < at + self.needed + len(_END):
                    break
                start, at = at, at + self.needed + len(_END)
                await self._deliver(read, start)
                continue
            end = read.find(_END, at)
            if end < 0:
                if len(read) - at > _MAX_LINE:
                    raise ProtocolError
                break
            line, at = read[at:end], end + len(_END)
            if not line.startswith((b"MSG ", b"HMSG ")):
                self.buf.extend(read[at:])
                return line
            self._announce(line)
        self.buf.extend(read[at:])
        return None

    def _announce(self, line: bytes) -> None:
        """``MSG subject sid [reply] bytes``, or ``HMSG subject sid [reply] header-bytes bytes``."""
        words = line.split(b" ")
        with_headers = words[0] == b"HMSG"
        fixed = 5 if with_headers else 4
        if len(words) not in {fixed, fixed + 1}:
            raise ProtocolError
        try:
            self._sid = int(words[2])
            self.header_needed = int(words[-2]) if with_headers else 0
            self.needed = int(words[-1])
        except ValueError as error:
            raise ProtocolError from error
        self._subject = words[1]
        self._reply = words[3] if len(words) > fixed else b""
        self.state = AWAITING_MSG_PAYLOAD

    async def _deliver(self, read: bytes, start: int) -> None:
        headers = start + self.header_needed
        end = start + self.needed
        block = read[start:headers] if self.header_needed else None
        self.header_needed = 0
        self.state = AWAITING_CONTROL_LINE
        await self.nc._process_msg(  # noqa: SLF001 - the client's own side of this interface
            self._sid, self._subject, self._reply, read[headers:end], block
        )

    async def _control(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        match verb.upper():
            case b"PING":
                await self.nc._process_ping()  # noqa: SLF001
            case b"PONG":
                await self.nc._process_pong()  # noqa: SLF001
            case b"+OK":
                return
            case b"-ERR":
                await self.nc._process_err(rest.decode(errors="replace").lower())  # noqa: SLF001
            case b"INFO":
                await self.nc._process_info(json.loads(rest))  # noqa: SLF001
            case _:
                raise ProtocolError

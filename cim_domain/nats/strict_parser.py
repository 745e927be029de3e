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
            if self.state == AWAITING_MSG_PAYLOAD:
                if len(self.buf) < self.needed + len(_END):
                    return
                await self._deliver()
                continue
            end = self.buf.find(_END)
            if end < 0:
                if len(self.buf) > _MAX_LINE:
                    raise ProtocolError
                return
            line = bytes(self.buf[:end])
            del self.buf[: end + len(_END)]
            if line.startswith((b"MSG ", b"HMSG ")):
                self._announce(line)
            else:
                await self._control(line)

    def _announce(self, line: bytes) -> None:
        """``MSG subject sid [reply] bytes``, or ``HMSG subject sid [reply] header-bytes bytes``."""
        verb, *words = line.split(b" ")
        with_headers = verb == b"HMSG"
        fixed = 4 if with_headers else 3
        if len(words) not in {fixed, fixed + 1}:
            raise ProtocolError
        try:
            self.msg_arg = {
                "subject": words[0],
                "sid": int(words[1]),
                "reply": words[2] if len(words) > fixed else b"",
            }
            self.header_needed = int(words[-2]) if with_headers else 0
            self.needed = int(words[-1])
        except ValueError as error:
            raise ProtocolError from error
        self.state = AWAITING_MSG_PAYLOAD

    async def _deliver(self) -> None:
        size, headers = self.needed, self.header_needed
        block = bytes(self.buf[:headers]) if headers else None
        payload = bytes(self.buf[headers:size])
        del self.buf[: size + len(_END)]
        self.header_needed = 0
        self.state = AWAITING_CONTROL_LINE
        message = self.msg_arg
        await self.nc._process_msg(  # noqa: SLF001 - the client's own side of this interface
            message["sid"], message["subject"], message["reply"], payload, block
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

"""What the server sends is read alike however it comes in pieces."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.errors import ProtocolError

from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.publications import header_block

SID = 7


@frozen
class Sent:
    """A message as the server delivers it."""

    subject: str
    reply: str
    headers: dict[str, str]
    data: bytes

    def to_wire(self) -> bytes:
        """With its announcement."""
        words = [self.subject, str(SID), *([self.reply] if self.reply else [])]
        if not self.headers:
            return f"MSG {' '.join(words)} {len(self.data)}\r\n".encode() + self.data + b"\r\n"
        block = header_block(self.headers)
        line = f"HMSG {' '.join(words)} {len(block)} {len(block) + len(self.data)}\r\n"
        return line.encode() + block + self.data + b"\r\n"


tokens = st.sampled_from(["nix", "flake", "MSG", "+OK", "\x0b", "ä"])
subjects = st.lists(tokens, min_size=1, max_size=3).map(".".join)
payloads = st.binary(max_size=30) | st.sampled_from([b"\r\n", b"MSG a 7 3\r\nabc\r\n", b"PING\r\n"])
messages = st.builds(
    Sent,
    subjects,
    subjects | st.just(""),
    st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "two"])),
    payloads,
)


async def read(pieces: Sequence[bytes]) -> list[Sent]:
    client = HardenedClient()
    found: list[Sent] = []

    def take(message: Msg) -> None:
        headers = dict(message.headers or {})
        found.append(Sent(message.subject, message.reply, headers, message.data))

    client._listeners[SID] = take
    for piece in pieces:
        await client._ps.parse(piece)
    return found


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 400), max_size=8))
async def test_messages_are_the_same_wherever_the_stream_is_cut(
    sent: list[Sent], cuts: list[int]
) -> None:
    stream = b"+OK\r\n".join([b"", *(one.to_wire() for one in sent)])
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert await read(pieces) == sent


@pytest.mark.parametrize(
    "line",
    [b"MSG a 7\r\n", b"MSG a b c d 3\r\n", b"HMSG a 7 3\r\n", b"MSG a x 3\r\n", b"GARBAGE\r\n"],
)
async def test_a_line_that_no_server_sends_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await read([line])


async def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    with pytest.raises(ProtocolError):
        await read([b"x" * 600_000, b"x" * 600_000])

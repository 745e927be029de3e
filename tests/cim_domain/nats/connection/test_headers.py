"""Headers are read as nats-py reads them."""

from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client

from cim_domain.nats.connection.headers import FASTER, faster, read_headers

pieces = st.sampled_from(
    [
        b"X-Event-ID",
        b"Nats-Msg-Id",
        b":",
        b": ",
        b"\r\n",
        b"\r",
        b"\n",
        b"\t",
        b" ",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x1f",
        b"\x00",
        b"\xc3\xa4",
        b"\xff",
        b"value",
        b"a b",
        b"",
    ]
)
blocks = st.lists(pieces | st.binary(max_size=5), max_size=40).map(b"".join)


@given(blocks)
@example(b"A: 1\r\nA: 2\r\n\r\n")
def test_any_block_is_read_as_nats_py_reads_it(block: bytes) -> None:
    assert read_headers(block) == Client._parse_header_lines(block)


def test_it_takes_the_place_of_the_known_reading() -> None:
    assert FASTER


def test_it_stands_aside_when_the_library_reads_otherwise() -> None:
    assert not faster(None)
    assert not faster(lambda block: {**Client._parse_header_lines(block), "new": "way"})

"""What may be sent: everything that the server takes, and nothing that ends a connection."""

import asyncio
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from cim_domain.errors import Invalid
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import (
    ConnectionChange,
    check_header,
    check_size,
    connect,
    header_block_size,
    round_trip,
)
from cim_domain.nats.connection.limits import LINE_MARGIN, MAX_HEADER_BLOCK, MAX_PROTOCOL_LINE
from tests.cim_domain.nats.connection.connecting import Events


@pytest.fixture
async def small(plain_server):
    nc = await connect(load_settings(), name="test", url=plain_server("max_payload: 100000").url)
    yield nc
    await nc.close()


async def accepted(nc: Client, subject: str, payload: bytes, headers: dict[str, str]) -> None:
    """The message arrives as it was sent, and the connection stays up."""
    subscription = await nc.subscribe(subject)
    await nc.publish(subject, payload, headers=headers)
    message = await subscription.next_msg(5)
    assert message.data == payload
    assert (message.headers or {}) == headers
    await round_trip(nc)
    assert nc.is_connected
    assert nc.stats["reconnects"] == 0


async def test_the_largest_message_passes_and_one_byte_more_is_refused(small: Client) -> None:
    headers = {"X-One": "1", "X-Two": "some value"}
    room = small.max_payload - header_block_size(headers)
    check_size(small, "subject", bytes(room), headers)
    await accepted(small, "subject", bytes(room), headers)
    with pytest.raises(Invalid) as caught:
        check_size(small, "subject", bytes(room + 1), headers)
    assert caught.value.code == "too_large"
    assert caught.value.details == {"part": "message", "bytes": 100_001, "limit": 100_000}


async def test_one_byte_more_would_cost_the_connection_which_comes_back(plain_server) -> None:
    events = Events()
    server = plain_server("max_payload: 100000")
    nc = await connect(load_settings(urls=server.url), name="test", on_event=events)
    headers = {"X-One": "1"}
    # As where a limit was lowered and nobody has heard of it.
    nc._max_payload = 200_000
    await nc.publish("subject", bytes(100_001 - header_block_size(headers)), headers=headers)
    error = await events.wait_for(ConnectionChange.ERROR)
    assert "maximum payload violation" in str(error.error)
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert nc.max_payload == 100_000
    await accepted_on(nc)
    await nc.close()


async def accepted_on(nc: Client) -> None:
    subscription = await nc.subscribe("subject")
    await nc.publish("subject", b"small")
    assert (await subscription.next_msg(5)).data == b"small"


async def test_the_largest_header_block_passes_and_one_byte_more_is_refused(
    small: Client,
) -> None:
    fill = MAX_HEADER_BLOCK - header_block_size({"X": ""})
    check_size(small, "subject", b"", {"X": "v" * fill})
    await accepted(small, "subject", b"", {"X": "v" * fill})
    with pytest.raises(Invalid) as caught:
        check_size(small, "subject", b"", {"X": "v" * (fill + 1)})
    assert caught.value.details["part"] == "headers"


async def test_the_largest_header_block_is_the_one_that_jetstream_stores(
    plain_server, tmp_path: Path
) -> None:
    server = plain_server(f'jetstream {{ store_dir: "{tmp_path / "js"}" }}')
    nc = await connect(load_settings(urls=server.url), name="test")
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    fill = MAX_HEADER_BLOCK - header_block_size({"X": ""})
    assert (await js.publish("s", headers={"X": "v" * fill})).seq == 1
    with pytest.raises(nats.js.errors.APIError, match="64k"):
        await js.publish("s", headers={"X": "v" * (fill + 1)})
    await nc.close()


async def test_the_longest_subject_passes_as_a_request_and_one_byte_more_is_refused(
    small: Client,
) -> None:
    around = len("HPUB   0 0\r\n")
    subject = "s" * (MAX_PROTOCOL_LINE - LINE_MARGIN - around)
    check_size(small, subject, b"")

    async def answer(msg: Any) -> None:
        await msg.respond(b"yes")

    await small.subscribe(subject, cb=answer)
    assert (await small.request(subject, timeout=5)).data == b"yes"
    with pytest.raises(Invalid) as caught:
        check_size(small, subject + "s", b"")
    assert caught.value.details["part"] == "subject"
    with pytest.raises(Invalid):
        check_size(small, subject, b"", reply="r")


@given(
    st.dictionaries(
        st.text("abcXYZ-_ ", max_size=8),
        st.text(max_size=20, alphabet=st.characters(codec="utf-8")),
    )
)
def test_the_header_block_is_measured_as_the_client_writes_it(headers: dict[str, str]) -> None:
    written: list[bytes] = []

    class Recording(Client):
        async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
            written.append(cmd)

    send = Recording()._send_publish("s", "", b"", 0, headers)
    try:
        asyncio.run(send)
    except nats.errors.BadHeaderError:
        return
    line, _, rest = written[0].partition(b"\r\n")
    assert header_block_size(headers) == int(line.split()[-2]) == len(rest) - len(b"\r\n")


def test_without_headers_there_is_no_block_and_with_none_of_them_a_frame() -> None:
    assert header_block_size(None) == 0
    assert header_block_size({}) == len(b"NATS/1.0\r\n\r\n")


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "\x7f", "ä", " a", "a ", "\t", "\u2028"])
def test_values_that_would_not_arrive_as_written_are_refused(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_header("X-Name", value)
    assert caught.value.code == "bad_header"
    (field,) = caught.value.details["fields"]
    assert field["path"] == "headers.X-Name"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä", "a\n"])
def test_names_that_are_no_tokens_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_header(name, "value")


@given(
    st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=50).map(str.strip),
)
def test_printable_ascii_is_a_header(name: str, value: str) -> None:
    check_header(name, value)

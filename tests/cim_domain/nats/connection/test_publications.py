"""What is sent is, byte for byte, what nats-py would send."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError, BadSubjectError, Error

from cim_domain.nats.connection.limits import header_block_size
from cim_domain.nats.connection.publications import extended, header_block, publish_command

pieces = st.sampled_from(
    ["X-Event-ID", "Nats-Msg-Id", ":", " ", "\t", "\r", "\n", "\r\n", "\x00", "\x1c", "ä", "€", ""]
)
texts = st.lists(pieces | st.text(max_size=4), max_size=6).map("".join)
names = texts | st.sampled_from(["X-Event-ID", " X-Event-ID ", "", " "]) | st.just("N" * 100)
subjects = st.sampled_from(["nix.event.flake", "_INBOX.ä.1", "", "a b", "a\r\nPUB b 0", "a\tb"])


async def written(
    subject: str, reply: str, payload: bytes, headers: Mapping[str, str] | None
) -> bytes:
    """By a client of nats-py that is not connected, and so keeps what it is to send."""
    client = Client()
    await client._send_publish(
        subject, reply, payload, len(payload), dict(headers) if headers is not None else None
    )
    return b"".join(client._pending)


@given(st.dictionaries(names, texts, max_size=5), st.binary(max_size=20))
@example({"X-Event-ID": "1"}, b"")
@example({"X-Event-ID": " ä\r\nX-Other: 1 "}, b"{}")
@example({"X-%s%": "100 %d", " ": "nowhere"}, b"")
async def test_any_headers_are_written_as_nats_py_writes_them(
    headers: dict[str, str], payload: bytes
) -> None:
    try:
        theirs = await written("some.subject", "a.reply", payload, headers)
    except (Error, UnicodeEncodeError) as error:
        with pytest.raises(type(error)):
            header_block(headers)
    else:
        block = header_block(headers)
        assert publish_command("some.subject", "a.reply", block, payload) == theirs
        assert header_block_size(headers) == len(block)


@given(subjects, subjects, st.binary(max_size=20))
async def test_any_subject_is_written_or_refused_as_by_nats_py(
    subject: str, reply: str, payload: bytes
) -> None:
    client = Client()
    try:
        # Refuses a subject, or finds that it is not connected.
        await client.publish(subject, payload, reply)
    except BadSubjectError:
        with pytest.raises(BadSubjectError):
            publish_command(subject, reply, None, payload)
    except Error:
        theirs = await written(subject, reply, payload, None)
        assert publish_command(subject, reply, None, payload) == theirs


def test_a_block_is_extended_by_lines_at_its_end() -> None:
    block = header_block({"Nats-Msg-Id": "1"})
    assert extended(block, "Nats-Batch-Id: b\r\n") == header_block(
        {"Nats-Msg-Id": "1", "Nats-Batch-Id": "b"}
    )


def test_a_name_that_is_no_token_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(BadHeaderError):
            header_block({"in side": "1"})

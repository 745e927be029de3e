"""Connections: who is let in, how long it takes to give up, and what happens when a server goes."""

import asyncio
import base64
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import nats.errors
import nkeys
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from cim_domain.errors import ConfigurationError, Invalid, Unavailable
from cim_domain.nats.backoff import Reconnect
from cim_domain.nats.client import (
    ConnectionChange,
    ConnectionEvent,
    check_header,
    check_size,
    connect,
    header_block_size,
    round_trip,
)
from cim_domain.nats.config import NatsSettings, load_settings
from cim_domain.nats.limits import LINE_MARGIN, MAX_HEADER_BLOCK, MAX_PROTOCOL_LINE

SECRET = "hunter2hunter2"


class Events:
    """Collects a connection's events, and waits for one."""

    def __init__(self) -> None:
        self.seen: list[ConnectionEvent] = []
        self._news = asyncio.Condition()

    def __call__(self, event: ConnectionEvent) -> None:
        self.seen.append(event)
        self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def wait_for(
        self, change: ConnectionChange, error: type[Exception] | None = None
    ) -> ConnectionEvent:
        def found() -> list[ConnectionEvent]:
            return [
                event
                for event in self.seen
                if event.change is change and (error is None or isinstance(event.error, error))
            ]

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(found)
        return found()[-1]


def private(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def works(settings: NatsSettings) -> None:
    nc = await connect(settings, name="test")
    try:
        await round_trip(nc)
    finally:
        await nc.close()


async def refusal(settings: NatsSettings) -> Unavailable:
    """The error of a connect that must fail at once, not at the end of its time."""
    async with asyncio.timeout(3):
        with pytest.raises(Unavailable) as caught:
            await connect(settings, name="test")
    return caught.value


# Who connects


async def test_a_server_without_authentication_lets_in_and_tells_the_name(plain_server) -> None:
    events = Events()
    nc = await connect(load_settings(), name="cim-test", url=plain_server().url, on_event=events)
    assert nc.is_connected
    (event,) = events.seen
    assert (event.change, event.connection) == (ConnectionChange.CONNECTED, "cim-test")
    await nc.close()


async def test_user_and_password(plain_server) -> None:
    server = plain_server(f'authorization {{ user: svc, password: "{SECRET}" }}')
    await works(load_settings(urls=server.url, user="svc", password=SECRET))
    userinfo = server.url.replace("//", f"//svc:{SECRET}@")
    await works(load_settings(urls=userinfo))
    nc = await connect(load_settings(user="other", password="x"), name="test", url=userinfo)
    assert SECRET not in str(nc.connected_url)
    await nc.close()


async def test_token(plain_server) -> None:
    server = plain_server(f'authorization {{ token: "{SECRET}" }}')
    await works(load_settings(urls=server.url, token=SECRET))
    await works(load_settings(urls=server.url.replace("//", f"//{SECRET}@")))


@pytest.mark.parametrize(
    "who",
    [
        {"user": "svc", "password": "wrong-" + SECRET},
        {"token": "wrong-" + SECRET},
        {},
    ],
)
async def test_wrong_credentials_are_refused_at_once_by_setting_without_the_secret(
    plain_server, caplog, who: dict[str, str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server = plain_server(f'authorization {{ user: svc, password: "{SECRET}" }}')
    error = await refusal(load_settings(urls=server.url, **who))
    assert error.code == "authorization"
    assert "authorization" in error.message
    assert all(f"NATS_{name.upper()}" in error.message for name in who)
    assert SECRET not in error.message + caplog.text


async def test_wrong_userinfo_in_the_url_is_not_shown(plain_server, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    server = plain_server('authorization { user: svc, password: "right" }')
    error = await refusal(load_settings(urls=server.url.replace("//", f"//svc:{SECRET}@")))
    assert error.code == "authorization"
    assert SECRET not in error.message + caplog.text + repr(error)


def seed(prefix: int) -> bytes:
    encoded: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return encoded


def public(of: bytes) -> str:
    key: bytes = nkeys.from_seed(bytearray(of)).public_key
    return key.decode().rstrip("=")


async def test_nkey(plain_server, tmp_path: Path) -> None:
    mine, other = seed(nkeys.PREFIX_BYTE_USER), seed(nkeys.PREFIX_BYTE_USER)
    server = plain_server(f"authorization {{ users: [ {{ nkey: {public(mine)} }} ] }}")
    file = private(tmp_path / "mine.nk", mine + b"\n")
    await works(load_settings(urls=server.url, nkey_seed_file=file))
    file = private(tmp_path / "other.nk", other)
    error = await refusal(load_settings(urls=server.url, nkey_seed_file=file))
    assert error.code == "authorization"
    assert "NATS_NKEY_SEED_FILE" in error.message
    assert other.decode() not in error.message


def jwt(signer: bytes, subject: str, **claims: Any) -> str:
    """A NATS JWT (version 2), signed with the seed of an operator or account."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    pair = nkeys.from_seed(bytearray(signer))
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    body = {
        "jti": subject, "iat": 1, "iss": public(signer), "sub": subject, "name": "test",
        "nats": {"version": 2, **claims},
    }  # fmt: skip
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{encoded(pair.sign(text.encode()))}"


def credentials(token: str, of: bytes) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{of.decode()}\n------END USER NKEY SEED------\n"
    )


async def test_credentials_file_is_read_again_at_each_reconnect(
    plain_server, tmp_path: Path
) -> None:
    operator, account = seed(nkeys.PREFIX_BYTE_OPERATOR), seed(nkeys.PREFIX_BYTE_ACCOUNT)
    unlimited = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1
    ) | {"wildcards": True}
    config = (
        f"operator: {jwt(operator, public(operator), type='operator')}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {public(account)}: "
        f"{jwt(operator, public(account), type='account', limits=unlimited)} }}"
    )
    server = plain_server(config)

    def user() -> str:
        mine = seed(nkeys.PREFIX_BYTE_USER)
        return credentials(
            jwt(account, public(mine), type="user", subs=-1, data=-1, payload=-1), mine
        )

    file = private(tmp_path / "user.creds", user())
    events = Events()
    settings = load_settings(
        urls=server.url, credentials_file=file, reconnect={"first_delay": 0.05}
    )
    nc = await connect(settings, name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    file.write_text("cut short")
    server.start()
    await events.wait_for(ConnectionChange.ERROR, nats.errors.InvalidUserCredentialsError)
    file.write_text(user())
    await events.wait_for(ConnectionChange.RECONNECTED)
    await nc.close()
    assert (await events.wait_for(ConnectionChange.CLOSED)).error is None


@pytest.mark.parametrize("setting", ["nkey_seed_file", "credentials_file", "tls_ca"])
async def test_files_that_hold_something_else_are_named(tmp_path: Path, setting: str) -> None:
    file = private(tmp_path / "file", b"\xff not what it should be " + SECRET.encode())
    with pytest.raises(ConfigurationError) as caught:
        await connect(load_settings(**{setting: file}), name="test")
    assert f"NATS_{setting.upper()}" in str(caught.value)
    assert SECRET not in str(caught.value)


# Whom it talks to


class Authority:
    """An authority, with files for a server and a client."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        authority = trustme.CA()
        self.ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.server = self._pair(directory, authority.issue_cert("127.0.0.1"), "server")
        self.client = self._pair(directory, authority.issue_cert("client@example.org"), "client")
        self.elsewhere = self._pair(directory, authority.issue_cert("example.org"), "elsewhere")

    @staticmethod
    def _pair(directory: Path, issued: trustme.LeafCert, name: str) -> tuple[Path, Path]:
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        private(key, issued.private_key_pem.bytes())
        return certificate, key

    def config(self, pair: tuple[Path, Path], more: str = "") -> str:
        return (
            f'tls {{ cert_file: "{pair[0]}", key_file: "{pair[1]}", ca_file: "{self.ca}"\n{more} }}'
        )


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


async def test_tls_with_the_right_authority(plain_server, ours: Authority) -> None:
    server = plain_server(ours.config(ours.server))
    await works(load_settings(urls=server.url, tls_ca=ours.ca))
    await works(load_settings(urls=server.url.replace("nats:", "tls:"), tls_ca=ours.ca))


async def test_tls_handshake_first(plain_server, ours: Authority) -> None:
    server = plain_server(ours.config(ours.server, "handshake_first: true"))
    await works(load_settings(urls=server.url, tls_ca=ours.ca, tls_handshake_first=True))


@pytest.mark.parametrize("case", ["wrong authority", "system authorities", "wrong name"])
async def test_a_server_that_cannot_be_trusted_is_refused_at_once(
    plain_server, ours: Authority, theirs: Authority, case: str
) -> None:
    server = plain_server(ours.config(ours.elsewhere if case == "wrong name" else ours.server))
    trusted = {"wrong authority": theirs.ca, "wrong name": ours.ca}.get(case)
    error = await refusal(load_settings(urls=server.url.replace("nats:", "tls:"), tls_ca=trusted))
    assert error.code == "tls"
    assert "NATS_TLS_CA" in error.message


async def test_a_server_that_cannot_be_trusted_leaves_time_for_one_that_can(
    plain_server, ours: Authority, theirs: Authority
) -> None:
    good = plain_server(ours.config(ours.server))
    bad = plain_server(theirs.config(theirs.server))
    for _ in range(4):  # The client takes them in random order.
        await works(load_settings(urls=[bad.url, good.url], tls_ca=ours.ca))


async def test_a_connection_can_be_closed_while_the_server_cannot_be_trusted(
    plain_server, ours: Authority, theirs: Authority
) -> None:
    server, events = plain_server(ours.config(ours.server)), Events()
    settings = load_settings(urls=server.url, tls_ca=ours.ca, reconnect={"first_delay": 0.05})
    nc = await connect(settings, name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    server.start(theirs.config(theirs.server))
    await events.wait_for(ConnectionChange.ERROR, ssl.SSLCertVerificationError)
    async with asyncio.timeout(5):
        await nc.close()


async def test_a_client_certificate_lets_in_where_one_is_wanted(
    plain_server, ours: Authority, theirs: Authority
) -> None:
    server = plain_server(ours.config(ours.server, "verify: true"))
    base = {"urls": server.url, "tls_ca": ours.ca}
    await works(load_settings(**base, tls_cert=ours.client[0], tls_key=ours.client[1]))

    missing = await refusal(load_settings(**base))
    assert missing.code == "tls"
    assert "wants a certificate; set NATS_TLS_CERT" in missing.message

    wrong = load_settings(**base, tls_cert=theirs.client[0], tls_key=theirs.client[1])
    refused = await refusal(wrong)
    assert refused.code == "tls"
    assert "did not take the certificate" in refused.message


async def test_a_key_that_is_not_the_certificates_is_refused(ours: Authority) -> None:
    settings = load_settings(tls_cert=ours.client[0], tls_key=ours.server[1])
    with pytest.raises(ConfigurationError, match=r"NATS_TLS_CERT .* NATS_TLS_KEY"):
        await connect(settings, name="test")


async def test_with_tls_in_the_url_nothing_is_said_in_clear_text() -> None:
    heard = bytearray()
    done = asyncio.Event()

    async def pose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"auth_required":true,"max_payload":1048576,"headers":true}\r\n')
        heard.extend(await reader.read())
        writer.close()
        done.set()

    server = await asyncio.start_server(pose, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await refusal(load_settings(urls=f"tls://svc:{SECRET}@127.0.0.1:{port}"))
    assert error.code == "tls"
    assert "does not encrypt" in error.message
    async with asyncio.timeout(5):
        await done.wait()
    assert not heard
    server.close()
    await server.wait_closed()


def test_an_installed_fast_mail_parser_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fast_mail_parser.py").write_text("def parse_email(text): ...")
    program = (
        "import asyncio\nfrom cim_domain.nats.client import connect\n"
        "from cim_domain.nats.config import load_settings\n"
        "asyncio.run(connect(load_settings(), name='test'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1
    assert "ConfigurationError: fast-mail-parser is installed" in ended.stderr


# When servers are away


async def test_a_dead_server_is_given_up_in_bounded_time_naming_its_redacted_url() -> None:
    url = f"nats://svc:{SECRET}@127.0.0.1:{free_port()}"
    started = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable) as caught:
        await connect(load_settings(urls=url, connect_timeout=0.5), name="test")
    assert asyncio.get_running_loop().time() - started < 2
    error = caught.value
    assert error.code == "unavailable"
    assert url.rpartition("@")[2] in error.message
    assert "NATS_URLS" in error.message
    assert SECRET not in error.message


async def test_a_server_that_says_nothing_is_given_up_in_bounded_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"127.0.0.1:{mute.getsockname()[1]}"
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable) as caught:
                await connect(load_settings(urls=url, connect_timeout=0.3), name="test")
    assert caught.value.code == "unavailable"


async def test_a_server_that_starts_while_connecting_is_found(plain_server) -> None:
    server = plain_server()
    server.stop()
    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05})
    connecting = asyncio.create_task(connect(settings, name="test"))
    server.start()
    nc = await connecting
    assert nc.is_connected
    await nc.close()


async def test_one_living_server_of_several_is_enough(plain_server) -> None:
    server = plain_server()
    await works(load_settings(urls=[f"127.0.0.1:{free_port()}", server.url]))


async def test_subscriptions_resume_when_the_server_is_back_on_its_port(
    plain_server, caplog
) -> None:
    caplog.set_level(logging.INFO, "cim_domain.nats")
    server, events = plain_server(), Events()
    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05, "ceiling": 0.1})
    nc = await connect(settings, name="svc", on_event=events)
    subscription = await nc.subscribe("news")
    await round_trip(nc)

    server.stop()
    disconnected = await events.wait_for(ConnectionChange.DISCONNECTED)
    assert disconnected.server is None
    assert not nc.is_connected
    with pytest.raises(Unavailable):
        await round_trip(nc)
    server.start()
    assert (await events.wait_for(ConnectionChange.RECONNECTED)).server == server.url

    await nc.publish("news", b"again")
    assert (await subscription.next_msg(5)).data == b"again"
    await nc.close()
    closed = await events.wait_for(ConnectionChange.CLOSED)
    assert closed.error is None
    said = [record.getMessage() for record in caplog.records]
    assert f"NATS connection svc reconnected ({server.url})" in said


async def test_without_room_for_pending_bytes_a_publish_fails_at_once_while_disconnected(
    plain_server,
) -> None:
    server, events = plain_server(), Events()
    nc = await connect(
        load_settings(urls=server.url), name="append", pending_size=0, on_event=events
    )
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    with pytest.raises(nats.errors.OutboundBufferLimitError):
        await nc.publish("subject", b"")
    await nc.close()


async def test_a_limited_number_of_attempts_ends_in_closed(plain_server) -> None:
    server, events = plain_server(), Events()
    settings = load_settings(urls=server.url, reconnect={"attempts": 2, "first_delay": 0.01})
    await connect(settings, name="test", on_event=events)
    server.stop()
    closed = await events.wait_for(ConnectionChange.CLOSED)
    assert isinstance(closed.error, nats.errors.NoServersError)


async def test_a_listener_that_fails_does_not_stop_the_reconnecting(plain_server, caplog) -> None:
    server, events = plain_server(), Events()

    def listener(event: ConnectionEvent) -> None:
        events(event)
        raise RuntimeError("listener")

    settings = load_settings(urls=server.url, reconnect={"first_delay": 0.05})
    nc = await connect(settings, name="test", on_event=listener)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    server.start()
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert "the listener of NATS connection test failed" in caplog.text
    await nc.close()


async def test_denied_permissions_are_events(plain_server) -> None:
    config = 'authorization { users: [ { user: u, password: p, permissions: { publish: "ok" } } ] }'
    server, events = plain_server(config), Events()
    nc = await connect(
        load_settings(urls=server.url, user="u", password="p"), name="test", on_event=events
    )
    await nc.publish("denied", b"")
    assert "permissions violation" in str((await events.wait_for(ConnectionChange.ERROR)).error)
    await nc.close()


async def test_replies_arrive_under_the_inbox_prefix(plain_server) -> None:
    nc = await connect(
        load_settings(), name="test", url=plain_server().url, inbox_prefix="_INBOX_svc"
    )
    asked: list[str] = []

    async def answer(msg: Any) -> None:
        asked.append(msg.reply)
        await msg.respond(b"")

    await nc.subscribe("question", cb=answer)
    await round_trip(nc)
    await nc.request("question", timeout=5)
    assert asked[0].startswith("_INBOX_svc.")
    await nc.close()
    with pytest.raises(ConfigurationError):
        await connect(load_settings(), name="test", inbox_prefix="a b")


async def test_after_a_round_trip_a_subscription_is_known_to_the_server(plain_server) -> None:
    server = plain_server()
    settings = load_settings(urls=server.url)
    one = await connect(settings, name="subscriber")
    other = await connect(settings, name="publisher")

    async def answer(msg: Any) -> None:
        await msg.respond(b"")

    for number in range(300):
        await one.publish("ballast", bytes(100_000 if number % 10 == 0 else 10))
        await one.subscribe(f"question.{number}", cb=answer)
        await round_trip(one)
        await other.request(f"question.{number}", timeout=5)
    await one.close()
    await other.close()


# The delay before each attempt

policies = st.builds(
    lambda first, factor, over, jitter: Reconnect(
        first_delay=first, factor=factor, ceiling=min(3600.0, first * over), jitter=jitter
    ),
    st.floats(0.001, 100),
    st.floats(1, 100),
    st.floats(1, 1000),
    st.floats(0, 1),
)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(0, 10**9), chances)
def test_no_delay_exceeds_the_ceiling_or_is_negative(
    policy: Reconnect, attempt: int, chance: float
) -> None:
    assert 0 <= policy.delay(attempt, chance) <= policy.ceiling


@given(policies, st.integers(0, 10**6))
def test_delays_never_shrink_but_for_chance(policy: Reconnect, attempt: int) -> None:
    assert policy.delay(attempt, 0) <= policy.delay(attempt + 1, 0) * (1 + 1e-9)


@given(policies, st.integers(0, 1000), chances)
def test_chance_takes_at_most_the_jitter(policy: Reconnect, attempt: int, chance: float) -> None:
    longest = policy.delay(attempt, 0)
    assert longest * (1 - policy.jitter) <= policy.delay(attempt, chance) <= longest


def test_delays_double_up_to_the_ceiling_by_default() -> None:
    delays = [Reconnect().delay(attempt, 0) for attempt in range(8)]
    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


# What may be sent


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
    assert caught.value.details == {"part": "message", "size": 100_001, "limit": 100_000}


async def test_one_byte_more_would_have_ended_the_connection(plain_server) -> None:
    events = Events()
    server = plain_server("max_payload: 100000")
    nc = await connect(load_settings(urls=server.url), name="test", on_event=events)
    headers = {"X-One": "1"}
    await nc.publish("subject", bytes(100_001 - header_block_size(headers)), headers=headers)
    closed = await events.wait_for(ConnectionChange.CLOSED)
    assert "maximum payload violation" in str(closed.error)


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
    assert caught.value.details == {"header": "X-Name"}


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


async def test_a_pong_that_nobody_waits_for_any_more_does_not_end_the_reading(plain_server) -> None:
    server = plain_server()
    nc = await connect(load_settings(url=server.url), name="test")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await round_trip(nc, seconds=0.05)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await round_trip(nc)
    await round_trip(nc)
    await nc.close()

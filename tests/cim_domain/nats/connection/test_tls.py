"""Connections: encrypted as wanted, to the right server or to none."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import ConnectionChange, connect, round_trip
from tests.cim_domain.nats.connection.connecting import SECRET, Events, private, refusal, works


class Authority:
    """An authority, with files for a server and a client."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._authority = authority = trustme.CA()
        self.ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.server = self._pair(directory, authority.issue_cert("127.0.0.1"), "server")
        self.client = self._pair(directory, authority.issue_cert("client@example.org"), "client")
        self.elsewhere = self._pair(directory, authority.issue_cert("example.org"), "elsewhere")

    def short_lived(self, seconds: float) -> tuple[Path, Path]:
        """A client's certificate that soon expires."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        issued = self._authority.issue_cert("client@example.org", not_after=end)
        return self._pair(self._directory, issued, "short-lived")

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


class Own:
    """The files of a client, which are replaced while it runs."""

    def __init__(self, directory: Path, authority: Authority, pair: tuple[Path, Path]) -> None:
        self.ca, self.certificate, self.key = (
            directory / name for name in ("own-ca.pem", "own.pem", "own.key")
        )
        self.renew(authority, pair)

    def renew(self, authority: Authority, pair: tuple[Path, Path]) -> None:
        for source, file in ((authority.ca, self.ca), (pair[0], self.certificate)):
            shutil.copy(source, file)
        private(self.key, pair[1].read_bytes())

    def settings(self, url: str) -> NatsSettings:
        return load_settings(
            urls=url,
            tls_ca=self.ca,
            tls_cert=self.certificate,
            tls_key=self.key,
            reconnect={"first_delay": 0.05, "ceiling": 0.2},
        )


@pytest.mark.parametrize("more", ["verify: true", "verify: true\nhandshake_first: true"])
async def test_renewed_certificates_and_a_new_authority_are_taken_up_at_the_next_reconnect(
    plain_server, ours: Authority, theirs: Authority, tmp_path: Path, more: str
) -> None:
    server, events = plain_server(ours.config(ours.server, more)), Events()
    own = Own(tmp_path, ours, ours.client)
    settings = own.settings(server.url).model_copy(
        update={"tls_handshake_first": "handshake_first" in more}
    )
    nc = await connect(settings, name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    own.renew(theirs, theirs.client)
    server.start(theirs.config(theirs.server, more))
    await events.wait_for(ConnectionChange.RECONNECTED)
    await round_trip(nc)
    await nc.close()


async def test_a_client_certificate_that_has_expired_is_renewed_without_a_restart(
    plain_server, ours: Authority, tmp_path: Path
) -> None:
    server, events = plain_server(ours.config(ours.server, "verify: true")), Events()
    own = Own(tmp_path, ours, ours.short_lived(2))
    nc = await connect(own.settings(server.url), name="test", on_event=events)
    await asyncio.sleep(2.1)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    server.start()
    await events.wait_for(ConnectionChange.ERROR, ssl.SSLError)
    own.renew(ours, ours.client)
    await events.wait_for(ConnectionChange.RECONNECTED)
    await round_trip(nc)
    await nc.close()


async def test_in_the_middle_of_a_renewal_the_certificate_from_before_is_shown(
    plain_server, ours: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, events = plain_server(ours.config(ours.server, "verify: true")), Events()
    own = Own(tmp_path, ours, ours.client)
    nc = await connect(own.settings(server.url), name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    own.certificate.write_text("half a certif")
    own.key.unlink()
    server.start()
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert "NATS_TLS_CERT" in caplog.text
    await nc.close()


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
        "import asyncio\nfrom cim_domain.nats.connection.connect import connect\n"
        "from cim_domain.nats.config.settings import load_settings\n"
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

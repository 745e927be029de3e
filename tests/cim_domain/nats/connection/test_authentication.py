"""Connections: who is let in, and who is refused at once without a secret being shown."""

import logging
import time
from pathlib import Path

import nats.errors
import nkeys
import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import ConnectionChange, connect, round_trip
from tests.cim_domain.nats.connection.connecting import SECRET, Events, private, refusal, works
from tests.cim_domain.nats.connection.jwts import Issuer, public, seed


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


QUICK = {"first_delay": 0.05, "ceiling": 0.2}


async def test_credentials_file_is_read_again_at_each_reconnect(
    plain_server, tmp_path: Path
) -> None:
    issuer, events = Issuer(), Events()
    server = plain_server(issuer.config)
    file = private(tmp_path / "user.creds", issuer.user())
    settings = load_settings(urls=server.url, credentials_file=file, reconnect=QUICK)
    nc = await connect(settings, name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    file.write_text("cut short")
    server.start()
    await events.wait_for(ConnectionChange.ERROR, nats.errors.InvalidUserCredentialsError)
    file.write_text(issuer.user())
    await events.wait_for(ConnectionChange.RECONNECTED)
    await nc.close()
    assert (await events.wait_for(ConnectionChange.CLOSED)).error is None


@pytest.mark.parametrize("renewed", ["before it ends", "after it has ended"])
async def test_credentials_that_expire_are_renewed_without_a_restart(
    plain_server, tmp_path: Path, renewed: str
) -> None:
    issuer, events = Issuer(), Events()
    server = plain_server(issuer.config)
    file = private(tmp_path / "user.creds", issuer.user(exp=int(time.time()) + 2))
    settings = load_settings(urls=server.url, credentials_file=file, reconnect=QUICK)
    nc = await connect(settings, name="test", on_event=events)
    if renewed.startswith("after"):
        await events.wait_for(ConnectionChange.ERROR)
    file.write_text(issuer.user())
    await events.wait_for(ConnectionChange.RECONNECTED)
    await round_trip(nc)
    await nc.close()


async def test_a_renewed_seed_is_read_at_the_next_reconnect(plain_server, tmp_path: Path) -> None:
    def config(of: bytes) -> str:
        return f"authorization {{ users: [ {{ nkey: {public(of)} }} ] }}"

    first, second = seed(nkeys.PREFIX_BYTE_USER), seed(nkeys.PREFIX_BYTE_USER)
    server, events = plain_server(config(first)), Events()
    file = private(tmp_path / "user.nk", first)
    settings = load_settings(urls=server.url, nkey_seed_file=file, reconnect=QUICK)
    nc = await connect(settings, name="test", on_event=events)
    server.stop()
    await events.wait_for(ConnectionChange.DISCONNECTED)
    file.write_text("cut short")
    server.start(config(second))
    await events.wait_for(ConnectionChange.ERROR, nats.errors.InvalidUserCredentialsError)
    file.write_bytes(second)
    await events.wait_for(ConnectionChange.RECONNECTED)
    await round_trip(nc)
    await nc.close()


@pytest.mark.parametrize("setting", ["nkey_seed_file", "credentials_file", "tls_ca"])
async def test_files_that_hold_something_else_are_named(tmp_path: Path, setting: str) -> None:
    file = private(tmp_path / "file", b"\xff not what it should be " + SECRET.encode())
    with pytest.raises(ConfigurationError) as caught:
        await connect(load_settings(**{setting: file}), name="test")
    assert f"NATS_{setting.upper()}" in str(caught.value)
    assert SECRET not in str(caught.value)

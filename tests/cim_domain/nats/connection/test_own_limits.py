"""What a connection may send where its account or user may send less than the server takes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.errors import MaxPayloadError

from cim_domain.errors import Invalid
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.connect import ConnectionChange, check_size, connect, round_trip
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.publications import header_block
from tests.cim_domain.nats.connection.connecting import Events, private
from tests.cim_domain.nats.connection.jwts import Operator

SERVERS = 100_000
OWN = 5000
PLAIN = """
max_payload: %d
accounts { A { users: [ { user: a, password: a } ], limits: { max_payload: %d } } }
"""
PATIENT = {"first_delay": 0.05}


def by_account(start: Callable[..., Any], _: Path) -> NatsSettings:
    url = start(PLAIN % (SERVERS, OWN)).url
    return load_settings(urls=url, user="a", password="a", reconnect=PATIENT)


def by_jwt(account: int, user: int) -> Callable[[Callable[..., Any], Path], NatsSettings]:
    def settings(start: Callable[..., Any], directory: Path) -> NatsSettings:
        operator = Operator()
        server = start(f"max_payload: {SERVERS}\n{operator.config(payload=account)}")
        file = private(directory / "user.creds", operator.user(user))
        return load_settings(urls=server.url, credentials_file=file, reconnect=PATIENT)

    return settings


@pytest.mark.parametrize(
    "limited",
    [by_account, by_jwt(OWN, -1), by_jwt(-1, OWN), by_jwt(2 * OWN, OWN)],
    ids=["account", "account's JWT", "user's JWT", "both JWTs"],
)
async def test_the_smallest_limit_is_what_the_connection_goes_by(
    plain_server: Callable[..., Any],
    tmp_path: Path,
    limited: Callable[[Callable[..., Any], Path], NatsSettings],
) -> None:
    events = Events()
    nc = await connect(limited(plain_server, tmp_path), name="test", on_event=events)
    assert (nc.max_payload, nc.server_max_payload) == (OWN, SERVERS)
    with pytest.raises(Invalid) as caught:
        check_size(nc, "subject", bytes(OWN + 1))
    assert caught.value.details == {"part": "message", "bytes": OWN + 1, "limit": OWN}
    block = header_block({"X-One": "1"})
    for size in (OWN - len(block), OWN - len(block) + 1):
        if size + len(block) > OWN:
            with pytest.raises(MaxPayloadError):
                nc.send("subject", bytes(size), block=block)
        else:
            nc.send("subject", bytes(size), block=block)
        await round_trip(nc)
    assert nc.stats["reconnects"] == 0
    # Also where nobody has asked, the server says it anew to every connection.
    await nc.force_reconnect()
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert nc.max_payload == OWN
    await nc.close()


async def test_a_request_that_is_too_large_says_how_large_it_may_be(
    plain_server: Callable[..., Any], tmp_path: Path
) -> None:
    link = await Link.open(by_account(plain_server, tmp_path), name="test")
    with pytest.raises(Invalid) as caught:
        await link.requests.one("subject", bytes(OWN), headers={"X-One": "1"}, timeout=5)
    assert caught.value.code == "too_large"
    assert caught.value.details["limit"] == OWN
    await round_trip(link.client)
    assert link.reconnects == 0
    await link.close()


async def test_a_limit_that_is_lifted_or_lowered_is_known_with_the_next_connection(
    plain_server: Callable[..., Any],
) -> None:
    server = plain_server(PLAIN % (SERVERS, OWN))
    events = Events()
    settings = load_settings(urls=server.url, user="a", password="a", reconnect=PATIENT)
    nc = await connect(settings, name="test", on_event=events)
    for servers, own, expected in (
        (SERVERS, 2 * SERVERS, SERVERS), (SERVERS, 4000, 4000), (3000, 4000, 3000),
    ):  # fmt: skip
        events.seen.clear()
        server.stop()
        server.start(PLAIN % (servers, own))
        await events.wait_for(ConnectionChange.RECONNECTED)
        await round_trip(nc)
        assert nc.max_payload == expected
    await nc.close()


async def test_a_limit_that_is_lowered_while_connected_costs_one_connection_and_is_known_then(
    plain_server: Callable[..., Any],
) -> None:
    server = plain_server(f"max_payload: {SERVERS}")
    events = Events()
    nc = await connect(
        load_settings(urls=server.url, reconnect=PATIENT), name="test", on_event=events
    )
    server.reload(f"max_payload: {OWN}")
    await asyncio.sleep(1)
    for _ in range(2):
        await _send_all(nc, SERVERS)
    await events.wait_for(ConnectionChange.RECONNECTED)
    assert nc.max_payload == OWN
    with pytest.raises(MaxPayloadError):
        nc.send("subject", bytes(OWN + 1))
    await round_trip(nc)
    assert nc.stats["reconnects"] == 1
    await nc.close()


async def _send_all(nc: HardenedClient, size: int) -> None:
    try:
        nc.send("subject", bytes(size))
        await asyncio.sleep(0.5)
    except MaxPayloadError:
        pass

"""A link says what the server has refused it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.patience import Patience

NARROW = """
authorization {
  users = [{user: "narrow", password: "secret", permissions: {subscribe: ["_INBOX.>"]}}]
}
"""


async def test_a_denied_subscription_is_known_and_told(plain_server: Callable[..., Any]) -> None:
    link = await Link.open(
        load_settings(url=plain_server(NARROW).url, user="narrow", password="secret"), name="test"
    )
    told = asyncio.Event()
    link.listen(lambda change: told.set() if change is ConnectionChange.ERROR else None)
    assert link.denied == []

    async def nothing(_: object) -> None: ...

    await link.client.subscribe("nix.cmd.>", cb=nothing)
    await told.wait()
    (denial,) = link.denied
    assert 'subscription to "nix.cmd.>"' in denial
    assert "secret" not in denial
    await round_trip(link.client)
    await link.close()


MUTE = """
jetstream {}
authorization {
  users = [
    {user: "mute", password: "secret", permissions: {publish: ["Nix.ask"], subscribe: [">"]}}
    {user: "deaf", password: "secret", permissions: {publish: [">"], subscribe: ["other.>"]}}
  ]
}
"""

LONG = 600.0
"""Seconds. No test waits so long: what is refused is told at once."""


async def test_a_request_that_the_server_refuses_fails_at_once_as_what_it_is(
    plain_server: Callable[..., Any],
) -> None:
    link = await Link.open(
        load_settings(url=plain_server(MUTE).url, user="mute", password="secret"), name="test"
    )
    allowed = asyncio.create_task(link.requests.one("Nix.ask", timeout=LONG))
    async with asyncio.timeout(30):
        with pytest.raises(NoAnswer, match=r"publish to Nix\.Other") as caught:
            await link.requests.one("Nix.Other", timeout=LONG)
        with pytest.raises(NoAnswer, match="nobody answers"):
            await allowed
    assert caught.value.code == "permission_denied"
    await link.close()


async def test_who_may_not_listen_for_replies_is_told_so_at_once(
    plain_server: Callable[..., Any],
) -> None:
    link = await Link.open(
        load_settings(url=plain_server(MUTE).url, user="deaf", password="secret"), name="test"
    )
    async with asyncio.timeout(30):
        for _ in range(2):
            with pytest.raises(NoAnswer, match="listen for replies") as caught:
                await link.requests.one("nix.ask", timeout=LONG)
            assert caught.value.code == "permission_denied"
    await link.close()


async def test_an_operation_of_jetstream_that_is_refused_is_not_tried_again(
    plain_server: Callable[..., Any],
) -> None:
    link = await Link.open(
        load_settings(url=plain_server(MUTE).url, user="mute", password="secret"), name="test"
    )
    tries = 0

    async def look() -> None:
        nonlocal tries
        tries += 1
        await call(link.requests, "STREAM.INFO.log", timeout=LONG)

    async with asyncio.timeout(30):
        with pytest.raises(NoAnswer, match=r"STREAM\.INFO\.log"):
            await Patience(budget=LONG).retried("log", look)
    assert tries == 1
    await link.close()

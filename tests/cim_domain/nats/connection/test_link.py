"""A link says what the server has refused it."""

import asyncio
from collections.abc import Callable
from typing import Any

from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link

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

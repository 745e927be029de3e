"""Closing a connection whose server is gone for good."""

import asyncio

from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.events import ConnectionChange
from cim_domain.nats.connection.link import Link
from cim_domain.nats.server.embedded import RestartPolicy
from cim_domain.testing.server import crash, throwaway_server


async def test_what_was_still_to_be_sent_does_not_keep_it_from_closing() -> None:
    async with throwaway_server(restart=RestartPolicy(attempts=0)) as server:
        settings = load_settings(reconnect={"first_delay": 0.01, "ceiling": 0.01})
        link = await Link.open(settings, name="test", url=server.url)
        errors: asyncio.Queue[ConnectionChange] = asyncio.Queue()
        link.listen(errors.put_nowait)
        crash(server)
        while await errors.get() is not ConnectionChange.DISCONNECTED:
            pass
        # The next is of an attempt to connect, after which there is no connection to write to.
        assert await errors.get() is ConnectionChange.ERROR
        await link.client.subscribe("some.subject")
        await link.drain()
        assert link.client.is_closed

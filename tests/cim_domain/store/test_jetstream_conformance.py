"""Events on JetStream do what every store does, and what the one in memory does."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cim_domain.nats.config import load_settings
from cim_domain.nats.link import Link
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventStore
from cim_domain.subjects import Subjects
from cim_domain.testing.events import PersistentConformance


class TestJetStreamEvents(PersistentConformance):
    @pytest.fixture
    async def store(self, jetstream_events: JetStreamEvents) -> JetStreamEvents:
        return jetstream_events

    @pytest.fixture
    async def reopen(
        self, nats_url: str, subjects: Subjects
    ) -> AsyncIterator[Callable[[], Awaitable[EventStore]]]:
        links: list[Link] = []

        async def again() -> EventStore:
            links.append(await Link.open(load_settings(), name="another", url=nats_url))
            return JetStreamEvents(links[-1], subjects)

        yield again
        for link in links:
            await link.close()

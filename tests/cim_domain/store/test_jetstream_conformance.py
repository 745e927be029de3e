"""Events on JetStream do what every store does, and what the one in memory does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.port import EventStore
from cim_domain.testing.store.conformance import PersistentConformance
from cim_domain.testing.store.state_machine import StoreModel


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


def test_random_histories_end_as_they_do_in_memory(nats_url: str) -> None:
    class Machine(StoreModel):
        async def open(self, stack: AsyncExitStack) -> EventStore:
            link = await Link.open(load_settings(), name="model", url=nats_url)
            stack.push_async_callback(link.close)
            subjects = Subjects("nix", f"m{uuid4().hex[:12]}")
            await ensure_log(link.requests, subjects)
            stream = subjects.event_stream
            stack.push_async_callback(call, link.requests, f"STREAM.DELETE.{stream}")
            return JetStreamEvents(link, subjects)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )

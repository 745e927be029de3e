"""An event stream of one's own on the shared server."""

import pytest

from cim_domain.nats.link import Link
from cim_domain.nats.streams import ensure_stream
from cim_domain.store.jetstream import JetStreamEvents, event_stream
from cim_domain.subjects import Subjects


@pytest.fixture
async def jetstream_events(link: Link, subjects: Subjects) -> JetStreamEvents:
    await ensure_stream(link.requests, event_stream(subjects))
    return JetStreamEvents(link, subjects)

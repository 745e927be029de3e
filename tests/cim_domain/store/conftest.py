"""An event stream of one's own on the shared server."""

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.jetstream import JetStreamEvents, event_stream


@pytest.fixture
async def jetstream_events(link: Link, subjects: Subjects) -> JetStreamEvents:
    await ensure_stream(link.requests, event_stream(subjects))
    return JetStreamEvents(link, subjects)

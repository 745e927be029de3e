"""An event stream of one's own on the shared server."""

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents, ensure_log


@pytest.fixture
async def jetstream_events(link: Link, subjects: Subjects) -> JetStreamEvents:
    await ensure_log(link.requests, subjects)
    return JetStreamEvents(link, subjects)

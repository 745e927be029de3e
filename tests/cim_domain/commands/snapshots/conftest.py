"""A log, and where snapshots are kept."""

from uuid import uuid4

import pytest

from cim_domain.commands.snapshots import MemorySnapshots
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.store.memory import MemoryEvents


@pytest.fixture
def events() -> MemoryEvents:
    return MemoryEvents()


@pytest.fixture
def snapshots() -> MemorySnapshots:
    return MemorySnapshots()


@pytest.fixture
async def bucket(link: Link) -> Bucket:
    name = f"b{uuid4().hex[:12]}"
    await ensure_stream(link.requests, bucket_stream(name))
    return Bucket(link, name)

"""The domain `doors` on the shared server, under names of a test's own."""

from collections.abc import AsyncIterator

import pytest

from cim_domain.nats.config import NatsSettings, load_settings
from cim_domain.service import Service
from cim_domain.subjects import Subjects
from tests.cim_domain.refusals.doors import service_on


@pytest.fixture
def subjects(subjects: Subjects) -> Subjects:
    return Subjects("doors", subjects.prefix)


@pytest.fixture
def settings(nats_url: str, subjects: Subjects) -> NatsSettings:
    return load_settings(url=nats_url, subject_prefix=subjects.prefix)


@pytest.fixture
async def service(settings: NatsSettings) -> AsyncIterator[Service]:
    async with service_on(settings) as one:
        yield one

"""The domain `doors` on the shared server, under names of a test's own."""

from collections.abc import AsyncIterator

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.service.service import Service
from tests.cim_domain.commands.idempotency.doors import service_on


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

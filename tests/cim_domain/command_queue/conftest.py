"""A queue of commands of the domain `sums`, of a test's own, and who works on it."""

from collections.abc import AsyncIterator

import pytest

from cim_domain.client import DomainClient
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from tests.cim_domain.command_queue.queueing import service_on


@pytest.fixture
def subjects(subjects: Subjects) -> Subjects:
    return Subjects("sums", subjects.prefix)


@pytest.fixture
def settings(nats_url: str, subjects: Subjects) -> NatsSettings:
    return load_settings(url=nats_url, subject_prefix=subjects.prefix)


@pytest.fixture
def client(link: Link, subjects: Subjects) -> DomainClient:
    return DomainClient(link, subjects, retry=0)


@pytest.fixture
async def service(settings: NatsSettings) -> AsyncIterator[Service]:
    async with service_on(settings, attempts=3) as one:
        yield one


@pytest.fixture
async def queue(settings: NatsSettings) -> None:
    """The streams are there, and no service."""
    async with service_on(settings):
        pass

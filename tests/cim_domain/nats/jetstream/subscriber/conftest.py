"""A stream of work, and those who do it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from tests.cim_domain.nats.jetstream.working import Work, Workers


@pytest.fixture
async def work(link: Link, subjects: Subjects) -> Work:
    return await Work(link, subjects.root).make()


@pytest.fixture
async def workers(work: Work) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        workers = Workers(work, stack)
        yield workers
        workers.open_gates()


@pytest.fixture
async def other_link(nats_url: str) -> AsyncIterator[Link]:
    link = await Link.open(load_settings(), name="other", url=nats_url)
    yield link
    await link.close()

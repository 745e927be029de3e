"""Views in memory."""

from collections.abc import AsyncIterator

import pytest

from cim_domain.testing.views.conformance import ViewsConformance
from cim_domain.views.memory.database import MemoryViews
from cim_domain.views.port import ViewDatabase


class TestMemoryViews(ViewsConformance):
    @pytest.fixture
    async def database(self) -> AsyncIterator[ViewDatabase]:
        database = MemoryViews()
        yield database
        await database.close()

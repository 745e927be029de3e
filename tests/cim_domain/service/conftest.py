"""Views in each of the databases in which a service keeps them beyond its own life."""

import pytest

from tests.cim_domain.views.conftest import server as postgresql

__all__ = ["kept_views", "postgresql"]


@pytest.fixture(params=["sqlite", "postgresql"])
def kept_views(request: pytest.FixtureRequest) -> str:
    """The setting that says where views are kept, in a place of the test's own."""
    if request.param == "sqlite":
        return "sqlite"
    url: str = request.getfixturevalue("postgresql").create_database()
    return url.replace("postgresql+psycopg:", "postgresql:")

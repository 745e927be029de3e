"""What every adapter of views must do, as tests: subclass, and give the fixture `database`.

    class TestMyViews(ViewsConformance):
        @pytest.fixture
        async def database(self) -> AsyncIterator[ViewDatabase]:
            database = MyViews()
            yield database
            await database.close()

An adapter whose views outlive it overrides `reopen`. Needs pytest with pytest-asyncio in auto mode.
"""

from cim_domain.testing.views.condition_suite import Comparing, Mistaken
from cim_domain.testing.views.find_suite import Filtering, Searching
from cim_domain.testing.views.generation_suite import Generations, Versions
from cim_domain.testing.views.group_suite import Grouping, OrderingBySeveral
from cim_domain.testing.views.keep_suite import Checkpoints, Keeping, Organizations
from cim_domain.testing.views.page_suite import Cursors, Ordering, Paging
from cim_domain.testing.views.sample import (
    Colour,
    Size,
    Thing,
    keep,
    named,
    names,
    put,
    remove,
    things,
)

__all__ = [
    "Colour",
    "Size",
    "Thing",
    "ViewsConformance",
    "keep",
    "named",
    "names",
    "put",
    "remove",
    "things",
]


class ViewsConformance(
    Keeping,
    Checkpoints,
    Organizations,
    Filtering,
    Comparing,
    Mistaken,
    Searching,
    Ordering,
    OrderingBySeveral,
    Grouping,
    Paging,
    Cursors,
    Generations,
    Versions,
):
    """The tests; each has a database of its own, with nothing in it."""

"""What a query's own code asks wrongly is the service's failure: the client did nothing wrong."""

import logging
from datetime import date

import orjson
import pytest

from cim_domain import Domain, Page, Projection, Query, View, Views, answers, field, projects
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.endpoints.queries import Answerer, Reply
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.store.memory import MemoryEvents
from cim_domain.views.memory.database import MemoryViews
from tests.cim_domain.tallies import Added, Tally


class DayView(View, indexed=("name", "number", "day")):
    name: str
    number: int = 0
    day: date | None = None


class ByName(Query, type="day.by_name"):
    name: int


class ByDay(Query, type="day.by_day"):
    day: str


class ByNumber(Query, type="day.by_number"):
    number: int
    after: str | None = None


class Days(Projection):
    @projects
    def added(self, view: DayView | None, event: Added) -> DayView:
        return DayView(name=event.name)

    @answers
    async def by_name(self, query: ByName, views: Views) -> DayView | None:
        return await views.first(DayView, name=query.name)

    @answers
    async def by_day(self, query: ByDay, views: Views) -> Page[DayView]:
        return await views.find(DayView, [field(DayView.day) >= query.day])  # type: ignore[operator]

    @answers
    async def by_number(self, query: ByNumber, views: Views) -> Page[DayView]:
        return await views.find(DayView, {"number": query.number}, after=query.after)


@pytest.fixture
async def answerer():
    domain = Domain("sums", aggregates=[Tally], projections=[Days()])
    (model,) = domain.projections.values()
    log, views, letters = MemoryEvents(), MemoryViews(), MemoryDeadLetters()
    runner = ProjectionRunner(domain, model, log, views, letters, Subjects("sums"))
    await runner.open()
    runner.start()
    yield Answerer(domain, {model.name: runner}, wait=2)
    await runner.stop()


async def ask(answerer: Answerer, message_type: str, **fields: object) -> Reply:
    return await answerer.answer(message_type, {}, orjson.dumps(fields))


@pytest.mark.parametrize(
    ("message_type", "fields", "told"),
    [
        ("day.by_name", {"name": 70707}, "DayView: name ==: "),
        ("day.by_day", {"day": "2025-02-30"}, "DayView: day >=: "),
    ],
)
async def test_a_wrong_filter_is_the_service_s_failure_and_names_the_filter(
    answerer, caplog, message_type, fields, told
):
    with caplog.at_level(logging.ERROR):
        reply = await ask(answerer, message_type, **fields)
    error = orjson.loads(reply.data)["error"]
    assert (error["code"], error["details"]) == ("failed", {})
    assert told in error["message"]
    assert str(*fields.values()) not in error["message"]
    assert told in caplog.text
    assert "test_wrong_filters.py" in caplog.text


async def test_a_number_that_no_view_can_have_is_asked_for_in_vain(answerer):
    assert orjson.loads((await ask(answerer, "day.by_number", number=2**63 - 1)).data) == {
        "items": [], "next": None,
    }  # fmt: skip
    reply = await answerer.answer("day.by_number", {}, b'{"number": 9223372036854775808}')
    assert orjson.loads(reply.data) == {"items": [], "next": None}


async def test_a_cursor_that_is_none_is_the_client_s(answerer):
    reply = await ask(answerer, "day.by_number", number=1, after="bnVsbA")
    assert reply.code == "invalid_cursor"

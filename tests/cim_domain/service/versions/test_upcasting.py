"""Events of older versions: every reader sees the newest one, and none guesses at a newer one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import uuid4

import pytest
from attrs import evolve, frozen
from pydantic import Strict

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Json,
    Process,
    Projection,
    Query,
    View,
    Views,
    answers,
    decides,
    evolves,
    projects,
    reacts,
    upcasts,
)
from cim_domain.client import DomainClient
from cim_domain.errors import Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter
from cim_domain.nats.jetstream.reader import follow_stream
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import event
from tests.cim_domain.faulty import until

NAME = "front"
HUGE = 2**70 + 1


class Measure(Command, type="door.measure"):
    name: str


class Slam(Command, type="door.slam"):
    name: str
    degrees: int


class Opened(Event, type="door.opened", version=3):
    """Version 1 had no angle, version 2 one in turns, and both had their marks as one text."""

    name: str
    degrees: int
    marks: Annotated[tuple[str, ...], Strict()] = ()


@upcasts(Opened, 1)
def wide(old: Json) -> Json:
    return {**old, "turns": 0.25}


@upcasts(Opened, 2)
def in_degrees(old: Json) -> Json:
    return {
        "name": old["name"],
        "degrees": old.get("exact") or int(old["turns"] * 360),
        "marks": old.get("marks", "").split(),
    }


class Measured(Event, type="door.measured"):
    name: str
    degrees: int


@frozen
class Door(Aggregate, key="name"):
    degrees: int = 0

    @decides
    def measure(self, command: Measure) -> Measured:
        return Measured(name=command.name, degrees=self.degrees)

    @decides
    def slam(self, command: Slam) -> None: ...

    @evolves
    def was_opened(self, event: Opened) -> Self:
        return evolve(self, degrees=event.degrees)

    @evolves
    def was_measured(self, event: Measured) -> Self:
        return self


class DoorView(View, name="door"):
    opened: tuple[int, ...] = ()
    measured: int | None = None


class GetDoors(Query, type="door.all"):
    pass


class Doors(Projection):
    @projects(key=lambda event, _: "all")
    def opened(self, view: DoorView | None, event: Opened) -> DoorView:
        before = view or DoorView()
        return before.model_copy(update={"opened": (*before.opened, event.degrees)})

    @projects(key=lambda event, _: "all")
    def measured(self, view: DoorView | None, event: Measured) -> DoorView:
        return (view or DoorView()).model_copy(update={"measured": event.degrees})

    @answers
    async def all(self, query: GetDoors, views: Views) -> DoorView | None:
        return await views.get(DoorView, "all")


class Closer(Process, history=True):
    def __init__(self) -> None:
        self.wrong = False
        self.seen: list[int] = []

    @reacts
    async def slam(self, event: Opened) -> Slam:
        if self.wrong:
            raise RuntimeError("a bug")
        self.seen.append(event.degrees)
        return Slam(name=event.name, degrees=event.degrees)


class Hall:
    """A log that older code has begun, and a service of today on it."""

    def __init__(self, nats: NatsSettings, link: Link) -> None:
        self.nats, self.link = nats, link
        self.subjects = Subjects("hall", nats.subject_prefix)
        self.client = DomainClient(link, self.subjects)
        self.closer = Closer()
        self.domain = Domain(
            "hall", aggregates=[Door], projections=[Doors()], processes=[self.closer]
        )
        self.door = self.domain.id_for(Measure(name=NAME))

    async def wrote(self, *records: tuple[int, bytes]) -> None:
        """What code of these versions has stored."""
        async with self.service():
            pass
        events = tuple(
            event(self.door, place, "door.opened", data, schema_version=version)
            for place, (version, data) in enumerate(records, 1)
        )
        log = JetStreamEvents(self.link, self.subjects)
        await log.append([Commit("door", self.door, START, events)])

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Service]:
        settings = load_service_settings(views="memory", attempts=1)
        async with Service(self.domain, self.nats, settings) as service:
            yield service

    async def view(self, sequence: int) -> Any:
        return (await self.client.ask(GetDoors(), min_sequence=sequence)).json()

    async def letters(self, number: int) -> Mapping[str, StoredLetter]:
        """So many dead letters, by consumer, as soon as they are there."""
        found: dict[str, StoredLetter] = {}
        follow = follow_stream(self.link, self.subjects.dead_letter_stream, 0)
        async with asyncio.timeout(10):
            async for part in follow:
                for message in part.messages:
                    letter = await self.client.dead_letters.get(message.sequence)
                    found[letter.letter.consumer] = letter
                if len(found) == number:
                    await follow.aclose()
                    return found
        raise AssertionError("following ended")


@pytest.fixture
def hall(nats_url: str, link: Link, tmp_path: Path) -> Hall:
    return Hall(
        load_settings(
            url=nats_url, subject_prefix=f"t{uuid4().hex[:12]}", data_directory=tmp_path / "data"
        ),
        link,
    )


OLD = (
    (1, b'{"name":"front"}'),
    (2, b'{"name":"front","turns":0.5,"marks":"a b"}'),
    (3, b'{"name":"front","degrees":270,"marks":["c"]}'),
    (2, b'{"name":"front","turns":0.125}'),
)


async def test_aggregates_projections_and_processes_see_the_newest_version_alone(
    hall: Hall,
) -> None:
    await hall.wrote(*OLD)
    async with hall.service():
        measured = await hall.client.send(Measure(name=NAME))
        assert (measured.status, measured.version) == ("accepted", 5)
        assert measured.sequence is not None
        assert await hall.view(measured.sequence) == {"opened": [90, 180, 270, 45], "measured": 45}
        async with asyncio.timeout(10):
            await until(lambda: len(hall.closer.seen) == len(OLD))
        assert hall.closer.seen == [90, 180, 270, 45]


async def test_a_dead_letter_of_an_older_version_is_replayed_as_the_newest(hall: Hall) -> None:
    await hall.wrote(OLD[0])
    hall.closer.wrong = True
    async with hall.service():
        letter = (await hall.letters(1))["process.closer"]
        assert letter.letter.data == OLD[0][1]
        hall.closer.wrong = False
        replayed = await hall.client.replay("process.closer", letter.sequence)
        assert (replayed.result, hall.closer.seen) == ("handled", [90])


async def test_an_event_newer_than_the_code_is_refused_by_name_everywhere(hall: Hall) -> None:
    await hall.wrote((4, b'{"name":"front","radians":1}'))
    async with hall.service() as service:
        refused = await hall.client.send(Measure(name=NAME))
        assert (refused.status, refused.version) == ("failed", None)
        # Not the service's failure: to send it again is worth it, since a newer one may answer.
        assert isinstance(refused.error, Unavailable)
        assert refused.error.code == "newer_event"
        assert refused.error.details == {"type": "door.opened", "version": 4, "sequence": 1}
        assert "door.opened in version 4" in refused.error.message
        assert "up to version 3" in refused.error.message
        async with asyncio.timeout(10):
            checks: Any = {}
            while not all(
                checks.get(name, {}).get("state") == "waiting"
                for name in ("process.closer", "projection.doors")
            ):
                checks = (await service.health())["checks"]
        for name in ("process.closer", "projection.doors"):
            assert checks[name]["status"] == "degraded"
            assert "door.opened in version 4" in checks[name]["error"]
        assert checks["dead_letters"]["count"] == 0
        assert hall.closer.seen == []


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, HUGE, -HUGE])
def test_numbers_of_any_size_come_through_upcasters_as_they_were(number: int) -> None:
    old = Opened.from_log(b'{"name":"front","turns":0.5,"exact":%d}' % number, version=2)
    assert old.degrees == number
    assert Opened.from_log(old.to_wire(), version=3) == old


def test_a_strict_field_takes_of_an_upcaster_what_it_takes_of_json() -> None:
    assert Opened.from_log(OLD[1][1], version=2).marks == ("a", "b")
    with pytest.raises(ValueError, match="degrees"):
        Opened.from_log(b'{"name":"front","turns":0.5,"exact":"many"}', version=2)

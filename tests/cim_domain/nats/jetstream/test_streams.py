"""Stream definitions: made, left, widened, refused."""

import asyncio
from typing import Any

import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import ApiError, call
from cim_domain.nats.jetstream.streams import StreamDefinition, ensure_stream, stream_config
from cim_domain.store.jetstream import ensure_log, event_stream


def definition(names: Subjects, **config: Any) -> StreamDefinition:
    return StreamDefinition(
        names.event_stream, {"subjects": [names.journals], "storage": "file", **config}
    )


async def actual(link: Link, subjects: Subjects) -> dict[str, Any]:
    return await stream_config(link.requests, subjects.event_stream) or {}


async def test_a_stream_that_is_missing_is_made_as_defined(link: Link, subjects: Subjects) -> None:
    assert await stream_config(link.requests, subjects.event_stream) is None
    wanted = event_stream(subjects)
    await ensure_stream(link.requests, wanted)
    assert wanted.differences(await actual(link, subjects)) == {}


async def test_instances_that_start_together_make_one(link: Link, subjects: Subjects) -> None:
    wanted = event_stream(subjects)
    await asyncio.gather(*(ensure_stream(link.requests, wanted) for _ in range(10)))
    assert wanted.differences(await actual(link, subjects)) == {}


async def test_one_that_is_there_is_left_as_it_is(link: Link, subjects: Subjects) -> None:
    await ensure_log(link.requests, subjects)
    info = await call(link.requests, f"STREAM.INFO.{subjects.event_stream}")
    await link.requests.one(subjects.journal("a.b", "c"), timeout=5)
    await ensure_log(link.requests, subjects)
    after = await call(link.requests, f"STREAM.INFO.{subjects.event_stream}")
    assert (after["config"], after["created"]) == (info["config"], info["created"])
    assert after["state"]["messages"] == 1


async def test_what_can_change_is_changed_and_the_rest_is_kept(
    link: Link, subjects: Subjects
) -> None:
    await ensure_stream(link.requests, definition(subjects, max_msgs=5, description="mine"))
    await ensure_stream(link.requests, definition(subjects, max_msgs=-1, allow_direct=True))
    found = await actual(link, subjects)
    assert (found["max_msgs"], found["allow_direct"], found["description"]) == (-1, True, "mine")


async def test_subjects_may_be_added(link: Link, subjects: Subjects) -> None:
    await ensure_stream(link.requests, definition(subjects))
    more = [subjects.journals, f"{subjects.root}.more"]
    await ensure_stream(link.requests, definition(subjects, subjects=more))
    assert (await actual(link, subjects))["subjects"] == more


async def test_a_stream_of_other_subjects_is_somebody_elses(link: Link, subjects: Subjects) -> None:
    # "a.b" and "a_b" lead to one name.
    other = Subjects(f"{subjects.prefix}_nix")
    assert other.event_stream == subjects.event_stream
    await ensure_log(link.requests, subjects)
    with pytest.raises(ConfigurationError, match="holds other subjects") as caught:
        await ensure_log(link.requests, other)
    assert subjects.journals in str(caught.value)
    assert (await actual(link, subjects))["subjects"] == [subjects.journals]


async def test_what_cannot_change_is_refused_with_each_difference(
    link: Link, subjects: Subjects
) -> None:
    await ensure_stream(link.requests, definition(subjects, storage="memory", max_msgs=7))
    with pytest.raises(ConfigurationError) as caught:
        await ensure_stream(link.requests, definition(subjects, max_msgs=9))
    assert "storage is 'memory', needed is 'file'" in str(caught.value)
    assert "max_msgs is 7, needed is 9" in str(caught.value)
    assert (await actual(link, subjects))["max_msgs"] == 7


async def test_what_the_server_will_not_make_is_refused(link: Link, subjects: Subjects) -> None:
    with pytest.raises(ConfigurationError, match="could not be created"):
        await ensure_log(link.requests, subjects, replicas=3)


@pytest.mark.parametrize(("wanted", "found", "fits"), [(1, 3, True), (3, 1, False), (3, 3, True)])
def test_more_replicas_than_wanted_are_left(
    subjects: Subjects, wanted: int, found: int, *, fits: bool
) -> None:
    one = StreamDefinition("S", {"num_replicas": wanted})
    assert (one.differences({"num_replicas": found}) == {}) is fits


def test_what_the_server_leaves_out_or_adds_is_no_difference() -> None:
    wanted = StreamDefinition("S", {"deny_purge": False, "max_age": 0, "republish": {"src": "a"}})
    assert wanted.differences({"republish": {"src": "a", "headers_only": False}}) == {}
    assert wanted.differences({"deny_purge": True, "republish": {"src": "b"}}) == {
        "deny_purge": (False, True),
        "republish": ({"src": "a"}, {"src": "b"}),
    }


async def test_other_errors_are_told_as_the_server_tells_them(link: Link) -> None:
    with pytest.raises(ApiError) as caught:
        await call(link.requests, "STREAM.INFO.nosuch")
    assert (caught.value.status_code, caught.value.error_code) == (404, 10059)

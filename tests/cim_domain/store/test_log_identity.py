"""Which log it is, and how many partitions it has, is said once and for all when it is made."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from cim_domain.errors import ConfigurationError, Failed
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import get_range
from cim_domain.partition import partition_of
from cim_domain.store.jetstream import JetStreamEvents, ensure_log, event_stream
from cim_domain.store.jetstream.known_log import KnownLog
from cim_domain.testing.records import commit, new_id


async def test_instances_that_start_together_agree_on_one_log(
    link: Link, subjects: Subjects
) -> None:
    found = await asyncio.gather(*(ensure_log(link.requests, subjects) for _ in range(8)))
    assert len(set(found)) == 1
    assert UUID(found[0].log_id).version == 4
    assert found[0].partitions == 16
    assert await JetStreamEvents(link, subjects).identity() == found[0]


async def test_a_log_that_is_there_keeps_its_identity_whatever_else_changes(
    link: Link, subjects: Subjects
) -> None:
    first = await ensure_log(link.requests, subjects)
    config = event_stream(subjects, identity=first).wanted
    changed = {**config, "description": "by hand", "discard": "old"}
    await call(link.requests, f"STREAM.UPDATE.{subjects.event_stream}", changed)
    assert await ensure_log(link.requests, subjects) == first


async def test_another_stream_of_the_same_name_is_another_log(
    link: Link, subjects: Subjects
) -> None:
    first = await ensure_log(link.requests, subjects)
    await call(link.requests, f"STREAM.DELETE.{subjects.event_stream}")
    assert (await ensure_log(link.requests, subjects)).log_id != first.log_id


async def test_the_number_of_partitions_is_the_logs_own(link: Link, subjects: Subjects) -> None:
    assert (await ensure_log(link.requests, subjects, partitions=3)).partitions == 3
    assert (await ensure_log(link.requests, subjects)).partitions == 3
    with pytest.raises(ConfigurationError, match=r"CIM_DOMAIN_PARTITIONS.*16.*made with 3"):
        await ensure_log(link.requests, subjects, partitions=16)


async def test_whoever_reads_and_writes_goes_by_the_logs_own_number(
    link: Link, subjects: Subjects
) -> None:
    await ensure_log(link.requests, subjects, partitions=3)
    flakes = [new_id() for _ in range(12)]
    # Neither was told that it is another number than usual.
    writer, reader = JetStreamEvents(link, subjects), JetStreamEvents(link, subjects)
    for flake in flakes:
        await writer.append([commit(flake, events=2)])
        assert len(await reader.load("flake", flake)) == 2
    stored = await get_range(link.requests, subjects.event_stream, start=1, limit=99, timeout=5)
    assert [one.subject.split(".")[3] for one in stored] == [
        str(partition_of("flake", flake, 3)) for flake in flakes for _ in range(2)
    ]


async def test_a_log_of_the_former_layout_is_refused_with_a_sentence(
    link: Link, subjects: Subjects
) -> None:
    former = {
        "name": subjects.event_stream,
        "subjects": [f"{subjects.root}.journal.*.*.*"],
        "storage": "file",
    }
    await call(link.requests, f"STREAM.CREATE.{subjects.event_stream}", former)
    with pytest.raises(ConfigurationError, match="made by an earlier release"):
        await ensure_log(link.requests, subjects)
    with pytest.raises(Failed, match="made by an earlier release") as caught:
        await JetStreamEvents(link, subjects).load("flake", new_id())
    assert caught.value.code == "another_log"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"cim_domain_log": "no uuid", "cim_domain_partitions": "16"},
        {"cim_domain_log": "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"},
        {"cim_domain_log": "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00", "cim_domain_partitions": "0"},
        {"cim_domain_log": "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00", "cim_domain_partitions": "4097"},
        {"cim_domain_log": "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00", "cim_domain_partitions": "many"},
    ],
)
async def test_a_stream_that_does_not_say_which_log_it_is_is_none(
    link: Link, subjects: Subjects, metadata: dict[str, str]
) -> None:
    made = event_stream(subjects)
    config = {**made.wanted, "metadata": metadata}
    await call(link.requests, f"STREAM.CREATE.{subjects.event_stream}", config)
    with pytest.raises(ConfigurationError, match="does not say which log it is"):
        await ensure_log(link.requests, subjects)
    with pytest.raises(Failed) as caught:
        await JetStreamEvents(link, subjects).append([commit(new_id())])
    assert caught.value.code == "another_log"


async def test_a_write_meant_for_another_stream_is_refused(link: Link, subjects: Subjects) -> None:
    """As after a split, when a writer has not heard yet where a partition is now."""
    await ensure_log(link.requests, subjects)
    store = JetStreamEvents(link, subjects)
    await store.append([commit(new_id())])
    moved = event_stream(subjects).wanted | {"name": f"{subjects.event_stream}_2"}
    narrowed = event_stream(subjects).wanted | {
        "subjects": [f"{subjects.root}.elsewhere"],
        "republish": None,
    }
    await call(link.requests, f"STREAM.UPDATE.{subjects.event_stream}", narrowed)
    await call(link.requests, f"STREAM.CREATE.{moved['name']}", moved)
    with pytest.raises(Exception, match="stream"):
        await store.append([commit(new_id())])
    state = (await call(link.requests, f"STREAM.INFO.{moved['name']}"))["state"]
    assert state["messages"] == 0


class _Overtaken(KnownLog):
    """One to which an event becomes known while the server's answer is on its way."""

    async def _ask(self) -> dict[str, Any]:
        found = await super()._ask()
        record = commit(new_id())
        (position,) = await JetStreamEvents(self._link, self._subjects).append([record])
        self.saw(position.sequence, record.events[-1].metadata.message_id)
        return found


async def test_a_log_that_grows_while_it_is_looked_at_is_no_older_copy(
    link: Link, subjects: Subjects
) -> None:
    first = await ensure_log(link.requests, subjects)
    known = _Overtaken(link, subjects, 5.0)
    for number in (1, 2):
        known.doubt()
        assert await known.check() == first
        assert known.last.sequence == number

"""The partition of an aggregate is what nats-server itself would say."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.direct import get_range
from cim_domain.partition import PARTITIONS, fnv1a, partition_of
from cim_domain.testing.records import new_id

_NAMES = ("flake", "package", "config", "a", "long_name_of_an_aggregate")


def test_the_hash_is_fnv_1a() -> None:
    # From the tables of its authors.
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"a") == 0xE40C292C
    assert fnv1a(b"foobar") == 0xBF9CF968


@given(st.sampled_from(_NAMES), st.uuids(), st.integers(1, 4096) | st.sampled_from([16, 256, 4096]))
def test_it_is_the_hash_modulo_their_number(
    aggregate: str, identifier: object, partitions: int
) -> None:
    found = partition_of(aggregate, str(identifier), partitions)
    assert found == fnv1a(f"{aggregate}{identifier}".encode()) % partitions


async def test_the_server_agrees(link: Link, subjects: Subjects) -> None:
    root = subjects.root
    name = f"{subjects.event_stream}_PARTITIONED"
    for partitions in (PARTITIONS, 7):
        await call(
            link.requests,
            f"STREAM.CREATE.{name}",
            {
                "name": name,
                "subjects": [f"{root}.in.*.*"],
                "storage": "memory",
                "allow_direct": True,
                "subject_transform": {
                    "src": f"{root}.in.*.*",
                    "dest": f"{root}.out.{{{{partition({partitions},1,2)}}}}"
                    ".{{wildcard(1)}}.{{wildcard(2)}}",
                },
            },
        )
        ids = [*(new_id() for _ in range(150)), "x", "1", "ä-ö", "ID"]
        wanted = [(aggregate, identifier) for identifier in ids for aggregate in _NAMES]
        await asyncio.gather(
            *(link.requests.one(f"{root}.in.{a}.{i}", b"", timeout=5) for a, i in wanted)
        )
        found = await get_range(link.requests, name, start=1, limit=len(wanted), timeout=5)
        assert len(found) == len(wanted)
        for message in found:
            partition, aggregate, identifier = message.subject.removeprefix(f"{root}.out.").split(
                "."
            )
            assert int(partition) == partition_of(aggregate, identifier, partitions)
        await call(link.requests, f"STREAM.DELETE.{name}")

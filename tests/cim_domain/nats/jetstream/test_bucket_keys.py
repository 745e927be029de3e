"""The keys of a bucket, known in memory: at the start, as they come, after a lost connection."""

import asyncio
from collections.abc import Callable

import pytest

from cim_domain.errors import RequestError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.bloom_filter import RotatingBloomFilter
from cim_domain.nats.jetstream.bucket_keys import BucketKeys
from cim_domain.nats.jetstream.buckets import Bucket, bucket_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.testing.server import crash, throwaway_server


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks go on until something holds that nobody announces."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


async def test_keys_are_known_from_the_start_as_they_come_and_after_a_lost_connection() -> None:
    async with throwaway_server() as server:
        link = await Link.open(load_settings(url=server.url), name="test")
        await ensure_stream(link.requests, bucket_stream("b", kept=600, most=1000))
        bucket, keys = Bucket(link, "b"), BucketKeys(link, "b", RotatingBloomFilter(1000, 600))
        assert keys.may_have("anything")
        await bucket.put("early", b"1")
        await keys.start()
        assert keys.may_have("early")
        assert not keys.may_have("late")
        await bucket.put("late", b"2")
        await until(lambda: keys.may_have("late"))
        assert not keys.may_have("never")
        crash(server)
        await until(lambda: keys.may_have("never"))
        await until(lambda: not keys.may_have("never"))
        assert keys.may_have("early")
        assert keys.may_have("late")
        await keys.stop()
        assert keys.may_have("never")
        await link.close()


async def test_a_bucket_that_is_not_there_cannot_be_read(link: Link) -> None:
    keys = BucketKeys(link, "nobody_has_made", RotatingBloomFilter(1, 1))
    with pytest.raises(RequestError, match="stream not found"):
        await keys.start()
    await keys.stop()


async def test_of_a_bucket_that_is_made_anew_the_keys_are_read_anew(
    link: Link, subjects: Subjects
) -> None:
    name = subjects.outcome_bucket
    definition = bucket_stream(name, kept=600)
    await ensure_stream(link.requests, definition)
    bucket, keys = Bucket(link, name), BucketKeys(link, name, RotatingBloomFilter(1000, 600))
    for number in range(3):
        await bucket.put(f"old{number}", b"")
    await keys.start()
    assert not keys.may_have("new")
    await call(link.requests, f"STREAM.DELETE.{definition.name}")
    await until(lambda: keys.may_have("never"))
    await ensure_stream(link.requests, definition)
    await bucket.put("new", b"")
    await until(lambda: not keys.may_have("never"))
    assert keys.may_have("new")
    await keys.stop()


async def test_what_takes_too_long_to_read_at_the_start_is_read_later(
    link: Link, subjects: Subjects
) -> None:
    name = subjects.outcome_bucket
    await ensure_stream(link.requests, bucket_stream(name, kept=600))
    await Bucket(link, name).put("early", b"")
    keys = BucketKeys(link, name, RotatingBloomFilter(1000, 600), patience=0)
    await keys.start()
    assert keys.may_have("never")
    await until(lambda: not keys.may_have("never"))
    assert keys.may_have("early")
    await keys.stop()

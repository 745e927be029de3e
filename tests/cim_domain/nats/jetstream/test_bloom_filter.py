"""A filter of keys: never a wrong no, seldom a wrong yes, and no more memory than was said."""

from uuid import uuid4

import pytest

from cim_domain.nats.jetstream.bloom_filter import RotatingBloomFilter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def keys(number: int) -> list[str]:
    return [str(uuid4()) for _ in range(number)]


def test_what_was_added_is_known_and_what_was_not_seldom_is() -> None:
    marks = RotatingBloomFilter(1000, 60)
    added = keys(1000)
    for key in added:
        marks.add(key)
    assert all(map(marks.may_have, added))
    # One in 64 is expected.
    assert sum(map(marks.may_have, keys(6400))) < 200


def test_the_latest_are_known_and_no_more_than_twice_as_many() -> None:
    marks = RotatingBloomFilter(100, 60)
    added = keys(1000)
    for key in added:
        marks.add(key)
    assert all(map(marks.may_have, added[-100:]))
    assert sum(map(marks.may_have, added[:800])) < 80


def test_each_is_known_for_its_period_and_no_longer_than_twice() -> None:
    clock = Clock()
    marks = RotatingBloomFilter(1000, 10, clock)
    for second in range(40):
        clock.now = second
        marks.add(str(second))
        assert all(marks.may_have(str(one)) for one in range(max(0, second - 10), second + 1))
    assert sum(marks.may_have(str(one)) for one in range(19)) <= 1


def test_one_that_comes_often_counts_once() -> None:
    marks = RotatingBloomFilter(2, 60)
    marks.add("first")
    for _ in range(100):
        marks.add("second")
    assert marks.may_have("first")


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        RotatingBloomFilter(0, 60)

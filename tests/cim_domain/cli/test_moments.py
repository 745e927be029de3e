"""Lengths of time as people write them."""

from datetime import UTC, datetime, timedelta

import pytest

from cim_domain.cli.exit_codes import Usage
from cim_domain.cli.reading.moments import read_after, read_since


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(seconds=0.5)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("2d3h4m5.5s", timedelta(days=2, hours=3, minutes=4, seconds=5.5)),
        ("0s", timedelta()),
    ],
)
def test_a_length_has_units_in_their_order(text: str, length: timedelta) -> None:
    assert read_after(text) == length


@pytest.mark.parametrize(
    "text", ["", "h", "30m1h", "1h1h", "1h30", "-1h", "1 h", "1w", "1e3", "1h-5m", "999999999999d"]
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(Usage, match="--after"):
        read_after(text)


def test_so_long_ago_may_be_said_in_the_same_way() -> None:
    before = datetime.now(UTC) - timedelta(hours=1, minutes=30)
    assert before <= read_since("1h30m") <= datetime.now(UTC) - timedelta(minutes=90)
    for text in ("", "999999999999d", "yesterday"):
        with pytest.raises(Usage, match="--since"):
            read_since(text)

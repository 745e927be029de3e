"""The harness runs as people run it, and says what it measured."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks.figures import Aim, at_least, at_most, ratios
from cim_domain.testing.process import clean_environment

ROOT = Path(__file__).parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_quick_run_prints_every_row_of_the_benchmark_as_json():
    done = benchmarks("--quick", "--json", "--only", "alone")

    assert done.returncode == 0, done.stderr
    document = orjson.loads(done.stdout)
    (row,) = document["rows"]
    assert document["quick"] is True
    assert (row["row"], row["unit"], row["target"]) == ("1", "x", {"at_most": 1.4})
    assert row["value"] > 0
    assert len(row["rounds"]) == 2
    assert row["reached"] is (row["value"] <= 1.4)
    assert row["figures"].keys() == {"command (ms)", "bare (ms)"}
    assert row["problem"] is None


def test_an_unknown_name_is_wrong_usage():
    assert benchmarks("--only", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (at_most(2), 2.0, True),
        (at_most(2), 2.1, False),
        (at_least(3), 3.0, True),
        (at_least(3), 2.9, False),
        (None, 1.0, None),
    ],
)
def test_a_target_is_reached_by_the_median(target, value, reached):
    assert Aim("1", "what", target).measured([value, 0, 10], {}).reached is reached


def test_a_skipped_row_has_a_reason_and_no_figure():
    row = Aim("1", "what", at_most(1)).skipped("the peer is not installed")

    assert (row.value, row.reached, row.broken) == (None, None, False)
    assert row.as_dict()["problem"] == "skipped: the peer is not installed"


def test_ratios_are_of_the_same_round():
    assert ratios([4, 9], [2, 3]) == [2, 3]

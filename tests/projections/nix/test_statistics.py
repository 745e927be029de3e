from math import ceil, fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

DRV = "/nix/store/00000000000000000000000000000000-hello.drv"
OUT = "/nix/store/11111111111111111111111111111111-hello"
REF = "github:acme/web"


async def build(nix, attribute, duration, organization=None):
    """A build that ends after `duration` seconds, or fails if that is None."""
    package = {"flake_ref": REF, "attribute": attribute, "organization": organization}
    (requested,) = await nix.send("package.build", **package)
    if duration is None:
        await nix.send(
            "package.fail_build",
            **package,
            build_id=requested.build_id,
            kind="timeout",
            message="",
            log_tail="",
        )
    else:
        await nix.send(
            "package.complete_build",
            **package,
            build_id=requested.build_id,
            drv_path=DRV,
            outputs={"out": OUT},
            duration_s=duration,
        )


async def test_before_any_build_there_is_nothing_to_take_a_mean_of(nix):
    assert await nix.ask("package.statistics") == {
        "total": 0,
        "succeeded": 0,
        "failed": 0,
        "running": 0,
        "mean_duration_s": None,
        "p95_duration_s": None,
    }


async def test_builds_are_counted_by_how_they_ended(nix):
    for attribute, duration in (("a", 1.0), ("b", 2.0), ("a", None), ("a", 6.0)):
        await build(nix, attribute, duration)
    await nix.send("package.build", flake_ref=REF, attribute="c")

    assert await nix.ask("package.statistics") == {
        "total": 5,
        "succeeded": 3,
        "failed": 1,
        "running": 1,
        "mean_duration_s": 3.0,
        "p95_duration_s": 6.0,
    }


@pytest.mark.parametrize(("builds", "p95"), [(1, 1.0), (19, 19.0), (20, 19.0), (21, 20.0)])
async def test_the_95th_percentile_is_the_nearest_rank(nix, builds, p95):
    for number in range(builds, 0, -1):
        await build(nix, "a", float(number))

    assert (await nix.ask("package.statistics"))["p95_duration_s"] == p95


async def test_an_organization_has_statistics_of_its_own(nix):
    await build(nix, "a", 1.0, "acme")
    await build(nix, "a", 3.0, "umbrella")

    acme = await nix.ask("package.statistics", organization="acme")

    assert (acme["total"], acme["mean_duration_s"], acme["p95_duration_s"]) == (1, 1.0, 1.0)
    assert (await nix.ask("package.statistics"))["total"] == 0


@settings(max_examples=50, deadline=None)
@given(ends=st.lists(st.none() | st.floats(0, 1e300), max_size=45))
def test_statistics_are_those_of_all_builds(new_read_side, run, ends):
    async def measured():
        nix = new_read_side()
        for number, duration in enumerate(ends):
            await build(nix, f"a{number % 3}", duration)
        return await nix.ask("package.statistics")

    statistics = run(measured())

    durations = sorted(duration for duration in ends if duration is not None)
    assert statistics["total"] == len(ends)
    assert statistics["succeeded"] == len(durations)
    assert statistics["failed"] == len(ends) - len(durations)
    if durations:
        mean = fsum(duration / len(durations) for duration in durations)
        assert statistics["mean_duration_s"] == pytest.approx(mean, rel=1e-12, abs=1e-300)
        rank = ceil(len(durations) * 95 / 100)
        assert statistics["p95_duration_s"] == durations[rank - 1]

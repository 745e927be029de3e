"""Builds of a package: asked for, reported on, cached."""

import orjson
import pytest
from pydantic import ValidationError

from aggregates.nix.package import (
    BuildPackage,
    CachePackage,
    CompletePackageBuild,
    FailPackageBuild,
    Package,
    PackageBuildFailed,
    PackageBuildRequested,
    PackageBuilt,
    PackageCached,
    PackageStatus,
)
from cim_domain import Command, caused_id, derived_id
from cim_domain.testing.scenario import Scenario

REF = "github:NixOS/nixpkgs"
ATTRIBUTE = "packages.x86_64-linux.hello"
DIGEST = "0123456789abcdfghijklmnpqrsvwxyz"
DRV = f"/nix/store/{DIGEST}-hello-2.12.drv"
OUT = f"/nix/store/{DIGEST}-hello-2.12"
DOC = f"/nix/store/{DIGEST}-hello-2.12-doc"
CACHE = "https://cache.example.org"
FIRST = "11111111-1111-4111-8111-111111111111"
SECOND = "22222222-2222-4222-8222-222222222222"
COMMAND = "33333333-3333-4333-8333-333333333333"


def build(output_path: str | None = None) -> BuildPackage:
    return BuildPackage(flake_ref=REF, attribute=ATTRIBUTE, output_path=output_path)


def complete(build_id: str, **outputs: str) -> CompletePackageBuild:
    return CompletePackageBuild(
        flake_ref=REF,
        attribute=ATTRIBUTE,
        build_id=build_id,
        drv_path=DRV,
        outputs=outputs or {"out": OUT},
        duration_s=1.5,
        closure_bytes=2**40,
    )


def fail(build_id: str) -> FailPackageBuild:
    return FailPackageBuild(
        flake_ref=REF,
        attribute=ATTRIBUTE,
        build_id=build_id,
        kind="build_failed",
        message="builder failed with exit code 3",
        log_tail="line one\nabout to fail\n",
    )


def cache() -> CachePackage:
    return CachePackage(flake_ref=REF, attribute=ATTRIBUTE, cache_url=CACHE)


def requested(build_id: str, number: int, output_path: str | None = None) -> PackageBuildRequested:
    return PackageBuildRequested(
        flake_ref=REF,
        attribute=ATTRIBUTE,
        output_path=output_path,
        build_id=build_id,
        number=number,
    )


def was_cached(*store_paths: str) -> PackageCached:
    return PackageCached(
        flake_ref=REF, attribute=ATTRIBUTE, cache_url=CACHE, store_paths=store_paths
    )


idle = Scenario(Package)
building = idle.given(requested(FIRST, 1))
built = building.given(complete(FIRST))
failed = building.given(fail(FIRST))


def test_a_first_build_needs_no_creating_and_has_number_1() -> None:
    command = build(output_path="/srv/result")
    after = idle.when(command, command_id=COMMAND).then(
        requested(derived_id(COMMAND, "build"), 1, "/srv/result")
    )
    assert after.state.status is PackageStatus.BUILDING
    assert after.state.running == derived_id(COMMAND, "build")


def test_a_builds_id_is_none_that_an_event_of_its_command_can_have() -> None:
    event = idle.when(build(), command_id=COMMAND).events[0]
    assert isinstance(event, PackageBuildRequested)
    assert event.build_id not in {caused_id(COMMAND, index) for index in range(1000)}


@pytest.mark.parametrize("before", [built, failed, built.given(cache())])
def test_builds_are_counted_whatever_came_of_the_ones_before(before: Scenario[Package]) -> None:
    before.when(build(), command_id=COMMAND).then(requested(derived_id(COMMAND, "build"), 2))


def test_a_package_is_built_one_build_at_a_time() -> None:
    rejection = building.when(build()).then_rejected("package.building")
    assert rejection.details == {"build_id": FIRST, "number": 1}
    assert "wait" in rejection.message


def test_the_running_build_completes() -> None:
    after = building.when(complete(FIRST, out=OUT, doc=DOC)).then(
        PackageBuilt(
            flake_ref=REF,
            attribute=ATTRIBUTE,
            build_id=FIRST,
            drv_path=DRV,
            outputs={"out": OUT, "doc": DOC},
            duration_s=1.5,
            closure_bytes=2**40,
            number=1,
        )
    )
    assert after.state.status is PackageStatus.BUILT
    assert after.state.running is None


def test_the_running_build_fails() -> None:
    after = building.when(fail(FIRST)).then(
        PackageBuildFailed(
            flake_ref=REF,
            attribute=ATTRIBUTE,
            build_id=FIRST,
            kind="build_failed",
            message="builder failed with exit code 3",
            log_tail="line one\nabout to fail\n",
            number=1,
        )
    )
    assert after.state.status is PackageStatus.FAILED
    assert after.state.running is None


@pytest.mark.parametrize("report", [complete(SECOND), fail(SECOND)], ids=["complete", "fail"])
def test_no_report_is_taken_of_another_build_than_the_running_one(report: Command) -> None:
    rejection = building.when(report).then_rejected("package.build_unknown")
    assert rejection.details == {"running": FIRST}


@pytest.mark.parametrize("report", [complete(FIRST), fail(FIRST)], ids=["complete", "fail"])
@pytest.mark.parametrize("before", [idle, built, failed], ids=["idle", "built", "failed"])
def test_no_report_is_taken_when_no_build_is_running(
    before: Scenario[Package], report: Command
) -> None:
    before.when(report).then_rejected("package.build_unknown")


def test_a_late_report_does_not_end_the_build_after_it() -> None:
    failed.given(requested(SECOND, 2)).when(complete(FIRST)).then_rejected("package.build_unknown")


def test_a_build_id_is_the_same_however_it_is_written() -> None:
    letters = "abcdefab-cdef-4bcd-8fab-cdefabcdefab"
    idle.given(requested(letters, 1)).given(complete(letters.upper()))


@pytest.mark.parametrize("before", [idle, building, failed], ids=["idle", "building", "failed"])
def test_what_was_never_built_cannot_be_cached(before: Scenario[Package]) -> None:
    rejection = before.when(cache()).then_rejected("package.not_built")
    assert "package.build" in rejection.message


def test_the_outputs_of_the_last_build_are_cached_each_store_path_once() -> None:
    before = building.given(complete(FIRST, out=OUT, doc=DOC, bin=OUT))
    after = before.when(cache()).then(was_cached(OUT, DOC))
    assert after.state.status is PackageStatus.CACHED


def test_caching_again_is_recorded_again() -> None:
    built.given(cache()).when(cache()).then(was_cached(OUT))


def test_a_later_build_that_runs_or_fails_leaves_the_last_success_to_be_cached() -> None:
    again = built.given(requested(SECOND, 2))
    assert again.when(cache()).then(was_cached(OUT)).state.status is PackageStatus.BUILDING
    after = again.given(fail(SECOND)).when(cache()).then(was_cached(OUT))
    assert after.state.status is PackageStatus.FAILED


def test_a_later_success_replaces_what_is_cached() -> None:
    again = built.given(requested(SECOND, 2), complete(SECOND, out=DOC))
    again.when(cache()).then(was_cached(DOC))


COMPLETE = {
    "flake_ref": REF,
    "attribute": ATTRIBUTE,
    "build_id": FIRST,
    "drv_path": DRV,
    "outputs": {"out": OUT},
    "duration_s": 2,
}


def test_a_report_may_leave_the_closure_out_and_give_whole_seconds() -> None:
    command = CompletePackageBuild.from_wire(orjson.dumps(COMPLETE))
    assert command.closure_bytes is None
    assert command.duration_s == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"build_id": "1"}, ("build_id",)),
        ({"drv_path": OUT}, ("drv_path",)),
        ({"outputs": {}}, ("outputs",)),
        ({"outputs": {"out": "/tmp/out"}}, ("outputs", "out")),
        ({"outputs": {"-o": OUT}}, ("outputs", "-o", "[key]")),
        ({"duration_s": -1}, ("duration_s",)),
        ({"closure_bytes": 1.5}, ("closure_bytes",)),
        ({"number": 1}, ("number",)),
    ],
)
def test_a_report_that_is_not_valid_is_refused_at_the_field(
    change: dict[str, object], field: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        CompletePackageBuild.from_wire(orjson.dumps(COMPLETE | change))
    assert [error["loc"] for error in refusal.value.errors()] == [field]


@pytest.mark.parametrize("kind", ["", "Failed", "1st", "a b", "failed\n", "x" * 65])
def test_a_failures_kind_is_a_short_word_for_programs(kind: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        FailPackageBuild.from_wire(orjson.dumps(fail(FIRST).model_dump() | {"kind": kind}))
    assert [error["loc"] for error in refusal.value.errors()] == [("kind",)]

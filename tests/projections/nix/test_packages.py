import pytest
from pydantic import ValidationError

from cim_domain import NotFound
from projections.nix.packages import LogTailView

REF = "github:acme/web"
HELLO = {"flake_ref": REF, "attribute": "packages.x86_64-linux.hello"}
DRV = "/nix/store/00000000000000000000000000000000-hello.drv"
OUT = "/nix/store/11111111111111111111111111111111-hello"
DONE = {"drv_path": DRV, "outputs": {"out": OUT}, "duration_s": 2.5, "closure_bytes": 1024}
FAILED = {"kind": "builder_failed", "message": "exit code 1", "log_tail": "cc: not found\n"}
CACHE = "https://cache.example.org"


async def build(nix, package=HELLO, **fields):
    """Ask for a build; gives its id."""
    (requested,) = await nix.send("package.build", **package, **fields)
    return requested.build_id


async def complete(nix, package=HELLO, **fields):
    build_id = await build(nix, package)
    await nix.send("package.complete_build", **package, build_id=build_id, **(DONE | fields))
    return build_id


async def fail(nix, package=HELLO, **fields):
    build_id = await build(nix, package)
    await nix.send("package.fail_build", **package, build_id=build_id, **(FAILED | fields))
    return build_id


async def test_a_package_is_there_once_its_build_was_asked_for(nix, at):
    build_id = await build(nix, output_path="/srv/result")

    assert await nix.ask("package.get", **HELLO) == {
        "package_id": nix.id_of("package", REF, HELLO["attribute"]),
        **HELLO,
        "system": "x86_64-linux",
        "status": "building",
        "builds": 1,
        "running": {
            "build_id": build_id,
            "number": 1,
            "requested_at": at(1),
            "output_path": "/srv/result",
        },
        "last_result": None,
        "cached": [],
        "created_at": at(1),
        "updated_at": at(1),
        "version": 1,
    }


async def test_a_completed_build_is_the_last_result(nix, at):
    build_id = await complete(nix)

    package = await nix.ask("package.get", **HELLO)

    assert (package["status"], package["running"]) == ("built", None)
    assert (package["version"], package["created_at"], package["updated_at"]) == (2, at(1), at(2))
    assert package["last_result"] == {
        "succeeded": True,
        "build_id": build_id,
        "number": 1,
        "finished_at": at(2),
        **DONE,
    }


async def test_a_failed_build_is_the_last_result_and_its_log_is_part_of_the_status(nix, at):
    build_id = await fail(nix)
    result = {
        "succeeded": False,
        "build_id": build_id,
        "number": 1,
        "finished_at": at(2),
        "kind": "builder_failed",
        "message": "exit code 1",
    }

    assert (await nix.ask("package.get", **HELLO))["last_result"] == result
    assert await nix.ask("package.get_status", **HELLO) == {
        "package_id": nix.id_of("package", REF, HELLO["attribute"]),
        **HELLO,
        "status": "failed",
        "running": None,
        "last_result": {**result, "log_tail": "cc: not found\n"},
    }


async def test_the_status_of_a_package_that_is_built_again_tells_the_build_and_the_last(nix, at):
    first = await complete(nix)
    second = await build(nix)

    status = await nix.ask("package.get_status", **HELLO)

    assert status["status"] == "building"
    assert status["running"] == {
        "build_id": second,
        "number": 2,
        "requested_at": at(3),
        "output_path": None,
    }
    assert (status["last_result"]["build_id"], status["last_result"]["succeeded"]) == (first, True)


async def test_each_failure_has_its_own_log_and_a_success_has_none(nix):
    await fail(nix, log_tail="first")
    await fail(nix, log_tail="second")
    assert (await nix.ask("package.get_status", **HELLO))["last_result"]["log_tail"] == "second"

    await complete(nix)

    assert "log_tail" not in (await nix.ask("package.get_status", **HELLO))["last_result"]
    assert (await nix.ask("package.get", **HELLO))["builds"] == 3


async def test_the_log_of_a_failure_is_kept_no_longer_than_until_a_success(nix):
    id_ = nix.id_of("package", REF, HELLO["attribute"])
    await fail(nix)
    assert await nix.view("packages", LogTailView, id_) == LogTailView(log_tail="cc: not found\n")

    await complete(nix)

    assert await nix.view("packages", LogTailView, id_) is None


async def test_status_is_asked_for_under_both_names(nix):
    await fail(nix)

    assert await nix.ask("package.status", **HELLO) == await nix.ask("package.get_status", **HELLO)


async def test_a_cached_package_tells_where_and_what(nix, at):
    await complete(nix)
    await nix.send("package.cache", **HELLO, cache_url=CACHE)

    package = await nix.ask("package.get", **HELLO)

    assert package["status"] == "cached"
    assert package["cached"] == [{"cache_url": CACHE, "cached_at": at(3), "store_paths": [OUT]}]


async def test_a_package_cached_twice_in_one_place_is_told_once(nix, at):
    await complete(nix)
    for url in (CACHE, "file:///srv/cache", CACHE):
        await nix.send("package.cache", **HELLO, cache_url=url)

    cached = (await nix.ask("package.get", **HELLO))["cached"]

    assert [(one["cache_url"], one["cached_at"]) for one in cached] == [
        ("file:///srv/cache", at(4)),
        (CACHE, at(5)),
    ]


async def test_what_a_new_build_gave_is_cached_nowhere_yet(nix):
    await complete(nix)
    await nix.send("package.cache", **HELLO, cache_url=CACHE)
    await complete(nix)

    package = await nix.ask("package.get", **HELLO)

    assert (package["status"], package["cached"]) == ("built", [])


async def test_caching_while_a_build_runs_or_after_it_failed_keeps_the_status(nix):
    await complete(nix)
    build_id = await build(nix)
    await nix.send("package.cache", **HELLO, cache_url=CACHE)
    assert (await nix.ask("package.get", **HELLO))["status"] == "building"

    await nix.send("package.fail_build", **HELLO, build_id=build_id, **FAILED)
    await nix.send("package.cache", **HELLO, cache_url="file:///srv/cache")

    package = await nix.ask("package.get", **HELLO)
    assert package["status"] == "failed"
    assert [one["cache_url"] for one in package["cached"]] == [CACHE, "file:///srv/cache"]


async def test_a_package_is_found_by_its_id(nix):
    await complete(nix)
    id_ = nix.id_of("package", REF, HELLO["attribute"])

    assert await nix.ask("package.get", package_id=id_) == await nix.ask("package.get", **HELLO)
    assert (await nix.ask("package.status", package_id=id_))["status"] == "built"


@pytest.mark.parametrize("query", ["package.get", "package.get_status", "package.status"])
@pytest.mark.parametrize(
    "asked",
    [
        {"flake_ref": REF, "attribute": "packages.x86_64-linux.other"},
        {"flake_ref": "github:acme/other", "attribute": HELLO["attribute"]},
        {"package_id": "00000000-0000-0000-0000-000000000000"},
    ],
)
async def test_an_unknown_package_is_not_found(nix, query, asked):
    await complete(nix)

    with pytest.raises(NotFound) as error:
        await nix.ask(query, **asked)

    assert error.value.code == "not_found"


@pytest.mark.parametrize("query", ["package.get", "package.get_status"])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"flake_ref": REF},
        {"attribute": "hello"},
        {"attribute": "hello", "package_id": "00000000-0000-0000-0000-000000000000"},
        {**HELLO, "package_id": "00000000-0000-0000-0000-000000000000"},
    ],
)
async def test_a_package_is_asked_for_by_exactly_one_of_key_and_id(nix, query, asked):
    with pytest.raises(
        ValidationError, match="expected either flake_ref and attribute, or package_id"
    ):
        await nix.ask(query, **asked)


@pytest.mark.parametrize(
    ("attribute", "system"),
    [
        ("packages.aarch64-darwin.hello", "aarch64-darwin"),
        ('packages."x86_64-linux"."a.b"', "x86_64-linux"),
        ("hello", None),
        ("nixosConfigurations.web", None),
        ('packages."x86_64-linux.hello"', None),
    ],
)
async def test_the_system_is_the_segment_of_the_attribute_that_names_one(nix, attribute, system):
    package = {"flake_ref": REF, "attribute": attribute}
    await build(nix, package)

    assert (await nix.ask("package.get", **package))["system"] == system


async def test_packages_are_listed_by_status_system_and_text(nix):
    linux, darwin, other = (
        {"flake_ref": "github:acme/a", "attribute": "packages.x86_64-linux.hello"},
        {"flake_ref": "github:acme/b", "attribute": "packages.aarch64-darwin.hello"},
        {"flake_ref": "github:acme/c", "attribute": "packages.x86_64-linux.web"},
    )
    await complete(nix, linux)
    await fail(nix, darwin)
    await build(nix, other)

    async def listed(**asked):
        found = await nix.pages("package.list", **asked)
        return [{key: one[key] for key in ("flake_ref", "attribute")} for one in found]

    assert await listed() == [linux, darwin, other]
    assert await listed(limit=1) == [linux, darwin, other]
    assert await listed(status="failed") == [darwin]
    assert await listed(status="cached") == []
    assert await listed(system="x86_64-linux") == [linux, other]
    assert await listed(system="x86_64-linux", status="building") == [other]
    assert await listed(text="HELLO") == [linux, darwin]
    assert await listed(text="acme/c") == [other]
    assert await listed(text="hello", system="x86_64-linux", status="built") == [linux]


async def test_the_items_of_a_list_are_the_packages_themselves(nix):
    await fail(nix)

    assert (await nix.ask("package.list"))["items"] == [await nix.ask("package.get", **HELLO)]


@pytest.mark.parametrize("asked", [{"status": "done"}, {"system": "x86_64-linus"}, {"limit": 501}])
async def test_a_status_or_system_that_there_is_not_is_refused(nix, asked):
    with pytest.raises(ValidationError):
        await nix.ask("package.list", **asked)


async def test_an_organization_sees_its_own_packages_only(nix):
    await nix.send("package.build", **HELLO, organization="acme")

    assert (await nix.ask("package.list", organization="acme"))["items"] != []
    assert (await nix.ask("package.list", organization="umbrella"))["items"] == []
    with pytest.raises(NotFound):
        await nix.ask("package.status", **HELLO, organization="umbrella")

import pytest
from pydantic import ValidationError

from cim_domain import NotFound

WEB = {
    "system": "x86_64-linux",
    "path": "/srv/web",
    "hostname": "web1",
    "modules": ["nginx"],
    "overlays": ["ours"],
    "packages": ["hello"],
    "specialisations": ["debug"],
}


async def test_a_created_configuration_is_found_by_its_name(nix, at):
    await nix.send("config.create", name="web", configuration=WEB)

    assert await nix.ask("config.get", name="web") == {
        "config_id": nix.id_of("config", "web"),
        "name": "web",
        "status": "created",
        "system": "x86_64-linux",
        "configuration": WEB,
        "generation": None,
        "generations": 0,
        "activated_at": None,
        "created_at": at(1),
        "updated_at": at(1),
        "version": 1,
    }


@pytest.mark.parametrize("field", ["config_id", "id"])
async def test_a_configuration_is_found_by_its_id(nix, field):
    await nix.send("config.create", name="web", configuration=WEB)

    found = await nix.ask("config.get", **{field: nix.id_of("config", "web")})

    assert found == await nix.ask("config.get", name="web")


async def test_an_update_replaces_the_content(nix, at):
    other = WEB | {"system": "aarch64-linux", "modules": []}
    await nix.send("config.create", name="web", configuration=WEB)
    before = await nix.ask("config.get", name="web")

    await nix.send("config.update", name="web", configuration=other)

    assert await nix.ask("config.get", name="web") == before | {
        "configuration": other,
        "system": "aarch64-linux",
        "updated_at": at(2),
        "version": 2,
    }


async def test_a_switch_gives_a_generation(nix, at):
    await nix.send("config.create", name="web", configuration=WEB)
    before = await nix.ask("config.get", name="web")

    await nix.send("config.activate", name="web", activation_type="switch")

    assert await nix.ask("config.get", name="web") == before | {
        "status": "activated",
        "generation": 1,
        "generations": 1,
        "activated_at": at(2),
        "updated_at": at(2),
        "version": 2,
    }


SWITCH = ("config.activate", {"activation_type": "switch"})
BOOT = ("config.activate", {"activation_type": "boot"})
TEST = ("config.activate", {"activation_type": "test"})
UPDATE = ("config.update", {"configuration": WEB | {"packages": []}})
BACK = ("config.rollback", {})


@pytest.mark.parametrize(
    ("steps", "status", "generation", "generations"),
    [
        ([UPDATE], "created", None, 0),
        ([BOOT], "boot_ready", None, 0),
        ([TEST], "testing", None, 0),
        ([SWITCH, UPDATE], "modified", 1, 1),
        ([SWITCH, UPDATE, SWITCH], "activated", 2, 2),
        ([SWITCH, TEST], "testing", 1, 1),
        ([SWITCH, TEST, BACK], "activated", 1, 1),
        ([SWITCH, SWITCH, BACK], "activated", 1, 2),
        ([SWITCH, SWITCH, UPDATE, BACK], "modified", 1, 2),
        ([SWITCH, SWITCH, BACK, SWITCH], "activated", 3, 3),
        ([SWITCH, BOOT], "boot_ready", 1, 1),
    ],
)
async def test_the_status_and_the_generation_follow_what_was_done(
    nix, steps, status, generation, generations
):
    await nix.send("config.create", name="web", configuration=WEB)
    for type_, fields in steps:
        await nix.send(type_, name="web", **fields)

    found = await nix.ask("config.get", name="web")

    assert (found["status"], found["generation"]) == (status, generation)
    assert found["generations"] == generations


@pytest.mark.parametrize(
    "asked", [{"name": "web"}, {"config_id": "00000000-0000-0000-0000-000000000000"}]
)
async def test_an_unknown_configuration_is_not_found(nix, asked):
    with pytest.raises(NotFound, match="there is no configuration with") as error:
        await nix.ask("config.get", **asked)

    assert error.value.code == "not_found"


@pytest.mark.parametrize(
    "asked", [{}, {"name": "web", "config_id": "00000000-0000-0000-0000-000000000000"}]
)
async def test_a_configuration_is_asked_for_by_exactly_one_of_name_and_id(nix, asked):
    with pytest.raises(ValidationError, match="expected either name, or config_id"):
        await nix.ask("config.get", **asked)


async def test_configurations_are_listed_by_name_system_and_status(nix):
    arm = WEB | {"system": "aarch64-linux"}
    for name, configuration in (("c", WEB), ("a", arm), ("b", WEB)):
        await nix.send("config.create", name=name, configuration=configuration)
    await nix.send("config.activate", name="b", activation_type="switch")

    async def listed(**asked):
        return [one["name"] for one in await nix.pages("config.list", **asked)]

    assert await listed() == ["a", "b", "c"]
    assert await listed(limit=2) == ["a", "b", "c"]
    assert await listed(system="x86_64-linux") == ["b", "c"]
    assert await listed(system="x86_64-linux", limit=1) == ["b", "c"]
    assert await listed(status="activated") == ["b"]
    assert await listed(system="aarch64-linux", status="activated") == []
    assert (await nix.ask("config.list"))["items"][0] == await nix.ask("config.get", name="a")


@pytest.mark.parametrize("asked", [{"status": "active"}, {"system": "pdp-11"}, {"limit": 0}])
async def test_a_status_or_system_that_there_is_not_is_refused(nix, asked):
    with pytest.raises(ValidationError):
        await nix.ask("config.list", **asked)


async def test_an_organization_sees_its_own_configurations_only(nix):
    await nix.send("config.create", name="web", configuration=WEB, organization="acme")

    assert (await nix.ask("config.list", organization="umbrella"))["items"] == []
    with pytest.raises(NotFound):
        await nix.ask("config.get", name="web", organization="umbrella")
    assert (await nix.ask("config.get", name="web", organization="acme"))["name"] == "web"

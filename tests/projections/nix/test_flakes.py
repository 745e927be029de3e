import pytest
from pydantic import ValidationError

from cim_domain import CimError, Invalid, Metadata, NotFound
from projections.nix.flakes import Flakes

WEB = "/srv/web"
NIXPKGS = "github:NixOS/nixpkgs/nixos-25.05"


async def test_a_created_flake_is_found_at_its_path(nix, at):
    await nix.send("flake.create", path=WEB, description="The site", template="rust")

    assert await nix.ask("flake.get", path=WEB) == {
        "flake_id": nix.id_of("flake", WEB),
        "path": WEB,
        "description": "The site",
        "template": "rust",
        "inputs": [],
        "created_at": at(1),
        "updated_at": at(1),
        "version": 1,
    }


async def test_a_flake_is_found_by_its_id(nix):
    await nix.send("flake.create", path=WEB)

    found = await nix.ask("flake.get", flake_id=nix.id_of("flake", WEB))

    assert found == await nix.ask("flake.get", path=WEB)
    assert found["template"] is None


async def test_an_update_of_a_flake_changes_its_time_and_version_only(nix, at):
    await nix.send("flake.create", path=WEB)
    before = await nix.ask("flake.get", path=WEB)

    await nix.send("flake.update", path=WEB)

    assert await nix.ask("flake.get", path=WEB) == before | {"updated_at": at(2), "version": 2}


async def test_inputs_are_given_in_the_order_of_their_names(nix):
    await nix.send("flake.create", path=WEB)
    await nix.send("flake.add_input", path=WEB, name="nixpkgs", url=NIXPKGS)
    await nix.send(
        "flake.add_input",
        path=WEB,
        name="home",
        url="github:nix-community/home-manager",
        follows={"nixpkgs": "nixpkgs"},
    )

    inputs = await nix.ask("flake.get_inputs", path=WEB)

    assert inputs == [
        {
            "name": "home",
            "url": "github:nix-community/home-manager",
            "follows": {"nixpkgs": "nixpkgs"},
        },
        {"name": "nixpkgs", "url": NIXPKGS, "follows": {}},
    ]
    assert (await nix.ask("flake.get", path=WEB))["inputs"] == inputs
    assert await nix.ask("flake.get_inputs", flake_id=nix.id_of("flake", WEB)) == inputs


async def test_a_removed_input_is_gone_and_the_others_stay(nix, at):
    await nix.send("flake.create", path=WEB)
    await nix.send("flake.add_input", path=WEB, name="a", url=NIXPKGS)
    await nix.send("flake.add_input", path=WEB, name="b", url=NIXPKGS)

    await nix.send("flake.remove_input", path=WEB, name="a")

    assert [one["name"] for one in await nix.ask("flake.get_inputs", path=WEB)] == ["b"]
    found = await nix.ask("flake.get", path=WEB)
    assert (found["version"], found["updated_at"], found["created_at"]) == (4, at(4), at(1))


async def test_a_flake_without_inputs_has_none(nix):
    await nix.send("flake.create", path=WEB)

    assert await nix.ask("flake.get_inputs", path=WEB) == []


@pytest.mark.parametrize("query", ["flake.get", "flake.get_inputs"])
@pytest.mark.parametrize(
    "asked", [{"path": "/srv/other"}, {"flake_id": "00000000-0000-0000-0000-000000000000"}]
)
async def test_an_unknown_flake_is_not_found(nix, query, asked):
    await nix.send("flake.create", path=WEB)

    with pytest.raises(NotFound) as error:
        await nix.ask(query, **asked)

    assert error.value.code == "not_found"
    assert next(iter(asked.values())) in error.value.message


@pytest.mark.parametrize("query", ["flake.get", "flake.get_inputs"])
@pytest.mark.parametrize(
    "asked",
    [{}, {"path": None}, {"path": WEB, "flake_id": "00000000-0000-0000-0000-000000000000"}],
)
async def test_a_flake_is_asked_for_by_exactly_one_of_path_and_id(nix, query, asked):
    with pytest.raises(ValidationError, match="expected either path, or flake_id"):
        await nix.ask(query, **asked)


@pytest.mark.parametrize("asked", [{"path": "srv/web"}, {"flake_id": "web"}, {"name": "web"}])
async def test_what_is_no_path_and_no_id_is_refused(nix, asked):
    with pytest.raises(ValidationError):
        await nix.ask("flake.get", **asked)


async def test_flakes_are_listed_by_path(nix):
    for path in ("/srv/c", "/srv/a", "/srv/b"):
        await nix.send("flake.create", path=path)

    listed = await nix.ask("flake.list")

    assert listed["next"] is None
    assert [one["path"] for one in listed["items"]] == ["/srv/a", "/srv/b", "/srv/c"]
    assert listed["items"][0] == await nix.ask("flake.get", path="/srv/a")


async def test_a_list_is_handed_out_in_pages(nix):
    paths = [f"/srv/{number}" for number in range(7)]
    for path in paths:
        await nix.send("flake.create", path=path)

    first = await nix.ask("flake.list", limit=3)

    assert [one["path"] for one in first["items"]] == paths[:3]
    assert [one["path"] for one in await nix.pages("flake.list", limit=3)] == paths


async def test_a_list_has_fifty_items_unless_told_otherwise(nix):
    for number in range(51):
        await nix.send("flake.create", path=f"/srv/{number}")

    assert len((await nix.ask("flake.list"))["items"]) == 50
    assert len((await nix.ask("flake.list", limit=500))["items"]) == 51


@pytest.mark.parametrize("limit", [0, 501, -1, "3", None])
async def test_a_page_has_from_1_to_500_items(nix, limit):
    with pytest.raises(ValidationError, match="limit"):
        await nix.ask("flake.list", limit=limit)


async def test_a_cursor_that_no_page_gave_is_refused(nix):
    with pytest.raises(Invalid):
        await nix.ask("flake.list", after="nonsense")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("WEB", ["/srv/Website", "/srv/web"]),
        ("crawler", ["/srv/spider"]),
        ("", ["/srv/Website", "/srv/spider", "/srv/web"]),
        ("%", []),
    ],
)
async def test_text_is_looked_for_in_path_and_description(nix, text, found):
    await nix.send("flake.create", path="/srv/web", description="a site")
    await nix.send("flake.create", path="/srv/Website")
    await nix.send("flake.create", path="/srv/spider", description="Crawlers")

    assert [one["path"] for one in await nix.pages("flake.list", text=text)] == found


async def test_an_organization_sees_its_own_flakes_only(nix):
    await nix.send("flake.create", path=WEB, organization="acme", description="theirs")
    await nix.send("flake.create", path=WEB, organization="umbrella", description="ours")

    ours = await nix.ask("flake.get", path=WEB, organization="umbrella")

    assert ours["description"] == "ours"
    assert (await nix.ask("flake.list", organization="umbrella"))["items"] == [ours]
    with pytest.raises(NotFound):
        await nix.ask("flake.get", path=WEB)
    with pytest.raises(NotFound):
        await nix.ask("flake.get", flake_id=ours["flake_id"], organization="acme")


async def test_an_event_whose_view_is_missing_is_no_silent_loss(nix):
    await nix.send("flake.create", path=WEB)
    events = await nix.send("flake.update", path=WEB)
    metadata: Metadata = nix.log[-1].metadata

    with pytest.raises(CimError, match=r"flake\.updated \(version 2 of .*\).*rebuild"):
        Flakes().updated(None, events[0], metadata)

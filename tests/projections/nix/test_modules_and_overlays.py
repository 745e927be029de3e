"""Modules and overlays live the same life, so one set of tests tells it of both."""

import pytest
from pydantic import ValidationError

from cim_domain import NotFound

MODULE = {
    "options": {"services.web.enable": {"type": "bool"}},
    "config": {"services": {"web": {"port": 80, "hosts": ["a", None]}}},
    "imports": ["./hardware.nix"],
}
OVERLAY = {"overrides": {"hello": {"doCheck": False}}, "additions": {"ours": {"version": "1"}}}
OTHER_MODULE = {"options": {}, "config": {"a": 1.5}, "imports": []}
OTHER_OVERLAY = {"overrides": {}, "additions": {"theirs": {}}}

kinds = pytest.mark.parametrize(
    ("kind", "content", "other"),
    [("module", MODULE, OTHER_MODULE), ("overlay", OVERLAY, OTHER_OVERLAY)],
    ids=["module", "overlay"],
)


@kinds
async def test_what_was_created_is_found_by_its_name(nix, at, kind, content, other):
    await nix.send(f"{kind}.create", name="web", **{kind: content})

    assert await nix.ask(f"{kind}.get", name="web") == {
        f"{kind}_id": nix.id_of(kind, "web"),
        "name": "web",
        kind: content,
        "created_at": at(1),
        "updated_at": at(1),
        "version": 1,
    }


@kinds
@pytest.mark.parametrize("field", ["{}_id", "id"])
async def test_it_is_found_by_its_id(nix, kind, content, other, field):
    await nix.send(f"{kind}.create", name="web", **{kind: content})

    found = await nix.ask(f"{kind}.get", **{field.format(kind): nix.id_of(kind, "web")})

    assert found == await nix.ask(f"{kind}.get", name="web")


@kinds
async def test_an_update_replaces_the_content(nix, at, kind, content, other):
    await nix.send(f"{kind}.create", name="web", **{kind: content})
    before = await nix.ask(f"{kind}.get", name="web")

    await nix.send(f"{kind}.update", name="web", **{kind: other})

    after = await nix.ask(f"{kind}.get", name="web")
    assert after == before | {kind: other, "updated_at": at(2), "version": 2}


@kinds
async def test_what_was_deleted_is_not_found_and_not_listed(nix, kind, content, other):
    await nix.send(f"{kind}.create", name="web", **{kind: content})
    await nix.send(f"{kind}.create", name="db", **{kind: content})

    await nix.send(f"{kind}.delete", name="web")

    assert [one["name"] for one in (await nix.ask(f"{kind}.list"))["items"]] == ["db"]
    with pytest.raises(NotFound):
        await nix.ask(f"{kind}.get", name="web")
    with pytest.raises(NotFound):
        await nix.ask(f"{kind}.get", id=nix.id_of(kind, "web"))


@kinds
async def test_what_is_created_again_begins_anew(nix, at, kind, content, other):
    await nix.send(f"{kind}.create", name="web", **{kind: content})
    await nix.send(f"{kind}.delete", name="web")

    await nix.send(f"{kind}.create", name="web", **{kind: other})

    found = await nix.ask(f"{kind}.get", name="web")
    assert found[kind] == other
    assert (found["created_at"], found["updated_at"], found["version"]) == (at(3), at(3), 3)


@kinds
@pytest.mark.parametrize("asked", [{"name": "web"}, {"id": "00000000-0000-0000-0000-000000000000"}])
async def test_what_never_was_is_not_found(nix, kind, content, other, asked):
    with pytest.raises(NotFound, match=f"there is no {kind} with") as error:
        await nix.ask(f"{kind}.get", **asked)

    assert error.value.code == "not_found"


@kinds
@pytest.mark.parametrize(
    "asked", [{}, {"name": "web", "id": "00000000-0000-0000-0000-000000000000"}]
)
async def test_it_is_asked_for_by_exactly_one_of_name_and_id(nix, kind, content, other, asked):
    with pytest.raises(ValidationError, match=f"expected either name, or {kind}_id"):
        await nix.ask(f"{kind}.get", **asked)


@kinds
async def test_a_list_is_by_name_in_pages_of_what_holds_the_text(nix, kind, content, other):
    for name in ("web-3", "db", "Web-1", "web-2"):
        await nix.send(f"{kind}.create", name=name, **{kind: content})

    found = await nix.pages(f"{kind}.list", text="web", limit=1)

    assert [one["name"] for one in found] == ["Web-1", "web-2", "web-3"]
    assert len((await nix.ask(f"{kind}.list"))["items"]) == 4


@kinds
async def test_an_organization_sees_its_own_only(nix, kind, content, other):
    await nix.send(f"{kind}.create", name="web", organization="acme", **{kind: content})

    assert (await nix.ask(f"{kind}.list", organization="umbrella"))["items"] == []
    with pytest.raises(NotFound):
        await nix.ask(f"{kind}.get", name="web", organization="umbrella")
    found = await nix.ask(f"{kind}.get", name="web", organization="acme")
    assert found[kind] == content

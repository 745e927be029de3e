import pytest
from pydantic import ValidationError

from cim_domain import NotFound

NIXPKGS = "github:NixOS/nixpkgs"


async def flake(nix, path, inputs=None, **fields):
    await nix.send("flake.create", path=path, **fields)
    for name, url in (inputs or {}).items():
        await nix.send("flake.add_input", path=path, name=name, url=url, **fields)


def flakes_in(graph):
    return {node["label"]: node["expanded"] for node in graph["nodes"] if node["kind"] == "flake"}


def links_in(graph):
    return [
        (edge["source"], edge["target"]) for edge in graph["edges"] if edge["kind"] == "points_to"
    ]


async def test_a_flake_its_inputs_and_what_they_follow_are_a_graph(nix):
    await flake(nix, "/srv/web", {"nixpkgs": NIXPKGS})
    await nix.send(
        "flake.add_input",
        path="/srv/web",
        name="home",
        url="github:nix-community/home-manager",
        follows={"pkgs": "nixpkgs"},
    )

    graph = await nix.ask("dependency.graph")

    assert graph == {
        "nodes": [
            {"kind": "flake", "id": "flake:/srv/web", "label": "/srv/web", "expanded": True},
            {
                "kind": "input",
                "id": "input:/srv/web#home",
                "label": "home",
                "url": "github:nix-community/home-manager",
            },
            {
                "kind": "input",
                "id": "input:/srv/web#nixpkgs",
                "label": "nixpkgs",
                "url": NIXPKGS,
            },
        ],
        "edges": [
            {
                "kind": "input",
                "source": "flake:/srv/web",
                "target": "input:/srv/web#home",
                "label": "home",
            },
            {
                "kind": "input",
                "source": "flake:/srv/web",
                "target": "input:/srv/web#nixpkgs",
                "label": "nixpkgs",
            },
            {
                "kind": "follows",
                "source": "input:/srv/web#home",
                "target": "input:/srv/web#nixpkgs",
                "label": "pkgs",
            },
        ],
        "next": None,
    }
    assert await nix.ask("dependency.graph", path="/srv/web") == graph


async def test_a_removed_input_is_no_part_of_the_graph(nix):
    await flake(nix, "/srv/web", {"a": NIXPKGS, "b": NIXPKGS})

    await nix.send("flake.remove_input", path="/srv/web", name="a")

    graph = await nix.ask("dependency.graph")
    assert [node["label"] for node in graph["nodes"]] == ["/srv/web", "b"]
    assert [edge["label"] for edge in graph["edges"]] == ["b"]


@pytest.mark.parametrize(
    "url",
    [
        "path:/srv/library",
        "/srv/library",
        "git+file:///srv/library",
        "git+file:///srv?dir=library",
    ],
)
async def test_an_input_that_is_a_known_flake_points_to_it(nix, url):
    await flake(nix, "/srv/library")
    await flake(nix, "/srv/web", {"library": url})

    graph = await nix.ask("dependency.graph")

    assert links_in(graph) == [("input:/srv/web#library", "flake:/srv/library")]


async def test_a_relative_input_points_to_a_flake_inside_of_its_own(nix):
    await flake(nix, "/srv/web", {"library": "path:./library"})
    await flake(nix, "/srv/web/library")

    graph = await nix.ask("dependency.graph")

    assert links_in(graph) == [("input:/srv/web#library", "flake:/srv/web/library")]


async def test_an_input_points_to_a_flake_that_becomes_known_later(nix):
    await flake(nix, "/srv/web", {"library": "path:/srv/library"})
    assert links_in(await nix.ask("dependency.graph")) == []

    await flake(nix, "/srv/library")

    assert links_in(await nix.ask("dependency.graph")) != []


async def test_the_graph_of_a_flake_leads_on_to_all_that_it_depends_on_and_no_further(nix):
    await flake(nix, "/srv/a", {"b": "path:/srv/b"})
    await flake(nix, "/srv/b", {"c": "path:/srv/c", "a": "path:/srv/a"})
    await flake(nix, "/srv/c")
    await flake(nix, "/srv/unrelated", {"a": "path:/srv/a"})

    graph = await nix.ask("dependency.graph", path="/srv/a")

    assert flakes_in(graph) == {"/srv/a": True, "/srv/b": True, "/srv/c": True}
    assert links_in(graph) == [
        ("input:/srv/a#b", "flake:/srv/b"),
        ("input:/srv/b#a", "flake:/srv/a"),
        ("input:/srv/b#c", "flake:/srv/c"),
    ]


async def test_past_the_limit_flakes_are_named_but_not_expanded(nix):
    await flake(nix, "/srv/a", {"b": "path:/srv/b"})
    await flake(nix, "/srv/b", {"c": "path:/srv/c"})
    await flake(nix, "/srv/c")

    graph = await nix.ask("dependency.graph", path="/srv/a", limit=1)

    assert flakes_in(graph) == {"/srv/a": True, "/srv/b": False}
    assert links_in(graph) == [("input:/srv/a#b", "flake:/srv/b")]


async def test_the_graph_of_all_is_handed_out_in_pages_whose_edges_have_both_ends(nix):
    await flake(nix, "/srv/a", {"c": "path:/srv/c"})
    await flake(nix, "/srv/b")
    await flake(nix, "/srv/c", {"a": "path:/srv/a"})
    pages = [await nix.ask("dependency.graph", limit=1)]

    while pages[-1]["next"] is not None:
        pages.append(await nix.ask("dependency.graph", limit=1, after=pages[-1]["next"]))

    assert [flakes_in(page) for page in pages] == [
        {"/srv/a": True, "/srv/c": False},
        {"/srv/b": True},
        {"/srv/c": True, "/srv/a": False},
    ]
    for page in pages:
        ids = {node["id"] for node in page["nodes"]}
        assert {end for edge in page["edges"] for end in (edge["source"], edge["target"])} <= ids


async def test_without_flakes_the_graph_of_all_is_empty(nix):
    assert await nix.ask("dependency.graph") == {"nodes": [], "edges": [], "next": None}


async def test_the_graph_of_an_unknown_flake_is_not_found(nix):
    with pytest.raises(NotFound, match="there is no flake with path '/srv/web'") as error:
        await nix.ask("dependency.graph", path="/srv/web")

    assert error.value.code == "not_found"


async def test_a_cursor_goes_with_the_graph_of_all_only(nix):
    with pytest.raises(ValidationError, match="expected either path, or after"):
        await nix.ask("dependency.graph", path="/srv/web", after="x")


async def test_an_organization_sees_its_own_flakes_only(nix):
    await flake(nix, "/srv/web", {"library": "path:/srv/library"}, organization="acme")
    await flake(nix, "/srv/library", organization="umbrella")

    graph = await nix.ask("dependency.graph", organization="acme")

    assert flakes_in(graph) == {"/srv/web": True}

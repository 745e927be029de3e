"""Dependencies: flakes and their inputs as a graph.

An input that points to the directory of a flake that is known here leads on to that flake.
"""

from collections.abc import Container, Iterable, Iterator
from posixpath import join, normpath
from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from aggregates.nix.flake import FlakeCreated, FlakeInputAdded, FlakeInputRemoved
from aggregates.nix.values import FlakePath, parse_flake_ref
from cim_domain import Metadata, Page, Projection, Query, View, Views, answers, projects
from projections.nix.common import MAX_LIMIT, Limit, Part, by_id_or_key, present


class Dependency(Part):
    """An input of a flake."""

    name: str
    url: str
    follows: dict[str, str]
    directory: str | None
    """Where on this machine the url points to."""


class DependenciesView(View, name="flake", indexed=("path",)):
    """What a flake depends on, ordered by name."""

    path: str
    inputs: tuple[Dependency, ...] = ()


class FlakeNode(Part):
    """A flake; its id is ``flake:`` and its path."""

    kind: Literal["flake"] = "flake"
    id: str
    label: str
    """The path."""
    expanded: bool
    """Whether its inputs are part of this graph; if not, ask for the graph of its path."""


class InputNode(Part):
    """An input; its id is ``input:``, the flake's path, ``#`` and its name."""

    kind: Literal["input"] = "input"
    id: str
    label: str
    """The name."""
    url: str


class Edge(Part):
    """From node to node, by their ids.

    A flake has an ``input``. An input ``follows`` another, in place of its own input `label`. An
    input ``points_to`` a flake.
    """

    kind: Literal["input", "follows", "points_to"]
    source: str
    target: str
    label: str
    """The name of the input; of a follows the name inside of the source."""


class DependencyGraph(Part):
    """Nodes ordered by id, edges by source, target, kind and label; both ends of each are nodes."""

    nodes: tuple[FlakeNode | InputNode, ...]
    edges: tuple[Edge, ...]
    next: str | None
    """With which `after` the next flakes are asked for, if there are more."""


class GetDependencyGraph(Query, type="dependency.graph"):
    """The graph of all flakes by path, or of one and of those it leads to.

    At most `limit` flakes are expanded, the nearest first.
    """

    path: FlakePath | None = None
    limit: Limit = MAX_LIMIT
    after: str | None = None

    @model_validator(mode="after")
    def _pages_are_of_all_flakes(self) -> Self:
        if self.path is not None and self.after is not None:
            raise PydanticCustomError("one_way", "expected either path, or after")
        return self


class Dependencies(Projection):
    """A view of each flake's inputs, under the flake's id."""

    @projects
    def created(self, _: DependenciesView | None, event: FlakeCreated) -> DependenciesView:
        return DependenciesView(path=event.path)

    @projects
    def input_added(
        self, view: DependenciesView | None, event: FlakeInputAdded, metadata: Metadata
    ) -> DependenciesView:
        added = Dependency(
            name=event.name,
            url=event.url,
            follows=event.follows,
            directory=_directory(event.url, event.path),
        )
        inputs = sorted((*present(view, metadata).inputs, added), key=lambda one: one.name)
        return DependenciesView(path=event.path, inputs=tuple(inputs))

    @projects
    def input_removed(
        self, view: DependenciesView | None, event: FlakeInputRemoved, metadata: Metadata
    ) -> DependenciesView:
        left = tuple(one for one in present(view, metadata).inputs if one.name != event.name)
        return DependenciesView(path=event.path, inputs=left)

    @answers
    async def graph(self, query: GetDependencyGraph, views: Views) -> DependencyGraph:
        if query.path is None:
            page = await views.find(
                DependenciesView, order_by="path", limit=query.limit, after=query.after
            )
        else:
            start = await by_id_or_key(views, DependenciesView, None, path=query.path)
            page = Page[DependenciesView](items=await _reached(start, query.limit, views))
        expanded = {flake.path for flake in page.items}
        beyond = {flake.path for flake in await _linked(page.items, expanded, views)}
        nodes: list[FlakeNode | InputNode] = [
            *(_flake_node(path, expanded=True) for path in expanded),
            *(_flake_node(path, expanded=False) for path in beyond),
            *(node for flake in page.items for node in _input_nodes(flake)),
        ]
        edges = [edge for flake in page.items for edge in _edges(flake, expanded | beyond)]
        return DependencyGraph(
            nodes=tuple(sorted(nodes, key=lambda node: node.id)),
            edges=tuple(sorted(edges, key=_edge_order)),
            next=page.next,
        )


async def _reached(start: DependenciesView, limit: int, views: Views) -> list[DependenciesView]:
    """The flakes that one leads to, itself first and the nearest next; at most `limit`."""
    reached = {start.path: start}
    frontier = [start]
    while frontier:
        linked = await _linked(frontier, reached, views)
        frontier = linked[: limit - len(reached)]
        reached.update((flake.path, flake) for flake in frontier)
    return list(reached.values())


async def _linked(
    flakes: Iterable[DependenciesView], known: Container[str], views: Views
) -> list[DependenciesView]:
    """The flakes beyond the known ones that inputs of `flakes` point to, by path."""
    directories = {one.directory for flake in flakes for one in flake.inputs if one.directory}
    unknown = sorted(directory for directory in directories if directory not in known)
    found = [await views.first(DependenciesView, path=directory) for directory in unknown]
    return [flake for flake in found if flake is not None]


def _flake_node(path: str, *, expanded: bool) -> FlakeNode:
    return FlakeNode(id=_flake_id(path), label=path, expanded=expanded)


def _input_nodes(flake: DependenciesView) -> Iterator[InputNode]:
    for one in flake.inputs:
        yield InputNode(id=_input_id(flake.path, one.name), label=one.name, url=one.url)


def _edges(flake: DependenciesView, known: Container[str]) -> Iterator[Edge]:
    for one in flake.inputs:
        node = _input_id(flake.path, one.name)
        yield Edge(kind="input", source=_flake_id(flake.path), target=node, label=one.name)
        for inner, followed in one.follows.items():
            target = _input_id(flake.path, followed)
            yield Edge(kind="follows", source=node, target=target, label=inner)
        if one.directory is not None and one.directory in known:
            yield Edge(
                kind="points_to", source=node, target=_flake_id(one.directory), label=one.name
            )


def _edge_order(edge: Edge) -> tuple[str, str, str, str]:
    return edge.source, edge.target, edge.kind, edge.label


def _flake_id(path: str) -> str:
    return f"flake:{path}"


def _input_id(path: str, name: str) -> str:
    return f"input:{path}#{name}"


def _directory(url: str, path: str) -> str | None:
    """The directory that an input of the flake at `path` points to, if it is on this machine."""
    try:
        reference = parse_flake_ref(url)
    except ValueError:  # from before the rules for references became what they are
        return None
    if reference.path is None:
        return None
    return normpath(join(path, reference.path, reference.dir or ""))

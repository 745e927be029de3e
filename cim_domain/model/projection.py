"""Projections: views that follow from events, and the queries they answer.

    class Flakes(Projection):
        @projects
        def created(self, view: FlakeView | None, event: FlakeCreated) -> FlakeView:
            return FlakeView(path=event.path)

        @answers
        async def get(self, query: GetFlake, views: Views) -> FlakeView:
            found = await views.first(FlakeView, path=query.path)
            if found is None:
                raise NotFound(f"no flake at {query.path}")
            return found

`@projects` methods are pure: from the view there is (or None) and an event to the view there is
then (None deletes it). Which view is meant is said by its key: the aggregate's id, or what the
decorator's `key` makes of the event. Where that is several, the method is called for each, and
learns for which by a parameter annotated with `str`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, TypeVar, overload

from attrs import frozen
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from cim_domain.errors import ModelError
from cim_domain.model.failures import awaited_model_code, model_code
from cim_domain.model.fields.types import parts
from cim_domain.model.handlers import Handler, handlers, mark, misplaced
from cim_domain.model.messages import Event, Query
from cim_domain.model.metadata import Metadata
from cim_domain.model.mistakes import (
    Mistakes,
    begin,
    chosen_name,
    keep_names,
    noted,
    only_known,
    whole,
)
from cim_domain.model.source_location import where
from cim_domain.model.subjects import require_name
from cim_domain.model.view import View, Views

_KEY = "__cim_key__"

Key = Callable[[Any, Metadata], str | tuple[str, ...]]
"""From an event and its metadata to the key of the view it changes, or to the keys of several."""

Projects = TypeVar("Projects", bound=Callable[..., View | None])
Answers = TypeVar("Answers", bound=Callable[..., Awaitable[Any]])


class Projection:
    """The base of every projection.

    `name` defaults to the class's name in lower snake case. A new `version` has its views built
    anew, from the start of the log.
    """

    projection_name: ClassVar[str] = ""
    projection_version: ClassVar[int] = 1

    def __init_subclass__(cls, *, name: str | None = None, version: int = 1, **kwargs: Any) -> None:
        begin(cls)
        super().__init_subclass__(**only_known(cls, kwargs, ("name", "version")))
        keep_names(cls, Projection, _KEYWORDS)
        cls.projection_name = chosen_name(cls, name)
        cls.projection_version = whole(cls, "version", version)


_KEYWORDS = {"projection_name": "name=", "projection_version": "version="}


@overload
def projects(method: Projects) -> Projects: ...
@overload
def projects(*, key: Key) -> Callable[[Projects], Projects]: ...
def projects(
    method: Projects | None = None, *, key: Key | None = None
) -> Projects | Callable[[Projects], Projects]:
    """Mark a method that takes a view (or None), an event, and perhaps its metadata and the key.

    The metadata goes to a parameter annotated with `Metadata`, the view's key to one annotated with
    `str`. It returns the view as it is after the event, or None to delete it.
    """

    def marked(method: Projects) -> Projects:
        mark(method, "projects")
        setattr(method, _KEY, key)
        return method

    return marked if method is None else marked(method)


def answers(method: Answers) -> Answers:
    """Mark an async method that takes a query, the views, and perhaps the query's metadata.

    It returns what fits into JSON, and raises `NotFound` for what there is not. The result is
    written by its declared type.
    """
    mark(method, "answers")
    return method


@frozen
class Projector:
    """One `@projects` method: which view it changes on an event, and how."""

    view: type[View]
    keys: Callable[[Event, Metadata], tuple[str, ...]]
    change: Callable[[View | None, Event, Metadata, str], View | None]
    """From the view under a key to what it is after the event."""


@frozen
class Answer:
    """One `@answers` method: the query it takes and how its result becomes JSON."""

    query: type[Query]
    _ask: Callable[..., Awaitable[Any]]
    _takes_metadata: bool
    returns: Any
    """What the method says it returns."""
    _result: TypeAdapter[Any]

    async def ask(self, query: Query, views: Views, metadata: Metadata) -> bytes:
        """What the method answers, as JSON. Raises what the method raises."""
        with awaited_model_code:
            if self._takes_metadata:
                return self._result.dump_json(await self._ask(query, views, metadata))
            return self._result.dump_json(await self._ask(query, views))


@frozen
class ProjectionModel:
    """A projection, read and checked: what it keeps, what changes it, what it answers."""

    projection: Projection
    name: str
    version: int
    views: tuple[type[View], ...]
    events: Mapping[type[Event], tuple[Projector, ...]]
    queries: Mapping[type[Query], Answer]

    @property
    def handles(self) -> tuple[str, ...]:
        """The types of what the log holds that changes its views, in order."""
        return tuple(sorted({stored for event in self.events for stored in event.stored_types()}))


def examine_projection(projection: Projection, mistakes: Mistakes) -> ProjectionModel:
    """What can be read of a projection, with the mistakes in it."""
    cls = type(projection)
    place = where(cls)
    before = len(mistakes)
    mistakes.take_noted(cls)
    with mistakes.gathered():
        require_name(cls.projection_name, f"{place}: the projection's name")
    misplaced(cls, ("projects", "answers"), mistakes)
    events = _projectors(projection, place, mistakes)
    if not events and len(mistakes) == before:
        mistakes.add(f"{place}: no @projects method")
    views = {projector.view: None for found in events.values() for projector in found}
    named: dict[str, type[View]] = {}
    for view in views:
        mistakes.take_noted(view)
        with mistakes.gathered():
            require_name(view.view_name, f"{place}: the name of the view {where(view)}")
        if named.setdefault(view.view_name, view) is not view:
            mistakes.add(
                f"{place}: two views are named {view.view_name!r}:"
                f" {where(named[view.view_name])} and {where(view)}"
            )
    queries = _answers(projection, place, mistakes)
    for message in (*events, *queries):
        mistakes.take_noted(message)
    return ProjectionModel(
        projection=projection,
        name=cls.projection_name,
        version=cls.projection_version,
        views=tuple(named[name] for name in sorted(named)),
        events=events,
        queries=queries,
    )


def _projectors(
    projection: Projection, place: str, mistakes: Mistakes
) -> dict[type[Event], tuple[Projector, ...]]:
    found: dict[type[Event], dict[type[View], tuple[str, Projector]]] = {}
    for handler in handlers(type(projection), "projects", (2, 3, 4), mistakes):
        with mistakes.reading(type(projection)):
            projector = _projector(projection, handler)
            view = projector.view
            for event in handler.classes(1, Event):
                methods = found.setdefault(event, {})
                if view in methods:
                    mistakes.add(
                        f"{place}: two @projects methods change {view.__name__} on"
                        f" {event.__name__}: {methods[view][0]} and {handler.name}"
                    )
                methods[view] = (handler.name, projector)
    return {
        event: tuple(projector for _, projector in methods.values())
        for event, methods in found.items()
    }


def _projector(projection: Projection, handler: Handler) -> Projector:
    more = handler.parameters[2:]
    if any(one not in (Metadata, str) for one in more) or len(set(more)) < len(more):
        raise ModelError(
            f"{handler.place}: what comes behind the event must be annotated with Metadata, or with"
            " str for the view's key"
        )
    views = handler.classes(0, View)
    if len(views) != 1:
        raise ModelError(f"{handler.place}: the first parameter must be one view, or None")
    returned = tuple(parts(handler.returns))
    if returned not in {views, ()}:
        raise ModelError(f"{handler.place}: it takes {views[0].__name__} and returns another")
    key = getattr(handler.function, _KEY)
    if key is not None and not callable(key):
        raise ModelError(
            f"{handler.place}: key={key!r} is no function: expected one from an event and its"
            " metadata to the key, such as lambda event, metadata: event.number"
        )
    return Projector(
        view=views[0],
        keys=_keys(key),
        change=_change(projection, handler),
    )


def _keys(key: Key | None) -> Callable[[Event, Metadata], tuple[str, ...]]:
    if key is None:
        return lambda _, metadata: (metadata.aggregate_id or "",)

    def keys(event: Event, metadata: Metadata) -> tuple[str, ...]:
        with model_code:
            made = key(event, metadata)
            return (made,) if isinstance(made, str) else tuple(made)

    return keys


def _change(
    projection: Projection, handler: Handler
) -> Callable[[View | None, Event, Metadata, str], View | None]:
    function: Callable[..., View | None] = handler.function
    more = handler.parameters[2:]

    def change(view: View | None, event: Event, metadata: Metadata, key: str) -> View | None:
        with model_code:
            return function(
                projection, view, event, *(metadata if one is Metadata else key for one in more)
            )

    return change


def _answers(projection: Projection, place: str, mistakes: Mistakes) -> dict[type[Query], Answer]:
    found: dict[type[Query], Answer] = {}
    for handler in handlers(type(projection), "answers", (2, 3), mistakes):
        with mistakes.reading(type(projection)):
            result = _result(handler)
            for query in handler.classes(0, Query):
                if not query.message_type and not noted(query):
                    mistakes.add(f"{place}: {where(query)} has no type: declare it with type='...'")
                if query in found:
                    mistakes.add(f"{place}: two @answers methods for {query.__name__}")
                found[query] = Answer(
                    query,
                    getattr(projection, handler.name),
                    len(handler.parameters) > 2,
                    handler.returns,
                    result,
                )
    return found


def _result(handler: Handler) -> TypeAdapter[Any]:
    """How what it returns becomes JSON."""
    if handler.parameters[1] is not Views:
        raise ModelError(f"{handler.place}: the second parameter must be annotated with Views")
    if len(handler.parameters) > 2 and handler.parameters[2] is not Metadata:
        raise ModelError(f"{handler.place}: the last parameter must be annotated with Metadata")
    if handler.returns is None:
        raise ModelError(f"{handler.place}: say what it returns, as an annotation")
    try:
        return TypeAdapter(handler.returns)
    except PydanticUserError as error:
        raise ModelError(
            f"{handler.place}: what it returns cannot be written as JSON: {error.message}"
        ) from error

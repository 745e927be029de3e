"""A domain: its aggregates, projections and processes, put together and checked.

    nix = Domain("nix", aggregates=[Flake, Package], projections=[Flakes()])

Whatever is wrong in the model is found here, before anything runs. A domain named `nix` can also be
found by its packages, `aggregates.nix` and `projections.nix`, and any other by where it stands in
code: see `Domain.find` and `Domain.load`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from cim_domain.errors import Failed, LoadError, ModelError, Outdated
from cim_domain.identity import aggregate_id
from cim_domain.model.aggregate import Aggregate, AggregateModel, examine_aggregate
from cim_domain.model.cross_checks import check_whole, queries_of, stored_events
from cim_domain.model.discovery import (
    READ_SIDE,
    WRITE_SIDE,
    modules_of,
    names_in,
    object_at,
)
from cim_domain.model.failures import cause, problems
from cim_domain.model.interception import (
    check_interceptors,
    examine_interceptor,
    interceptors_in,
)
from cim_domain.model.messages import Command, Event, Message
from cim_domain.model.metadata import Metadata
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.naming import defined_in, near
from cim_domain.model.process import Process, ProcessModel, examine_process
from cim_domain.model.projection import (
    Answer,
    Projection,
    ProjectionModel,
    examine_projection,
)
from cim_domain.model.source_location import where
from cim_domain.model.subjects import require_name
from cim_domain.model.view import View

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Domain:
    """The registry of one domain. Raises `ModelError` with all mistakes that are in the model."""

    def __init__(
        self,
        name: str,
        *,
        aggregates: Iterable[type[Aggregate]] = (),
        projections: Iterable[Projection] = (),
        processes: Iterable[Process] = (),
        interceptors: Iterable[Callable[..., Awaitable[None]]] = (),
    ) -> None:
        require_name(name, "domain")
        self.name = name
        mistakes = Mistakes()
        written = [one for one in aggregates if _is_class(one, mistakes)]
        read = [one for one in projections if _is_object(one, Projection, mistakes)]
        running = [one for one in processes if _is_object(one, Process, mistakes)]
        self.aggregates: Mapping[str, AggregateModel] = MappingProxyType(
            _by_name(((examine_aggregate(cls, mistakes), cls) for cls in written), mistakes)
        )
        self.projections: Mapping[str, ProjectionModel] = MappingProxyType(
            _by_name(((examine_projection(one, mistakes), type(one)) for one in read), mistakes)
        )
        self.processes: Mapping[str, ProcessModel] = MappingProxyType(
            _by_name(((examine_process(one, mistakes), type(one)) for one in running), mistakes)
        )
        self.commands: Mapping[str, type[Command]] = MappingProxyType(
            _by_type(
                (command for model in self.aggregates.values() for command in model.commands),
                mistakes,
            )
        )
        self.events: Mapping[str, type[Event]] = MappingProxyType(
            _by_type(
                (event for model in self.aggregates.values() for event in model.events), mistakes
            )
        )
        self.stored_events: Mapping[str, type[Event]] = MappingProxyType(
            stored_events(self.events, self.aggregates.keys(), mistakes)
        )
        """The same with the types that events had formerly: all that the log may hold."""
        self.queries: Mapping[str, tuple[ProjectionModel, Answer]] = MappingProxyType(
            queries_of(self.projections.values(), mistakes)
        )
        self.interceptors = tuple(
            found for one in interceptors if (found := examine_interceptor(one, mistakes))
        )
        """What is around the handling of commands and queries, the outermost first."""
        check_interceptors(
            self.interceptors,
            (*self.commands.values(), *(answer.query for _, answer in self.queries.values())),
            mistakes,
        )
        check_whole(
            name, self.aggregates.values(), self.projections.values(), self.processes.values(),
            self.queries, mistakes,
        )  # fmt: skip
        mistakes.refuse()

    @classmethod
    def find(cls, name: str) -> Self:
        """The domain that the packages ``aggregates.{name}`` and ``projections.{name}`` are.

        Every aggregate, projection and process class, and every interceptor, that one of their
        modules defines belongs to it. Projections and processes are made without arguments. A
        domain may do without a read side, but raises `LoadError` where it is there and cannot be
        imported.
        """
        require_name(name, "domain")
        mistakes = Mistakes()
        written = modules_of(WRITE_SIDE, name, mistakes)
        read = modules_of(READ_SIDE, name, mistakes)
        # Of what is missing in a module that does not run, everything else would tell again.
        mistakes.refuse()
        if not written:
            raise LoadError(
                f"there is no domain {name!r}: expected a package aggregates/{name} where Python"
                " finds modules (the working directory is one such place)"
                f"{near(name, names_in(WRITE_SIDE))}",
                code="domain_not_found",
            )
        aggregates = _defined(written, Aggregate)
        if not aggregates:
            raise LoadError(
                f"there is no domain {name!r}: no module in {where(written[0])} has an aggregate",
                code="domain_not_found",
            )
        for message in _defined((*written, *read), Message) + _defined(read, View):
            mistakes.take_noted(message)
        projections = _made(_defined(read, Projection), mistakes)
        processes = _made(_defined((*written, *read), Process), mistakes)
        with mistakes.gathered():
            found = cls(
                name,
                aggregates=aggregates,
                projections=projections,
                processes=processes,
                interceptors=interceptors_in((*written, *read)),
            )
        mistakes.refuse()
        return found

    @classmethod
    def load(cls, text: str) -> Self:
        """The domain that is said by its name, ``nix``, or by where it stands in code.

        That is ``acme.inventory.domain:inventory``: a module, and in it a `Domain` or a function
        that makes one, without arguments and not async. Raises `LoadError`, whose `code` is one of
        ``invalid_path``, ``module_not_found``, ``attribute_not_found``, ``import_failed``,
        ``not_a_domain``, ``factory_failed`` and, for a name, ``domain_not_found`` or
        ``domain_hidden``; and `ModelError` for a mistake in the model.
        """
        return object_at(text, cls) if ":" in text else cls.find(text)

    def aggregate_of(self, message: type[Command | Event]) -> AggregateModel:
        """The aggregate that a message belongs to."""
        return self.aggregates[message.message_type.split(".")[0]]

    def id_for(self, command: Command, organization_id: str | None = None) -> str:
        """The id of the aggregate that a command is for."""
        model = self.aggregate_of(type(command))
        return aggregate_id(self.name, organization_id, model.name, model.key_of(command))

    def read_event(self, metadata: Metadata, data: bytes) -> Event:
        """The event in a record of the log, in the shape and under the name that it has today.

        Raises `Outdated` where newer code can: ``unknown_event`` for a type that this one does not
        have, ``newer_event`` for a version after its own. Raises `Failed` where none can:
        ``corrupt_event`` where the data do not fit, ``foreign_event`` for a message that the kit
        has not written.
        """
        event = self.stored_events.get(metadata.message_type)
        if not metadata.aggregate_version:
            raise Failed(
                f"the message at sequence {metadata.sequence} is no event that this kit has"
                " written: its headers are missing or at odds with its subject",
                code="foreign_event",
                details=_place(metadata),
            )
        if event is None:
            raise Outdated(
                f"the log holds an event of type {metadata.message_type!r} (sequence"
                f" {metadata.sequence}), which this code does not know:"
                f" {either(metadata.message_type)}",
                code="unknown_event",
                details=_place(metadata),
            )
        if metadata.schema_version > event.schema_version:
            raise Outdated(
                f"the log holds {metadata.message_type} in version {metadata.schema_version}"
                f" (sequence {metadata.sequence}); this code knows up to version"
                f" {event.schema_version}: run a newer one",
                code="newer_event",
                details=_place(metadata),
            )
        try:
            return event.from_log(data, metadata.schema_version)
        except Exception as error:  # upcasters are the model's: whatever they raise
            raise Failed(
                f"{metadata.message_type} at sequence {metadata.sequence} cannot be read:"
                f" {cause(error)}",
                code="corrupt_event",
                details={**_place(metadata), **_fields(error)},
            ) from error


def either(message_type: str) -> str:
    """What to do about an event of a type that the code does not know: one of two things."""
    return (
        "either newer code has stored it, then run that; or it was renamed here, then declare the"
        f' event with formerly="{message_type}"'
    )


def _place(metadata: Metadata) -> dict[str, Any]:
    return {
        "type": metadata.message_type,
        "version": metadata.schema_version,
        "sequence": metadata.sequence,
    }


def _fields(error: Exception) -> dict[str, Any]:
    return {"fields": problems(error)} if isinstance(error, ValidationError) else {}


def _is_class(given: object, mistakes: Mistakes) -> bool:
    if isinstance(given, type) and issubclass(given, Aggregate):
        return True
    hint = f": give the class, {type(given).__name__}" if isinstance(given, Aggregate) else ""
    mistakes.add(f"aggregates: {_told(given)} is no class of an aggregate{hint}")
    return False


def _is_object(given: object, kind: type, mistakes: Mistakes) -> bool:
    if isinstance(given, kind):
        return True
    is_class = isinstance(given, type) and issubclass(given, kind)
    hint = f": give an object, {given.__name__}()" if is_class else ""  # type: ignore[attr-defined]
    mistakes.add(f"{_told(given)} is no {kind.__name__.lower()}{hint}")
    return False


def _told(given: object) -> str:
    return where(given) if isinstance(given, type) else f"{given!r:.100}"


def _by_name(models: Iterable[tuple[Any, type]], mistakes: Mistakes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    places: dict[str, type] = {}
    for model, cls in models:
        if places.get(model.name) is cls:
            mistakes.add(f"{where(cls)} is given twice")
        elif model.name in found:
            mistakes.add(
                f"{where(places[model.name])} and {where(cls)} have the same name {model.name!r}"
            )
        found[model.name] = model
        places[model.name] = cls
    return found


def _by_type(messages: Iterable[type[M]], mistakes: Mistakes) -> dict[str, type[M]]:
    found: dict[str, type[M]] = {}
    for message in messages:
        other = found.setdefault(message.message_type, message)
        if other is not message and message.message_type:
            mistakes.add(
                f"{where(other)} and {where(message)} have the same type {message.message_type!r}"
            )
    return found


def _made(classes: Iterable[type[T]], mistakes: Mistakes) -> list[T]:
    """An object of each class."""
    found: list[T] = []
    for cls in classes:
        with mistakes.gathered():
            try:
                found.append(cls())
            except ModelError:
                raise
            except Exception as error:
                raise LoadError(
                    f"{where(cls)} cannot be made without arguments, as it is in a domain that is"
                    f" found by its name: {type(error).__name__}: {error}",
                    code="factory_failed",
                ) from error
    return found


def _defined(modules: Sequence[ModuleType], base: type[T]) -> list[type[T]]:
    return list(dict.fromkeys(one for module in modules for one in defined_in(module, base)))

"""A domain: its aggregates, projections and processes, put together and checked.

    nix = Domain("nix", aggregates=[Flake, Package], projections=[Flakes()])

Whatever is wrong in the model is found here, before anything runs. A domain named `nix` can also be
found by its packages, `aggregates.nix` and `projections.nix`, and any other by where it stands in
code: see `Domain.find` and `Domain.load`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from cim_domain.errors import Failed, LoadError, ModelError, Outdated
from cim_domain.identity import aggregate_id
from cim_domain.model.aggregate import Aggregate, AggregateModel, read_aggregate
from cim_domain.model.discovery import (
    READ_SIDE,
    WRITE_SIDE,
    modules_of,
    names_in,
    near,
    object_at,
)
from cim_domain.model.failures import cause, problems
from cim_domain.model.messages import Command, Event, Message, Query
from cim_domain.model.metadata import Metadata
from cim_domain.model.naming import declared_beside
from cim_domain.model.process import Process, ProcessModel, read_process
from cim_domain.model.projection import Answer, Projection, ProjectionModel, read_projection
from cim_domain.model.source_location import where
from cim_domain.model.subjects import require_name

RESERVED = "command"
"""The aggregate of messages that are about commands themselves: ``nix.query.command.status``."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Domain:
    """The registry of one domain. Raises `ModelError` for any mistake in the model."""

    def __init__(
        self,
        name: str,
        *,
        aggregates: Iterable[type[Aggregate]] = (),
        projections: Iterable[Projection] = (),
        processes: Iterable[Process] = (),
    ) -> None:
        require_name(name, "domain")
        self.name = name
        self.aggregates: Mapping[str, AggregateModel] = MappingProxyType(
            _by_name((read_aggregate(cls), cls) for cls in aggregates)
        )
        self.projections: Mapping[str, ProjectionModel] = MappingProxyType(
            _by_name((read_projection(one), type(one)) for one in projections)
        )
        self.processes: Mapping[str, ProcessModel] = MappingProxyType(
            _by_name((read_process(one), type(one)) for one in processes)
        )
        self.commands: Mapping[str, type[Command]] = MappingProxyType(
            _by_type(command for model in self.aggregates.values() for command in model.commands)
        )
        self.events: Mapping[str, type[Event]] = MappingProxyType(
            _by_type(event for model in self.aggregates.values() for event in model.events)
        )
        self.queries: Mapping[str, tuple[ProjectionModel, Answer]] = MappingProxyType(
            dict(self._queries())
        )
        for event in self.events.values():
            _check_upcasters(event)
        self._check_reserved()
        self._check_owners()
        self._check_reads()
        self._check_commands_known()
        self._check_queries_answered()

    @classmethod
    def find(cls, name: str) -> Self:
        """The domain that the packages ``aggregates.{name}`` and ``projections.{name}`` are.

        Every aggregate, projection and process class that one of their modules defines belongs to
        it. Projections and processes are made without arguments. A domain may do without a read
        side, but raises `LoadError` where it is there and cannot be imported.
        """
        require_name(name, "domain")
        written = modules_of(WRITE_SIDE, name)
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
        read = modules_of(READ_SIDE, name)
        return cls(
            name,
            aggregates=aggregates,
            projections=[_made(one) for one in _defined(read, Projection)],
            processes=[_made(one) for one in _defined((*written, *read), Process)],
        )

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
        """The event in a record of the log, in the shape that the code knows today.

        Raises `Outdated` where newer code can: ``unknown_event`` for a type that this one does not
        have, ``newer_event`` for a version after its own. Raises `Failed` where none can:
        ``corrupt_event`` where the data do not fit, ``foreign_event`` for a message that the kit
        has not written.
        """
        event = self.events.get(metadata.message_type)
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
                f" {metadata.sequence}), which this code does not know: run a newer one",
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

    def _queries(self) -> Iterator[tuple[str, tuple[ProjectionModel, Answer]]]:
        seen: dict[str, type[Query]] = {}
        for model in self.projections.values():
            for query, answer in model.queries.items():
                for name in (query.message_type, *query.aliases):
                    if name in seen:
                        raise ModelError(
                            f"{where(query)} and {where(seen[name])} are both asked as {name!r}"
                        )
                    seen[name] = query
                    yield name, (model, answer)

    def _check_reserved(self) -> None:
        """What every domain's service answers itself stays its own."""
        reserved = [where(model.cls) for name, model in self.aggregates.items() if name == RESERVED]
        reserved += [
            where(answer.query)
            for name, (_, answer) in self.queries.items()
            if name.split(".")[0] == RESERVED
        ]
        for place in reserved:
            raise ModelError(
                f"{place}: {RESERVED}.status and {RESERVED}.cancel are about the commands of every"
                f" domain, so no aggregate is called {RESERVED!r}: use another name"
            )

    def _check_owners(self) -> None:
        """Whatever is declared beside an aggregate is of one that is declared there."""
        for model in self.aggregates.values():
            owners = {one.aggregate_name for one in declared_beside(model.cls, Aggregate)}
            messages: list[type[Message]] = [
                *declared_beside(model.cls, Command),
                *declared_beside(model.cls, Event),
            ]
            for message in messages:
                if message.message_type and message.message_type.split(".")[0] not in owners:
                    raise ModelError(
                        f"{where(message)} has the type {message.message_type!r}, which is of no"
                        f" aggregate declared beside it, as {where(model.cls)} is"
                    )

    def _check_reads(self) -> None:
        known = set(self.events.values())
        reads: list[tuple[type, Iterable[type[Event]]]] = [
            *((type(model.projection), model.events) for model in self.projections.values()),
            *((type(model.process), model.events) for model in self.processes.values()),
        ]
        for reader, events in reads:
            for event in events:
                if event not in known:
                    raise ModelError(
                        f"{where(reader)}: {where(event)} is an event of no aggregate"
                        f" of the domain {self.name!r}"
                    )

    def _check_commands_known(self) -> None:
        known = set(self.commands.values())
        for model in self.processes.values():
            for command in model.commands:
                if command is not Command and command not in known:
                    raise ModelError(
                        f"{where(type(model.process))}: {where(command)} is a command of no"
                        f" aggregate of the domain {self.name!r}"
                    )

    def _check_queries_answered(self) -> None:
        answered = {answer.query for _, answer in self.queries.values()}
        for model in self.projections.values():
            for query in declared_beside(type(model.projection), Query):
                if query.message_type and query not in answered:
                    raise ModelError(f"no @answers method for the query {where(query)}")


def _place(metadata: Metadata) -> dict[str, Any]:
    return {
        "type": metadata.message_type,
        "version": metadata.schema_version,
        "sequence": metadata.sequence,
    }


def _fields(error: Exception) -> dict[str, Any]:
    return {"fields": problems(error)} if isinstance(error, ValidationError) else {}


def _by_name(models: Iterable[tuple[Any, type]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    places: dict[str, type] = {}
    for model, cls in models:
        if model.name in found:
            raise ModelError(
                f"{where(places[model.name])} and {where(cls)} have the same name {model.name!r}"
            )
        found[model.name] = model
        places[model.name] = cls
    return found


def _by_type(messages: Iterable[type[M]]) -> dict[str, type[M]]:
    found: dict[str, type[M]] = {}
    for message in messages:
        other = found.setdefault(message.message_type, message)
        if other is not message:
            raise ModelError(
                f"{where(other)} and {where(message)} have the same type {message.message_type!r}"
            )
    return found


def _check_upcasters(event: type[Event]) -> None:
    for version in range(1, event.schema_version):
        if version not in event.upcasters:
            raise ModelError(f"{where(event)}: no upcaster from version {version}")
    for version in event.upcasters:
        if not 1 <= version < event.schema_version:
            raise ModelError(
                f"{where(event)}: an upcaster from version {version}, but the event is of"
                f" version {event.schema_version}"
            )


def _made(cls: type[T]) -> T:
    try:
        return cls()
    except ModelError:
        raise
    except Exception as error:
        raise LoadError(
            f"{where(cls)} cannot be made without arguments, as it is in a domain that is found by"
            f" its name: {type(error).__name__}: {error}",
            code="factory_failed",
        ) from error


def _defined(modules: Sequence[ModuleType], base: type[T]) -> list[type[T]]:
    names = {module.__name__ for module in modules}
    found = {
        value: None
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value is not base
        and value.__module__ in names
        and not value.__name__.startswith("_")
    }
    return list(found)

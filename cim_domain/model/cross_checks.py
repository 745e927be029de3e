"""What fits together in a domain, beyond what each of its classes says for itself."""

from collections.abc import Collection, Iterable, Mapping

from cim_domain.model.aggregate import Aggregate, AggregateModel
from cim_domain.model.messages import Command, Event, Message, Query
from cim_domain.model.mistakes import Mistakes, noted
from cim_domain.model.naming import declared_beside
from cim_domain.model.process import ProcessModel
from cim_domain.model.projection import Answer, ProjectionModel
from cim_domain.model.source_location import where
from cim_domain.model.view import View

RESERVED = "command"
"""The aggregate of messages that are about commands themselves: ``nix.query.command.status``."""


def queries_of(
    projections: Iterable[ProjectionModel], mistakes: Mistakes
) -> dict[str, tuple[ProjectionModel, Answer]]:
    """What is answered, by each of the types under which it is asked."""
    found: dict[str, tuple[ProjectionModel, Answer]] = {}
    for model in projections:
        for query, answer in model.queries.items():
            for name in filter(None, (query.message_type, *query.aliases)):
                if name in found:
                    other = found[name][1].query
                    mistakes.add(f"{where(query)} and {where(other)} are both asked as {name!r}")
                found[name] = (model, answer)
    return found


def stored_events(
    events: Mapping[str, type[Event]], aggregates: Collection[str], mistakes: Mistakes
) -> dict[str, type[Event]]:
    """As what is read what the log holds, by each of the types that may be stored there.

    `events` are those of today, by their types; `aggregates` the names of those of the domain.
    """
    found = dict(events)
    for event in dict.fromkeys(events.values()):
        own = event.message_type.split(".")[0]
        for former in event.former_types:
            aggregate = former.split(".")[0]
            other = found.setdefault(former, event)
            if other is not event:
                had = "the type" if other.message_type == former else "the former type"
                mistakes.add(
                    f"{where(event)} was formerly {former!r}, which is {had} of {where(other)}:"
                    " a stored event is read as one class"
                )
            elif aggregate != own and aggregate in aggregates:
                mistakes.add(
                    f"{where(event)} was formerly {former!r}, but there is an aggregate"
                    f" {aggregate!r}, in whose histories such events are: they are read as its own"
                )
    return found


def check_whole(
    domain: str,
    aggregates: Collection[AggregateModel],
    projections: Collection[ProjectionModel],
    processes: Collection[ProcessModel],
    queries: Mapping[str, tuple[ProjectionModel, Answer]],
    mistakes: Mistakes,
) -> None:
    """Take in every mistake between the parts of a domain."""
    for event in {event for model in aggregates for event in model.events}:
        if not noted(event):
            _check_upcasters(event, mistakes)
    _check_reserved(aggregates, queries, mistakes)
    _check_owners(aggregates, mistakes)
    _check_noted(aggregates, projections, processes, mistakes)
    known = {event for model in aggregates for event in model.events}
    names = {model.name for model in aggregates if model.cls in mistakes.unread}
    readers: list[tuple[type, Iterable[type[Event]]]] = [
        *((type(model.projection), model.events) for model in projections),
        *((type(model.process), model.events) for model in processes),
    ]
    for reader, events in readers:
        for event in events:
            if event not in known and not _is_unread(event, names):
                mistakes.add(
                    f"{where(reader)}: {where(event)} is an event of no aggregate"
                    f" of the domain {domain!r}"
                )
    _check_sent(domain, aggregates, processes, names, mistakes)
    _check_answered(projections, queries, mistakes)


def _is_unread(message: type[Message], names: set[str]) -> bool:
    return bool(noted(message)) or message.message_type.split(".")[0] in names


def _check_upcasters(event: type[Event], mistakes: Mistakes) -> None:
    for version in range(1, event.schema_version):
        if version not in event.upcasters:
            mistakes.add(f"{where(event)}: no upcaster from version {version}")
    for version in event.upcasters:
        if not 1 <= version < event.schema_version:
            mistakes.add(
                f"{where(event)}: an upcaster from version {version}, but the event is of"
                f" version {event.schema_version}"
            )


def _check_reserved(
    aggregates: Iterable[AggregateModel],
    queries: Mapping[str, tuple[ProjectionModel, Answer]],
    mistakes: Mistakes,
) -> None:
    """What every domain's service answers itself stays its own."""
    reserved = [where(model.cls) for model in aggregates if model.name == RESERVED]
    reserved += [
        where(answer.query)
        for name, (_, answer) in queries.items()
        if name.split(".")[0] == RESERVED
    ]
    for place in reserved:
        mistakes.add(
            f"{place}: {RESERVED}.status and {RESERVED}.cancel are about the commands of every"
            f" domain, so no aggregate is called {RESERVED!r}: use another name"
        )


def _check_owners(aggregates: Iterable[AggregateModel], mistakes: Mistakes) -> None:
    """Whatever is declared beside an aggregate is of one that is declared there."""
    for model in aggregates:
        owners = {one.aggregate_name for one in (*declared_beside(model.cls, Aggregate), model.cls)}
        messages: list[type[Message]] = [
            *declared_beside(model.cls, Command),
            *declared_beside(model.cls, Event),
        ]
        for message in messages:
            if message.message_type and message.message_type.split(".")[0] not in owners:
                mistakes.add(
                    f"{where(message)} has the type {message.message_type!r}, which is of no"
                    f" aggregate declared beside it, as {where(model.cls)} is"
                )


def _check_noted(
    aggregates: Iterable[AggregateModel],
    projections: Iterable[ProjectionModel],
    processes: Iterable[ProcessModel],
    mistakes: Mistakes,
) -> None:
    """What is declared beside a part of the domain is to be sound, too."""
    beside: list[type] = [model.cls for model in aggregates]
    beside += [type(model.projection) for model in projections]
    beside += [type(model.process) for model in processes]
    for cls in beside:
        for declared in (*declared_beside(cls, Message), *declared_beside(cls, View)):
            mistakes.take_noted(declared)


def _check_sent(
    domain: str,
    aggregates: Iterable[AggregateModel],
    processes: Iterable[ProcessModel],
    names: set[str],
    mistakes: Mistakes,
) -> None:
    known = {command for model in aggregates for command in model.commands}
    for model in processes:
        for command in sorted(model.commands, key=lambda one: one.__qualname__):
            if command is not Command and command not in known and not _is_unread(command, names):
                mistakes.add(
                    f"{where(type(model.process))}: {where(command)} is a command of no"
                    f" aggregate of the domain {domain!r}"
                )


def _check_answered(
    projections: Iterable[ProjectionModel],
    queries: Mapping[str, tuple[ProjectionModel, Answer]],
    mistakes: Mistakes,
) -> None:
    answered = {answer.query for _, answer in queries.values()}
    for model in projections:
        cls = type(model.projection)
        for query in declared_beside(cls, Query) if cls not in mistakes.unread else ():
            if query.message_type and query not in answered:
                mistakes.add(f"no @answers method for the query {where(query)}")

"""What led to what: the commands and events of one correlation as a tree.

The log holds events, each with the id of the command that it came of. A command that a process
sent is found below the event that the process reacted to, because its id is derived from it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from attrs import frozen

from cim_domain.identity import derived_id
from cim_domain.model.records import EventRecord
from cim_domain.store.port import EventStore

REACTIONS = 32
"""So many commands that one process may send on one event are looked for."""


@frozen
class CausedEvent:
    """An event, and the commands that processes sent because of it."""

    record: EventRecord
    commands: tuple["CausingCommand", ...]


@frozen
class CausingCommand:
    """A command, and the events that it led to. `process` sent it; None: a client did."""

    command_id: str
    process: str | None
    events: tuple[CausedEvent, ...]


def causation(
    records: Sequence[EventRecord], processes: Iterable[str] = ()
) -> tuple[CausingCommand, ...]:
    """The commands at the root of these events, which are in the order of the log.

    `processes` are the names of those that may have reacted to them.
    """
    commands = dict.fromkeys(record.metadata.causation_id for record in records)
    sent = dict(_reactions(records, commands, tuple(processes)))
    caused: dict[str, list[str]] = defaultdict(list)
    for command in commands:
        if command in sent:
            caused[sent[command][0]].append(command)
    # From the last event on, for what an event has caused is behind it.
    events: dict[str, list[CausedEvent]] = defaultdict(list)
    for record in reversed(records):
        below = tuple(
            _command(command, events.pop(command), sent)
            for command in caused[record.metadata.message_id]
            if command in events
        )
        events[record.metadata.causation_id].append(CausedEvent(record, below))
    return tuple(
        _command(command, events[command], sent) for command in commands if command in events
    )


async def causation_of(
    log: EventStore, correlation_id: str, processes: Iterable[str] = ()
) -> tuple[CausingCommand, ...]:
    """The same for all events of a correlation that the log has; reads all of it.

    Raises `Unavailable`.
    """
    async with aclosing(log.read()) as slices:
        found = [
            record
            async for part in slices
            for record in part.records
            if record.metadata.correlation_id == correlation_id
        ]
    return causation(found, processes)


def _command(
    command: str, backwards: Sequence[CausedEvent], sent: Mapping[str, tuple[str, str]]
) -> CausingCommand:
    process = sent[command][1] if command in sent else None
    return CausingCommand(command, process, tuple(reversed(backwards)))


def _reactions(
    records: Sequence[EventRecord], commands: Mapping[str, None], processes: Sequence[str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Commands that processes sent: ``(command, (event, process))``."""
    for record in records:
        for process in processes:
            for number in range(REACTIONS):
                command = derived_id(record.metadata.message_id, f"{process}.{number}")
                if command in commands:
                    yield command, (record.metadata.message_id, process)

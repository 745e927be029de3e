"""What led to what: the commands and events of one correlation as a tree.

The log holds events, each with the id of the command that it came of. A command that a process
sent is found below the event that the process reacted to, because its id is derived from it. So is
one that was rejected, as long as it is known what came of it.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from attrs import frozen

from cim_domain.errors import RequestError
from cim_domain.identity import derived_id
from cim_domain.model.records import EventRecord
from cim_domain.store.port import EventStore

REACTIONS = 32
"""So many commands that one process may send on one event are looked for."""

NONE_REJECTED: Mapping[str, RequestError] = {}

Rejection = Callable[[str, str | None], Awaitable[RequestError | None]]
"""Why a command, by its id and organization, was rejected; None: that is not known of it."""


@frozen
class CausedEvent:
    """An event, and the commands that processes sent because of it."""

    record: EventRecord
    commands: tuple["CausingCommand", ...]


@frozen
class CausingCommand:
    """A command, and the events that it led to. `process` sent it; None: a client did.

    `error` says why it was rejected, and there are no events then.
    """

    command_id: str
    process: str | None
    events: tuple[CausedEvent, ...]
    error: RequestError | None = None

    @property
    def actor_id(self) -> str | None:
        """Who did it, by the word of the client that sent it, or the first before it.

        None where it led to no events, which would tell.
        """
        return self.events[0].record.metadata.actor_id if self.events else None


def causation(
    records: Sequence[EventRecord],
    processes: Iterable[str] = (),
    rejected: Mapping[str, RequestError] = NONE_REJECTED,
) -> tuple[CausingCommand, ...]:
    """The commands at the root of these events, which are in the order of the log.

    `processes` are the names of those that may have reacted to them; `rejected` are commands of
    theirs without events, see `rejections`.
    """
    commands = dict.fromkeys(record.metadata.causation_id for record in records)
    commands |= dict.fromkeys(rejected)
    sent = dict(_reactions(records, commands, tuple(processes)))
    caused: dict[str, list[str]] = defaultdict(list)
    for command in commands:
        if command in sent:
            caused[sent[command][0]].append(command)
    # From the last event on, for what an event has caused is behind it.
    events: dict[str, list[CausedEvent]] = defaultdict(list)
    for record in reversed(records):
        below = tuple(
            _command(command, events.pop(command, ()), sent, rejected)
            for command in caused[record.metadata.message_id]
            if command in events or command in rejected
        )
        events[record.metadata.causation_id].append(CausedEvent(record, below))
    return tuple(
        _command(command, events[command], sent, rejected)
        for command in commands
        if command in events
    )


async def rejections(
    records: Sequence[EventRecord], processes: Iterable[str], rejection: Rejection
) -> dict[str, RequestError]:
    """Commands that processes sent because of these events, and that were rejected.

    Asks `rejection` for each event and process at least once, and raises what that raises.
    """
    accepted = {record.metadata.causation_id for record in records}
    names = tuple(processes)
    found: dict[str, RequestError] = {}
    for record in records:
        for process in names:
            for number in range(REACTIONS):
                command = derived_id(record.metadata.message_id, f"{process}.{number}")
                if command in accepted:
                    continue
                error = await rejection(command, record.metadata.organization_id)
                if error is None:
                    break
                found[command] = error
    return found


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
    command: str,
    backwards: Sequence[CausedEvent],
    sent: Mapping[str, tuple[str, str]],
    rejected: Mapping[str, RequestError],
) -> CausingCommand:
    process = sent[command][1] if command in sent else None
    return CausingCommand(command, process, tuple(reversed(backwards)), rejected.get(command))


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

"""Aggregates as they are known: state, position, and what each command has done."""

from collections import OrderedDict
from typing import Protocol

from attrs import define, field

from cim_domain.commands.processed_commands import ProcessedCommands
from cim_domain.errors import Failed
from cim_domain.model.aggregate import Aggregate, AggregateModel
from cim_domain.model.domain import Domain
from cim_domain.model.failures import cause
from cim_domain.model.messages import Event
from cim_domain.model.metadata import Metadata
from cim_domain.store.port import START, EventStore, Position


@define
class LoadedAggregate:
    """An aggregate as far as its history is known."""

    state: Aggregate
    position: Position = START
    commands: ProcessedCommands = field(factory=ProcessedCommands)
    last_event: str = ""
    """The id of the last event."""
    snapshot: int = 0
    """The version that the newest snapshot is of; 0 for none."""
    beside: list[str] = field(factory=list)
    """The digests of those chunks of `commands` that lie beside it."""

    def take_in(self, state: Aggregate, metadata: Metadata, sequence: int) -> None:
        """Move on by one event, stored at `sequence`, which leads to `state`."""
        self.state = state
        self.position = Position(metadata.aggregate_version, sequence)
        self.last_event = metadata.message_id
        self.commands.take_in(metadata, sequence)


class Repository(Protocol):
    """Gives aggregates as they are known, each to one user at a time, who may change it."""

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """The aggregate as it is, or as it lately was. Raises `Unavailable` and `Failed`."""

    async def reload(
        self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate
    ) -> LoadedAggregate:
        """The aggregate as it is now, from what is known of it. Raises `Unavailable`, `Failed`."""

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """Take note of an aggregate that has moved on."""


class ReplayingRepository:
    """Replays each aggregate from the log, every time."""

    def __init__(self, domain: Domain, store: EventStore) -> None:
        self._domain = domain
        self._store = store

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """See `Repository.load`."""
        return await self.reload(model, aggregate_id, LoadedAggregate(model.initial))

    async def reload(
        self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate
    ) -> LoadedAggregate:
        """See `Repository.reload`."""
        records = await self._store.load(model.name, aggregate_id, known.position)
        for record in records:
            event = self._domain.read_event(record.metadata, record.data)
            metadata = record.metadata
            state = evolve_on(model, known.state, event, metadata)
            known.take_in(state, metadata, metadata.sequence)
        return known

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """Nothing is kept."""


class CachingRepository:
    """Keeps the aggregates used last, up to `size` of them, and asks `inner` for the others."""

    def __init__(self, inner: Repository, size: int = 10_000) -> None:
        if size < 1:
            raise ValueError("the size of a cache is 1 or more")
        self._inner = inner
        self._size = size
        self._known: OrderedDict[tuple[str, str], LoadedAggregate] = OrderedDict()

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """See `Repository.load`."""
        name = (model.name, aggregate_id)
        known = self._known.get(name)
        if known is None:
            return await self._inner.load(model, aggregate_id)
        self._known.move_to_end(name)
        return known

    async def reload(
        self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate
    ) -> LoadedAggregate:
        """See `Repository.reload`."""
        # Half-way through, an aggregate is in no state to be used by the next command.
        self._known.pop((model.name, aggregate_id), None)
        renewed = await self._inner.reload(model, aggregate_id, known)
        self.store(model, aggregate_id, renewed)
        return renewed

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """See `Repository.store`. What is empty is not kept: any number of names are."""
        if known.position != START:
            name = (model.name, aggregate_id)
            self._known[name] = known
            self._known.move_to_end(name)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        self._inner.store(model, aggregate_id, known)


_LESSON = 0.05
_POOR_LUCK = 0.5
"""Reached when half the guesses are wrong."""
_RECOVERY = 0.001


class GuessingRepository:
    """Takes an aggregate that is not known for a new one, where that has proved right.

    A command that creates then costs one round trip: the log refuses the events of a wrong guess,
    and only then the history is read. `inner` is asked at once where such guesses are mostly wrong.
    """

    def __init__(self, inner: Repository) -> None:
        self._inner = inner
        self._luck: dict[str, float] = {}

    async def load(self, model: AggregateModel, aggregate_id: str) -> LoadedAggregate:
        """See `Repository.load`."""
        luck = self._luck.get(model.name, 1.0)
        if luck < _POOR_LUCK:
            # It comes back slowly, so that guessing is tried again when times may have changed.
            self._luck[model.name] = luck + _RECOVERY
            return await self._inner.load(model, aggregate_id)
        self._luck[model.name] = luck + (1 - luck) * _LESSON
        return LoadedAggregate(model.initial)

    async def reload(
        self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate
    ) -> LoadedAggregate:
        """See `Repository.reload`."""
        if known.position != START:
            return await self._inner.reload(model, aggregate_id, known)
        found = await self._inner.load(model, aggregate_id)
        if found.position != START:
            luck = self._luck.get(model.name, 1.0)
            self._luck[model.name] = luck - 2 * luck * _LESSON
        return found

    def store(self, model: AggregateModel, aggregate_id: str, known: LoadedAggregate) -> None:
        """See `Repository.store`."""
        self._inner.store(model, aggregate_id, known)


def evolve_on(
    model: AggregateModel, state: Aggregate, event: Event, metadata: Metadata
) -> Aggregate:
    """The state after a stored event. Raises `Failed` with the code ``cannot_evolve``."""
    try:
        return model.evolve(state, event, metadata)
    except Exception as error:
        raise Failed(
            f"{metadata.message_type} (sequence {metadata.sequence}) cannot be applied to"
            f" the {model.name} {metadata.aggregate_id}: {cause(error)}",
            code="cannot_evolve",
        ) from error

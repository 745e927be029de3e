"""What a log holds that the code at hand cannot read, or finds no more: told before it is missed.

Of which types there are events, the log can count. What else stands in the way shows only where
events are read, and of a long log those are the newest: what another version of the code has left
is there first.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, evolve, field, frozen
from pydantic import AliasChoices, AliasPath
from pydantic_core import from_json

from cim_domain.errors import Failed, Outdated
from cim_domain.identity import aggregate_id
from cim_domain.model.domain import Domain, either
from cim_domain.model.fields.keys import key_text
from cim_domain.model.messages import Event
from cim_domain.model.metadata import Metadata
from cim_domain.model.records import EventRecord
from cim_domain.store.port import EventStore

MANY_FIELDS = 50
"""So many names of fields of one type are told at most."""

NEWEST = 10_000
"""So many of the newest events are read at the first look; at later ones, those that came since."""


@frozen
class Unreadable:
    """Events of a type that the code has, and that it cannot read: how many, and why the first."""

    count: int
    first: str


@frozen(kw_only=True)
class UnknownEvents:
    """What was found when the log was looked at."""

    head: int = 0
    """Where the log ended then."""
    since: int = 1
    """From which event on they were read; all of them were counted by their types."""
    types: Mapping[str, int] = field(factory=dict)
    """How many there are of each type that the code does not have."""
    newer: Mapping[tuple[str, int], int] = field(factory=dict)
    """How many there are of a type in a version after that of the code."""
    unreadable: Mapping[str, Unreadable] = field(factory=dict)
    """By type: those that the code has, in a version that it knows, and cannot read."""
    ignored: Mapping[str, Sequence[str]] = field(factory=dict)
    """By type: the fields that were stored by code of this version and that this code ignores."""
    elsewhere: Mapping[str, int] = field(factory=dict)
    """By aggregate: how many lie under another id than the key of today gives."""

    @property
    def problems(self) -> Mapping[str, str]:
        """A sentence for each kind of event that the code cannot read, by what it is about."""
        found = {
            name: f"{_events(count)} the type {name!r}, which this code does not know:"
            f" {either(name)}"
            for name, count in sorted(self.types.items())
        }
        for (name, version), count in sorted(self.newer.items()):
            found[f"{name} in version {version}"] = (
                f"{_events(count)} {name} in version {version}, which is newer than this code's:"
                " run newer code"
            )
        for name, unreadable in sorted(self.unreadable.items()):
            found[f"{name}, unreadable"] = (
                f"{_events(unreadable.count)} {name} that this code cannot read, the first of them:"
                f" {unreadable.first}"
            )
        return found

    @property
    def hints(self) -> Mapping[str, str]:
        """A sentence for each aggregate whose key may have been changed, by its name."""
        return {
            name: f"{_events(count)} the aggregate {name!r} that lie under other ids than their own"
            " fields give with the key of today: if the key was changed, what they are of is not"
            " found any more"
            for name, count in sorted(self.elsewhere.items())
        }


@define(eq=False)
class LogExamination:
    """Looks at a log, and later at what has come since."""

    _domain: Domain
    _log: EventStore
    found: UnknownEvents | None = field(default=None, init=False)
    """What the last look has found."""
    _since: int | None = field(default=None, init=False)
    _position: int = field(default=0, init=False)
    """The last event that was read; a look that fails half-way is gone on with."""
    _newer: Counter[tuple[str, int]] = field(factory=Counter, init=False)
    _unreadable: dict[str, Unreadable] = field(factory=dict, init=False)
    _ignored: dict[str, set[str]] = field(factory=dict, init=False)
    _ids: dict[type[Event], Counter[bool]] = field(factory=dict, init=False)
    """Of each event that has the fields of the key: whether they give the id that it lies under."""

    async def look(self) -> UnknownEvents:
        """Look now. Raises `Unavailable`, and `Failed` for a log that the kit has not made."""
        # Another log may be in the place of the one that was looked at before.
        await self._log.identity()
        head = await self._log.head()
        before = self.found
        if before is not None and before.head == head:
            return before
        if self._since is None:
            self._since = max(1, head - NEWEST + 1)
            self._position = self._since - 1
        async for part in self._log.read(self._position, head):
            for record in part.records:
                self._take(record)
                self._position = record.metadata.sequence
        types = await self._log.types()
        self.found = UnknownEvents(
            head=head,
            since=self._since,
            types={
                name: count
                for name, count in types.items()
                if name not in self._domain.stored_events
            },
            newer=dict(self._newer),
            unreadable=dict(self._unreadable),
            ignored={name: sorted(fields) for name, fields in self._ignored.items()},
            elsewhere=self._elsewhere(),
        )
        return self.found

    def _take(self, record: EventRecord) -> None:
        metadata = record.metadata
        try:
            event = self._domain.read_event(metadata, record.data)
        except Outdated:
            if metadata.message_type in self._domain.stored_events:
                self._newer[metadata.message_type, metadata.schema_version] += 1
        except Failed as error:
            first = Unreadable(0, error.message)
            found = self._unreadable.get(metadata.message_type, first)
            self._unreadable[metadata.message_type] = evolve(found, count=found.count + 1)
        else:
            if ignored := _ignored(event, record):
                told = self._ignored.setdefault(metadata.message_type, set())
                told.update(sorted(ignored)[: max(0, MANY_FIELDS - len(told))])
            own = self._is_under_its_key(event, metadata)
            if own is not None:
                self._ids.setdefault(type(event), Counter())[own] += 1

    def _is_under_its_key(self, event: Event, metadata: Metadata) -> bool | None:
        """Whether the event lies where its fields say; None where they do not say."""
        model = self._domain.aggregate_of(type(event))
        if metadata.message_type.split(".")[0] != model.name:
            return None
        values = [getattr(event, part, None) for part in model.key]
        try:
            texts = [one if type(one) is str else key_text(one) for one in values]
            key = model.key_from(texts)
        except ValueError:
            return None
        organization_id = metadata.organization_id
        expected = aggregate_id(self._domain.name, organization_id, model.name, key)
        return expected == metadata.aggregate_id

    def _elsewhere(self) -> dict[str, int]:
        """By aggregate, the events of types whose fields are the key's, as most of them tell.

        A field of the key's name may mean something else in one type of event, as when an order
        gets another number: such a type has none under the id that its fields give.
        """
        found: Counter[str] = Counter()
        told = {
            self._domain.aggregate_of(event).name for event, ids in self._ids.items() if ids[True]
        }
        for event, ids in self._ids.items():
            name = self._domain.aggregate_of(event).name
            if ids[False] and (ids[True] or name not in told):
                found[name] += ids[False]
        return dict(found)


def _ignored(event: Event, record: EventRecord) -> set[str]:
    """The fields of a stored event that its class has no place for.

    A class without any keeps none on purpose; and of an older version the upcaster has seen them.
    """
    cls = type(event)
    if not cls.model_fields or record.metadata.schema_version != cls.schema_version:
        return set()
    if cls.model_config.get("extra") != "ignore":
        return set()
    known = {*cls.model_fields, *cls.model_computed_fields}
    for one in cls.model_fields.values():
        known.update(_names(one.validation_alias))
    known.update(one.alias for one in cls.model_computed_fields.values() if one.alias)
    return {*from_json(record.data)} - known


def _names(alias: str | AliasChoices | AliasPath | None) -> Iterator[str]:
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, AliasPath):
        yield str(alias.path[0])
    elif isinstance(alias, AliasChoices):
        for choice in alias.choices:
            yield from _names(choice)


def _events(count: int) -> str:
    return f"{count} event of" if count == 1 else f"{count} events of"

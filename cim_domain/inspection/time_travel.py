"""Aggregates as they were: at a version, or at a time.

The log is read, never the cache or a snapshot: what comes out is what the events say today, with
today's code.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

import orjson
from attrs import frozen
from cattrs.preconf.orjson import make_converter
from pydantic import BaseModel

from cim_domain.commands.repository import evolve_on
from cim_domain.errors import NotFound
from cim_domain.model.aggregate import Aggregate, AggregateModel
from cim_domain.model.domain import Domain
from cim_domain.model.messages import Event
from cim_domain.model.metadata import Metadata, Recorded
from cim_domain.store.port import EventStore

_converter = make_converter()


@frozen
class Past:
    """An aggregate as it was. `last` is the event that made it so."""

    state: Aggregate
    last: Metadata

    @property
    def version(self) -> int:
        """How many events it had."""
        return self.last.aggregate_version


async def history_of(
    domain: Domain, store: EventStore, aggregate: str, aggregate_id: str
) -> AsyncGenerator[tuple[Recorded[Event], Aggregate], None]:
    """Every event of an aggregate with the state after it, from the first on.

    Raises `NotFound` for an aggregate the domain does not have, and what `EventStore.load` and
    `Domain.read_event` raise.
    """
    model = _model(domain, aggregate)
    state = model.initial
    for record in await store.load(aggregate, aggregate_id):
        event = domain.read_event(record.metadata, record.data)
        state = evolve_on(model, state, event, record.metadata)
        yield Recorded(event, record.metadata), state


async def as_of(
    domain: Domain,
    store: EventStore,
    aggregate: str,
    aggregate_id: str,
    *,
    version: int | None = None,
    time: datetime | None = None,
) -> Past:
    """An aggregate as of a version, or of a time with its time zone (both included); else as it is.

    Of a time it is the beginning of its history up to the first event that is later. With both, as
    of whichever came first. Raises `ValueError` for a time without a time zone, `NotFound`
    where there was nothing yet, or where it has never had so many events, and what `history_of`
    raises.
    """
    if time is not None and time.tzinfo is None:
        raise ValueError("a time without a time zone could be any")
    past: Past | None = None
    async with aclosing(history_of(domain, store, aggregate, aggregate_id)) as history:
        async for recorded, state in history:
            metadata = recorded.metadata
            too_late = time is not None and metadata.timestamp > time
            if too_late or (version is not None and metadata.aggregate_version > version):
                break
            past = Past(state, metadata)
        else:
            if version is not None and past is not None and past.version < version:
                raise NotFound(
                    f"the {aggregate} {aggregate_id} has {past.version} events, not {version}",
                    details={"version": past.version},
                )
    if past is None:
        when = f" by {time.isoformat()}" if time else ""
        raise NotFound(f"the {aggregate} {aggregate_id} had no event{when}")
    return past


@frozen
class Changed:
    """A field of a state, as JSON has its value before an event and after it."""

    before: Any
    after: Any


def changes(before: Aggregate, after: Aggregate) -> dict[str, Changed]:
    """What differs from one state of an aggregate to another of the same class, by field."""
    old, new = state_fields(before), state_fields(after)
    return {
        name: Changed(old[name], new[name])
        for name in new
        if getattr(before, name) != getattr(after, name)
    }


def state_fields(state: Aggregate) -> Mapping[str, Any]:
    """The fields of a state with the values that JSON has for them; text for what it has none."""
    wire = _converter.dumps(state, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    fields: Mapping[str, Any] = orjson.loads(wire)
    return fields


def _plain(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _model(domain: Domain, aggregate: str) -> AggregateModel:
    if aggregate not in domain.aggregates:
        names = ", ".join(sorted(domain.aggregates))
        raise NotFound(f"the domain {domain.name} has no aggregate {aggregate!r}; it has {names}")
    return domain.aggregates[aggregate]

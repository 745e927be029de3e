"""The rows of one view in memory, found by key or by the value of an indexed field."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from heapq import merge
from itertools import islice
from operator import itemgetter

from attrs import define, field, frozen

from cim_domain.views.columns import Value, comparable
from cim_domain.views.criteria import Condition, Find, Place
from cim_domain.views.layout import ViewLayout, unfit
from cim_domain.views.port import Change
from cim_domain.views.yielding import PART, Turns

_Rank = tuple[bool, Value, str]


@frozen
class Row:
    """One view: its columns' values by field, its search text, itself as JSON."""

    values: dict[str, Value]
    search: str
    document: bytes


def row_of(layout: ViewLayout, change: Change) -> tuple[str, str, Row | None]:
    """Owner, key and row of a change. Raises `Failed` for what cannot be kept."""
    try:
        owner, key = comparable(change.row[0]), comparable(change.row[1])
    except UnicodeEncodeError as error:
        raise unfit(layout.view, "key", error) from error
    if change.value is None:
        return owner, key, None
    values = dict(zip(layout.columns, layout.values(change.value), strict=True))
    return owner, key, Row(values, layout.search_text(change.value), layout.write(change.value))


@define(eq=False)
class Table:
    """The rows of one view, of every organization."""

    _layout: ViewLayout
    _turns: Turns
    _rows: dict[str, dict[str, Row]] = field(factory=dict, init=False)
    _by_value: dict[tuple[str, str, Value], set[str]] = field(factory=dict, init=False)

    def get(self, owner: str, key: str) -> Row | None:
        """The row of an organization under a key."""
        return self._rows.get(owner, {}).get(key)

    def put(self, owner: str, key: str, row: Row | None) -> None:
        """Set a row, or remove it."""
        rows = self._rows.setdefault(owner, {})
        before = rows.pop(key, None)
        if before is not None:
            for name, value in before.values.items():
                keys = self._by_value[owner, name, value]
                keys.discard(key)
                if not keys:
                    del self._by_value[owner, name, value]
        if row is not None:
            rows[key] = row
            for name, value in row.values.items():
                self._by_value.setdefault((owner, name, value), set()).add(key)

    async def count(self, owner: str, where: Sequence[Condition]) -> int:
        """How many views meet the conditions."""
        number = 0
        async with aclosing(self._matching(owner, where, "")) as parts:
            async for part in parts:
                number += len(part)
        return number

    async def page(self, owner: str, find: Find) -> list[tuple[Place, Row]]:
        """The views of a page in their order, and one more if there is one."""
        name = None if find.order is None else find.order.field
        after = None if find.after is None else _rank(find.after)
        wanted = find.skip + find.limit + 1
        runs: list[list[tuple[_Rank, Place, Row]]] = []
        async with aclosing(self._matching(owner, find.where, find.text)) as parts:
            async for part in parts:
                found = []
                for key, row in part:
                    place = (None if name is None else row.values[name], key)
                    rank = _rank(place)
                    if after is None or (rank < after if find.descending else rank > after):
                        found.append((rank, place, row))
                found.sort(key=itemgetter(0), reverse=find.descending)
                runs.append(found[:wanted])
        return await self._merged(runs, find)

    async def _merged(
        self, runs: Sequence[list[tuple[_Rank, Place, Row]]], find: Find
    ) -> list[tuple[Place, Row]]:
        """What is wanted of sorted runs, put together a part at a time."""
        merged = merge(*runs, key=itemgetter(0), reverse=find.descending)
        for skipped in range(find.skip):
            if next(merged, None) is None:
                return []
            if skipped % PART == 0:
                await asyncio.sleep(0)
        return [(place, row) for _, place, row in islice(merged, find.limit + 1)]

    async def _matching(
        self, owner: str, where: Sequence[Condition], text: str
    ) -> AsyncGenerator[list[tuple[str, Row]], None]:
        """The keys and rows that meet the conditions, in no order, as they all were at first."""
        async with aclosing(self._turns.parts(self._candidates(owner, where))) as parts:
            async for part in parts:
                yield [
                    (key, row)
                    for key, row in part
                    if text in row.search
                    and all(row.values[column.field] == value for column, value in where)
                ]

    def _candidates(self, owner: str, where: Sequence[Condition]) -> list[tuple[str, Row]]:
        """Those with the rarest of the values asked for, or all."""
        rows = self._rows.get(owner, {})
        sets: list[set[str]] = [
            self._by_value.get((owner, column.field, value), set()) for column, value in where
        ]
        if not sets:
            return list(rows.items())
        return [(key, rows[key]) for key in min(sets, key=len)]


def _rank(place: Place) -> _Rank:
    """What orders a place: None comes before everything."""
    value, key = place
    return value is not None, 0 if value is None else value, key

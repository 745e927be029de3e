"""The rows of one view in memory, found by key or by the value of an indexed field."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import total_ordering
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from attrs import define, field, frozen

from cim_domain.model.fields.conditions import Operator
from cim_domain.views.columns import Value, comparable
from cim_domain.views.criteria import Check, Find, Place, rank
from cim_domain.views.layout import ViewLayout, unfit
from cim_domain.views.port import Change
from cim_domain.views.tally import Tally
from cim_domain.views.yielding import PART, Turns


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

    async def count(self, owner: str, where: Sequence[Check]) -> int:
        """How many views meet the conditions."""
        number = 0
        async with aclosing(self._matching(owner, where, "")) as parts:
            async for part in parts:
                number += len(part)
        return number

    async def tally(self, owner: str, where: Sequence[Check], tally: Tally) -> None:
        """Have the views that meet the conditions counted."""
        of = None if tally.of is None else tally.of.field
        async with aclosing(self._matching(owner, where, "")) as parts:
            async for part in parts:
                for _, row in part:
                    values = tuple(row.values[column.field] for column in tally.by)
                    tally.add(values, None if of is None else row.values[of], 1, row.document)

    async def page(self, owner: str, find: Find) -> list[tuple[Place, Row]]:
        """The views of a page in their order, and one more if there is one."""
        order = _Order.of(find)
        after = None if find.after is None else order.standing(find.after)
        wanted = find.skip + find.limit + 1
        runs: list[list[tuple[Any, Place, Row]]] = []
        async with aclosing(self._matching(owner, find.where, find.text)) as parts:
            async for part in parts:
                found = []
                for key, row in part:
                    place = (tuple(row.values[one.column.field] for one in find.order), key)
                    standing = order.standing(place)
                    if after is None or order.is_behind(standing, after):
                        found.append((standing, place, row))
                found.sort(key=itemgetter(0), reverse=order.reverse)
                runs.append(found[:wanted])
        return await self._merged(runs, find, reverse=order.reverse)

    async def _merged(
        self, runs: Sequence[list[tuple[Any, Place, Row]]], find: Find, *, reverse: bool
    ) -> list[tuple[Place, Row]]:
        """What is wanted of sorted runs, put together a part at a time."""
        merged = merge(*runs, key=itemgetter(0), reverse=reverse)
        for skipped in range(find.skip):
            if next(merged, None) is None:
                return []
            if skipped % PART == 0:
                await asyncio.sleep(0)
        return [(place, row) for _, place, row in islice(merged, find.limit + 1)]

    async def _matching(
        self, owner: str, where: Sequence[Check], text: str
    ) -> AsyncGenerator[list[tuple[str, Row]], None]:
        """The keys and rows that meet the conditions, in no order, as they all were at first."""
        async with aclosing(self._turns.parts(self._candidates(owner, where))) as parts:
            async for part in parts:
                yield [
                    (key, row)
                    for key, row in part
                    if text in row.search
                    and all(check(row.values[check.column.field]) for check in where)
                ]

    def _candidates(self, owner: str, where: Sequence[Check]) -> list[tuple[str, Row]]:
        """Those with the rarest of the values asked for, or all."""
        rows = self._rows.get(owner, {})
        found: list[list[Collection[str]]] = [
            [self._by_value.get((owner, name, value), ()) for value in values]
            for name, values in _values(where)
        ]
        if not found:
            return list(rows.items())
        rarest = min(found, key=lambda sets: sum(map(len, sets)))
        return [(key, rows[key]) for keys in rarest for key in keys]


def _values(where: Sequence[Check]) -> Iterator[tuple[str, Iterable[Value]]]:
    """The values of which one must stand in a column."""
    for check in where:
        if check.operator is Operator.EQUAL:
            yield check.column.field, (check.value,)
        elif check.operator is Operator.ONE_OF:
            yield check.column.field, check.value


@total_ordering
class _Turned:
    """What comes before others where it would come behind them."""

    __slots__ = ("_ordered",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, ordered: Any) -> None:
        self._ordered = ordered

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Turned) and bool(self._ordered == other._ordered)

    def __lt__(self, other: "_Turned") -> bool:
        return bool(other._ordered < self._ordered)


@frozen
class _Order:
    """What orders places."""

    _turned: tuple[bool, ...]
    """Of each column and of the key, where they are not all alike."""
    reverse: bool
    """Whether all of the order is turned round."""

    @classmethod
    def of(cls, find: Find) -> "_Order":
        """That of a question."""
        turned = (*(one.descending for one in find.order), find.descending)
        alike = len(set(turned)) == 1
        return cls(() if alike else turned, alike and find.descending)

    def standing(self, place: Place) -> tuple[Any, ...]:
        """What is compared: None comes before everything, or behind where it is turned round."""
        ranks = (*map(rank, place[0]), place[1])
        if not self._turned:
            return ranks
        return tuple(
            _Turned(one) if turned else one for turned, one in zip(self._turned, ranks, strict=True)
        )

    def is_behind(self, standing: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        """Whether it comes later."""
        return standing < other if self.reverse else standing > other

"""Counting views and summing a field over them, exactly, whatever database they come from.

Databases differ in how they add floats, and one of them has no decimals. So they give every value
that there is with the number of times that it is there, and the sum is made here.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Any

from attrs import Factory, define, field

from cim_domain.errors import Failed
from cim_domain.model.fields.conditions import Field
from cim_domain.model.view import MAX_GROUPS, Counted, Summed
from cim_domain.views.columns import EXACT, Value
from cim_domain.views.criteria import asked_column, rank
from cim_domain.views.layout import Column, ViewLayout, read_view

_NUMBERS = (int, float, Decimal)


@define
class _Group:
    count: int = 0
    sums: dict[int, int] = Factory(dict)
    """Numerators by their denominator: whole numbers, so that no order of adding matters."""
    document: str | bytes | None = None


@define(eq=False)
class Tally:
    """The groups that the views form by their values in `by`, and the sums of `of` over each."""

    _layout: ViewLayout
    by: tuple[Column, ...]
    of: Column | None
    _alone: bool
    """Whether a group goes by one value, not by a tuple of them."""
    _groups: dict[tuple[Value, ...], _Group] = field(factory=dict, init=False)

    @classmethod
    def asked(cls, layout: ViewLayout, by: object, of: Field[Any] | None) -> "Tally":
        """By one field, or by several in a tuple. Raises `ModelError`."""
        fields = by if isinstance(by, tuple) else (by,)
        columns = tuple(asked_column(layout, one) for one in fields)
        summed = None if of is None else asked_column(layout, of)
        if summed is not None and summed.coding.plain not in _NUMBERS:
            raise layout.wrong(f"{summed.field!r} cannot be summed: it is no number")
        return cls(layout, columns, summed, not isinstance(by, tuple))

    def add(
        self,
        values: tuple[Value, ...],
        summed: Value,
        count: int,
        document: str | bytes | None,
    ) -> None:
        """Take in views that agree in these values and in the one to sum.

        `document`: one of them, at least where a text is longer than a column holds. Raises
        `Failed` where there are too many groups.
        """
        group = self._groups.get(values)
        if group is None:
            if len(self._groups) == MAX_GROUPS:
                raise Failed(
                    f"the {self._layout.view.view_name} views form more than {MAX_GROUPS} groups",
                    code="too_many_groups",
                )
            group = self._groups[values] = _Group(document=document)
        group.count += count
        if self.of is not None and summed is not None:
            number, denominator = self.of.coding.decode(summed).as_integer_ratio()
            group.sums[denominator] = group.sums.get(denominator, 0) + number * count

    def counted(self) -> list[Counted[Any]]:
        """What was counted, in the order of the values."""
        return [Counted(by=by, count=group.count) for by, group in self._in_order()]

    def summed(self) -> list[Summed[Any, Any]]:
        """The same with the sums."""
        return [
            Summed(by=by, count=group.count, sum=self._sum(group)) for by, group in self._in_order()
        ]

    def sum(self) -> Any:
        """That of all, where they are one group."""
        return self._sum(self._groups.get((), _Group()))

    def _in_order(self) -> Iterator[tuple[Any, _Group]]:
        for values in sorted(self._groups, key=lambda values: [rank(value) for value in values]):
            group = self._groups[values]
            by = tuple(
                self._value(column, value, group)
                for column, value in zip(self.by, values, strict=True)
            )
            yield (by[0] if self._alone else by), group

    def _value(self, column: Column, value: Value, group: _Group) -> Any:
        if value is None:
            return None
        if is_cut(column, value) and group.document is not None:
            return getattr(read_view(self._layout.view, group.document), column.field)
        return column.coding.decode(value)

    def _sum(self, group: _Group) -> int | float | Decimal:
        total = sum((Fraction(*part) for part in _parts(group.sums)), Fraction(0))
        plain = None if self.of is None else self.of.coding.plain
        if plain is Decimal:
            return _decimal(total)
        return _float(total) if plain is float else int(total)


def is_cut(column: Column, value: Value) -> bool:
    """Whether a text is longer than what stands in the column."""
    return column.coding.plain is str and isinstance(value, str) and len(value) > EXACT


def _parts(sums: dict[int, int]) -> Iterator[tuple[int, int]]:
    return ((number, denominator) for denominator, number in sums.items())


def _float(total: Fraction) -> float:
    try:
        return float(total)
    except OverflowError:
        return inf if total > 0 else -inf


def _decimal(total: Fraction) -> Decimal:
    """A sum of decimals, which is one: all of its digits, whatever the context rounds to."""
    places = 0
    while (10**places) % total.denominator:
        places += 1
    number = total.numerator * (10**places // total.denominator)
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -places))

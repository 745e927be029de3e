"""What is measured, what it is to reach, and what came of it. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from attrs import frozen


@frozen
class Target:
    """A bound that a measurement is to keep."""

    bound: float
    at_most: bool

    def met_by(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {number(self.bound)}"


def at_most(bound: float) -> Target:
    """The less, the better."""
    return Target(bound, at_most=True)


def at_least(bound: float) -> Target:
    """The more, the better."""
    return Target(bound, at_most=False)


@frozen
class Aim:
    """One row of the table before it is measured."""

    row: str
    what: str
    target: Target | None
    """None: shown for comparison alone."""
    unit: str = "x"

    def measured(self, values: Sequence[float], figures: Mapping[str, float]) -> "Row":
        """The row with one value a round, and the figures behind them, units in their names."""
        return Row(self, tuple(values), dict(figures))

    def skipped(self, reason: str) -> "Row":
        """The row without a measurement."""
        return Row(self, problem=f"skipped: {reason}")

    def failed(self, error: Exception) -> "Row":
        """The row of a measurement that ended with an error."""
        return Row(self, problem=f"failed: {type(error).__name__}: {error}", broken=True)


@frozen
class Row:
    """One row of the table."""

    aim: Aim
    values: tuple[float, ...] = ()
    figures: Mapping[str, float] = {}
    problem: str = ""
    """Why nothing was measured."""
    broken: bool = False
    """Whether that is an error rather than a choice."""

    @property
    def value(self) -> float | None:
        """The median of the rounds."""
        return median(self.values) if self.values else None

    @property
    def reached(self) -> bool | None:
        """Whether the median keeps the target; None where there is none of either."""
        if self.value is None or self.aim.target is None:
            return None
        return self.aim.target.met_by(self.value)

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON."""
        target = self.aim.target
        return {
            "row": self.aim.row,
            "what": self.aim.what,
            "unit": self.aim.unit,
            "value": self.value,
            "rounds": list(self.values),
            "target": None
            if target is None
            else {"at_most" if target.at_most else "at_least": target.bound},
            "reached": self.reached,
            "figures": dict(self.figures),
            "problem": self.problem or None,
        }


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """One quotient a round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    """With three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

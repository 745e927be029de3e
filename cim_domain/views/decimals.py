"""Decimals as text that is in their order: exact in every database, and 1.50 is 1.5.

A sign, the power of ten of the first digit, the digits. Those of negative numbers are turned round
(9 for 0), with an end that comes behind every digit: -1.25 is before -1.2.
"""

from decimal import Decimal

LOWEST, HIGHEST = "", "\U0010ffff"
"""Before and behind every text that stands in a column."""

_NEGATIVE, _ZERO, _POSITIVE = "0", "1", "2"
_END = "~"
_TURNED = str.maketrans("0123456789", "9876543210")

_LARGEST_POWER = 999
_SHIFT = 1000
_DIGITS = 150
"""So many are held, without zeros at either end: an index takes them."""


class Unheld(ValueError):
    """No column holds such a value, and it has no place in the order of those that do."""


def held(value: Decimal) -> str:
    """The text of a decimal. Raises `ValueError` for one that columns cannot hold."""
    if not value.is_finite():
        raise ValueError("the number is not finite")
    digits, power = _parts(value)
    if digits and abs(power) > _LARGEST_POWER:
        raise ValueError(f"the number is not between 1E-{_LARGEST_POWER} and 1E+{_LARGEST_POWER}")
    if len(digits) > _DIGITS:
        raise ValueError(f"the number has more than {_DIGITS} digits")
    return _text(value, digits, power)


def wanted(value: Decimal) -> str:
    """The text with which others are compared. Raises `Unheld` for what is no number."""
    if value.is_nan():
        raise Unheld("is not a number")
    if value.is_infinite():
        return LOWEST if value.is_signed() else HIGHEST
    digits, power = _parts(value)
    if digits and power > _LARGEST_POWER:
        return LOWEST if value.is_signed() else HIGHEST
    if digits and power < -_LARGEST_POWER:
        # Next to zero, on its side.
        return _NEGATIVE + _END if value.is_signed() else _POSITIVE
    return _text(value, digits, power)


def decimal_of(text: str) -> Decimal:
    """The decimal that stands in a column, without zeros at its end."""
    sign, rest = text[0], text[1:]
    if sign == _ZERO:
        return Decimal(0)
    if sign == _NEGATIVE:
        rest = rest.removesuffix(_END).translate(_TURNED)
    power, digits = int(rest[:4]) - _SHIFT, rest[4:]
    exponent = power - len(digits) + 1
    whole = digits + "0" * max(0, exponent)
    number = tuple(map(int, whole))
    return Decimal((int(sign == _NEGATIVE), number, min(0, exponent)))


def _parts(value: Decimal) -> tuple[str, int]:
    """The digits without zeros at the end, and the power of ten of the first; zero has none."""
    if not value:
        return "", 0
    return "".join(map(str, value.as_tuple().digits)).rstrip("0"), value.adjusted()


def _text(value: Decimal, digits: str, power: int) -> str:
    if not digits:
        return _ZERO
    number = f"{power + _SHIFT:04d}{digits}"
    return _NEGATIVE + number.translate(_TURNED) + _END if value < 0 else _POSITIVE + number

"""Numbers as people read them in reports."""

from __future__ import annotations

import math

MISSING = "—"
_LEAST_CHANCE = 0.0001
_PLAIN_EXPONENTS = range(-4, 15)


def format_number(value: float | None, *, apart_from: float | None = None) -> str:
    """Write a number with four significant digits, and with more where rounding would hide a difference.

    Args:
        value: None and non-finite numbers are written as a dash: nobody knows them.
        apart_from: a number that is printed next to this one, for instance a limit; two different numbers never
            look equal.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    for digits in range(4, 18):
        text = _round(value, digits)
        if apart_from is None or value == apart_from or text != _round(apart_from, digits):
            break
    return text


def format_difference(value: float | None) -> str:
    """Write a difference with three significant digits and its sign; zero has none."""
    text = MISSING if value is None or not math.isfinite(value) else _round(value, 3)
    return f"+{text}" if value is not None and text not in (MISSING, "0") and value > 0 else text


def format_interval(interval: tuple[float, float] | None) -> str:
    """Write an interval as `[low, high]`, or nothing when there is none."""
    return f"[{format_number(interval[0])}, {format_number(interval[1])}]" if interval else ""


def format_chance(value: float | None, *, alpha: float) -> str:
    """Write a p-value so that it never looks equal to the error rate that it is compared with; bound tiny ones."""
    if value is None or not math.isfinite(value):
        return MISSING
    return format_number(value, apart_from=alpha) if value >= _LEAST_CHANCE else f"< {_LEAST_CHANCE:g}"


def count(number: int, noun: str) -> str:
    """Write a count with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _round(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent not in _PLAIN_EXPONENTS:
        return f"{value:.{digits}g}"
    text = f"{value:.{max(0, digits - 1 - exponent)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

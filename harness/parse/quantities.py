"""Quantities off a tree that knows its lines: the words are those of ``harness.units``."""

import math
from collections.abc import Callable

from harness import units
from harness.parse.document import Item, shown


def read(item: Item, reader: Callable[[object], float]) -> float:
    """Read one value; what is wrong with it is said with its place. Raises ``ParseError``."""
    try:
        return reader(item.value)
    except ValueError as wrong:
        raise item.wrong(str(wrong)) from None


def duration(item: Item) -> float:
    """Read a duration, in seconds."""
    return read(item, units.seconds)


def share(item: Item) -> float:
    """Read a share, 0 to 1."""
    return read(item, units.ratio)


def number(item: Item) -> float:
    """Read a number that is finite."""
    value = item.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise item.wrong(f"{shown(value)} should be a number")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False

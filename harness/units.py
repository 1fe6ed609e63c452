"""Quantities people write: ``400ms``, ``5s``, ``2m``, ``120/s``, ``99%``.

One parser and one printer for each, so a scenario, an error and a report all spell a quantity the
same way. A bare number is never a duration: it has no unit, and someone will misread it.
"""

import re
from typing import Final

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST: Final = 1e9  # of seconds: thirty years; beyond it clocks lose their fractions
_DURATION: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)\s*$")
_RATE: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*/\s*(s|m)\s*$")
_PERCENT: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")


def seconds(text: object) -> float:
    """Read a duration, in seconds. Raises ``ValueError`` with the remedy."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it with a unit, like 400ms or 5s")
    return _finite(float(match[1]) * _SECONDS[match[2]], text)


def per_second(text: object) -> float:
    """Read a rate, per second: ``120/s`` or ``6000/m``. Raises ``ValueError`` with the remedy."""
    match = _RATE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a rate; write it with a unit, like 120/s or 6000/m")
    return _finite(float(match[1]) / _SECONDS[match[2]], text)


def ratio(text: object) -> float:
    """Read a share between 0 and 1: ``0.97`` or ``97%``. Raises ``ValueError`` with the remedy."""
    if isinstance(text, str) and (match := _PERCENT.match(text)):
        value = float(match[1]) / 100
    elif isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    else:
        raise ValueError(f"{text!r} is not a share; write it like 0.97 or 97%")
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not between 0 and 1 (or 0% and 100%)")
    return value


def _finite(value: float, text: object) -> float:
    if value > _MOST:
        raise ValueError(f"{text!r} is beyond all measure; write a smaller number")
    return value


def spell(duration_s: float) -> str:
    """Write a duration the way a person would type it."""
    if duration_s >= 1000:
        return f"{duration_s:.0f}s"
    if duration_s >= 1 or duration_s == 0:
        return f"{duration_s:.4g}s"
    if duration_s >= 1e-3:
        return f"{duration_s * 1e3:.4g}ms"
    return f"{duration_s * 1e6:.4g}us"


def spell_ratio(value: float, digits: int = 2) -> str:
    """Write a share as a percentage with as many digits as carry meaning."""
    return f"{100 * value:.{digits}f}%"

"""Elements, scales, frames and ticks: the alphabet of every picture.

Every picture is drawn twice, once for a wide and once for a narrow page, because text that is
scaled down with its picture cannot be read on a telephone; the style sheet shows one of them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from reports._words import clean

EM: Final = 0.58  # mean width of a character of a wide sans face, in font sizes


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a picture, in its own units: the text is ``font`` units high."""

    name: str
    width: float
    left: float
    right: float
    font: float
    max_ticks: int

    @property
    def end(self) -> float:
        """Where the plotting area ends."""
        return self.width - self.right


WIDE: Final = Frame("wide", 1060, 56, 20, 13, 14)
NARROW: Final = Frame("narrow", 400, 46, 12, 12.5, 6)
SMALL: Final = Frame("small", 420, 48, 14, 12, 6)


@dataclass(frozen=True, slots=True)
class Scale:
    """A map from ``[low, high]`` to ``[start, end]``; values outside are pinned to the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Place one value."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def number(value: float) -> str:
    """Write a coordinate: a tenth of a unit is finer than any screen."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def tag(name: str, *children: str, **attributes: object) -> str:
    """Write an element. ``class_`` is ``class``; ``text_anchor`` is ``text-anchor``; ``None`` is
    left out. Children are markup already; attribute values are escaped here.
    """
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_spell(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{pairs}>{''.join(children)}</{name}>" if children else f"<{name}{pairs}/>"


def _spell(value: object) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


def words(x: float, y: float, text: str, class_: str | None = None, anchor: str = "start") -> str:
    """Write text at its baseline. What it says is cleaned and escaped."""
    place = None if anchor == "start" else anchor
    return tag("text", escape(clean(text)), x=x, y=y, class_=class_, text_anchor=place)


def box(x: float, y: float, to_x: float, height: float, class_: str, title: str = "") -> str:
    """Draw a rectangle from ``x`` to ``to_x``; it is never too thin to be seen."""
    inside = (tag("title", escape(clean(title))),) if title else ()
    width = max(to_x - x, 1.0)
    return tag("rect", *inside, x=x, y=y, width=width, height=height, class_=class_)


def rule(x: float, y: float, to_x: float, to_y: float, class_: str) -> str:
    """Draw a straight line."""
    return tag("path", d=f"M{number(x)} {number(y)}L{number(to_x)} {number(to_y)}", class_=class_)


def picture(
    key: str, frame: Frame, height: float, title: str, desc: str, parts: Iterable[str]
) -> str:
    """Close a picture: ``key`` must be unique on the page."""
    name = f"{key}-{frame.name}"
    return tag(
        "svg",
        tag("title", escape(clean(title)), id=f"{name}-t"),
        tag("desc", escape(clean(desc)), id=f"{name}-d"),
        *parts,
        class_=f"pic {frame.name}",
        viewBox=f"0 0 {number(frame.width)} {number(height)}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )


def text_width(text: str, font: float) -> float:
    """Guess how wide a text will be; generous, because faces differ."""
    return len(clean(text)) * font * EM


def step_for(span: float, most: int) -> float:
    """The finest pleasant step that cuts ``span`` into at most ``most`` parts."""
    if not math.isfinite(span) or span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * nice for nice in (1, 2, 5, 10, 20) if span / (power * nice) <= most + 1e-9)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from ``low`` to ``high``, both included where they are round."""
    step = step_for(high - low, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]

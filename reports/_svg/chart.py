"""Charts of one or a few series over the run: a step for each second, never a smoothed line.

A value read over a second is drawn as a second. A second without data is a gap on a hatched
ground, because a line through it would be an invention. What misses its target is filled, so that
the harm is an area that can be seen and not a colour that must be told apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.model.analysis import Analysis, Mark
from reports._svg.axis import (
    Axis,
    axis_of,
    draw_axis,
    draw_fault,
    draw_mark_numbers,
)
from reports._svg.draw import (
    EM,
    Frame,
    Scale,
    box,
    number,
    picture,
    rule,
    tag,
    text_width,
    ticks,
    words,
)
from reports._words import plain_number

_FLOORS: Final = (0.99, 0.98, 0.95, 0.9, 0.8, 0.5, 0.0)
_STYLES: Final = ("line-a", "line-b", "line-c")


@dataclass(frozen=True, slots=True)
class Line:
    """A step series: ``value[i]`` holds over ``[edge[i], edge[i + 1])`` of run time.

    A line without ``label`` is drawn in the background.
    """

    label: str
    edge: Sequence[float]
    value: Sequence[float | None]

    def runs(self) -> Iterable[tuple[float, float, float | None]]:
        """``(start, end, value)``; NaN and infinity are no data."""
        for n, value in enumerate(self.value):
            known = value is not None and math.isfinite(value)
            yield self.edge[n], self.edge[n + 1], value if known else None


@dataclass(frozen=True, slots=True)
class Chart:
    """What one chart shows. ``high_is_good`` anchors a share at 100 % rather than at zero."""

    key: str
    title: str
    desc: str
    unit: str
    lines: tuple[Line, ...]
    target: float | None = None
    high_is_good: bool = False
    height: float = 150


def draw(analysis: Analysis, marks: Sequence[Mark], chart: Chart, frame: Frame) -> str:
    """Draw one chart in one frame, with the fault shaded and the marks numbered."""
    axis = axis_of(analysis, frame)
    named = [line for line in chart.lines if line.label]
    key, head = _key(named, frame)
    top, foot = head + 22.0, head + chart.height - 22
    y = _scale(chart, top + 4, foot)
    parts = [
        draw_fault(axis, analysis, top, foot),
        draw_axis(axis, foot, foot),
        _rows(chart, y, axis),
        _gaps(chart, axis, top, foot),
        draw_mark_numbers(axis, marks, head + 11, foot),
        _target(chart, y, axis),
    ]
    parts += [_path(line, y, axis, "line-rest") for line in chart.lines if not line.label]
    parts += [_path(line, y, axis, _STYLES[n % 3]) for n, line in enumerate(named)]
    parts.append(key)
    return picture(chart.key, frame, head + chart.height, chart.title, chart.desc, parts)


def _known(chart: Chart) -> list[float]:
    return [v for line in chart.lines for _, _, v in line.runs() if v is not None]


def _scale(chart: Chart, top: float, foot: float) -> Scale:
    """Choose the range: shares keep an honest end, long tails get a log axis."""
    known = _known(chart)
    known += [] if chart.target is None else [chart.target]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if chart.high_is_good:
        floor = next((f for f in _FLOORS if f <= low and f != chart.target), low)
        return Scale(floor, max(1.0, high), foot, top)
    if is_log(chart):
        return Scale(10 ** math.floor(math.log10(low)), _ceiling(high), foot, top, log=True)
    if low < 0:
        reach = _ceiling(max(-low, high))
        return Scale(-reach, reach if high > 0 else 0.0, foot, top)
    return Scale(0.0, _ceiling(high) if high > 0 else 1.0, foot, top)


def is_log(chart: Chart) -> bool:
    """A chart of times whose tail is thirty times its body needs a log axis."""
    known = _known(chart)
    return (
        chart.unit in ("ms", "s", "seconds")
        and bool(known)
        and min(known) > 0
        and max(known) > 30 * min(known)
    )


def _ceiling(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * nice for nice in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * nice >= value)


def _rows(chart: Chart, y: Scale, axis: Axis) -> str:
    """Horizontal hairlines and their values."""
    if y.log:
        powers = range(round(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
        at = [10.0**p for p in powers if y.low <= 10.0**p <= y.high]
    else:
        at = ticks(y.low, y.high, 4)
    parts = []
    for value in at:
        if chart.target is not None and abs(y(value) - y(chart.target)) < 13:
            continue  # the target's own label stands there
        parts.append(rule(axis.scale.start, y(value), axis.scale.end, y(value), "grid"))
        parts.append(words(axis.scale.start - 6, y(value) + 4, _tick(value, at, chart.unit),
                           "tick", "end"))  # fmt: skip
    return "".join(parts)


def _tick(value: float, at: Sequence[float], unit: str) -> str:
    share = 100.0 if unit == "ratio" else 1.0
    step = min((abs(b - a) for a, b in zip(at, at[1:], strict=False)), default=1.0) * share
    digits = 0 if step >= 1 or value == 0 else min(3, math.ceil(-math.log10(step) - 1e-9))
    if unit != "ratio" and abs(value) < 1 and value != 0:
        digits = max(digits, min(3, math.ceil(-math.log10(abs(value)))))
    return plain_number(value * share, digits) + ("%" if unit == "ratio" else "")


def _gaps(chart: Chart, axis: Axis, top: float, foot: float) -> str:
    """Hatch the seconds in which no line has data."""
    if not _known(chart):
        middle = (axis.scale.start + axis.scale.end) / 2
        hatch = box(axis.scale.start, top, axis.scale.end, foot - top, "gap")
        return hatch + words(middle, (top + foot) / 2 + 4, "no data", "halo strong", "middle")
    if len({tuple(line.edge) for line in chart.lines}) != 1:
        return ""
    edges = chart.lines[0].edge
    blank: list[tuple[float, float]] = []
    for n in range(len(edges) - 1):
        if all(not math.isfinite(_or_nan(line.value[n])) for line in chart.lines):
            joins = blank and blank[-1][1] == edges[n]
            start = blank.pop()[0] if joins else edges[n]
            blank.append((start, edges[n + 1]))
    return "".join(
        box(axis.x(a), top, axis.x(b), foot - top, "gap", f"no data for {b - a:.0f} s")
        for a, b in blank
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _target(chart: Chart, y: Scale, axis: Axis) -> str:
    """The target line, and the area by which it was missed."""
    if chart.target is None or not chart.lines:
        return ""
    at, missed = y(chart.target), []
    for start, end, value in chart.lines[0].runs():
        if value is not None and value < chart.target:
            x, to_x = number(axis.x(start)), number(axis.x(end))
            missed.append(f"M{x} {number(at)}V{number(y(value))}H{to_x}V{number(at)}z")
    area = tag("path", d="".join(missed), class_="missed") if missed else ""
    line = rule(axis.scale.start, at, axis.scale.end, at, "target")
    label = f"{_exact(chart.target * 100)}%" if chart.unit == "ratio" else f"{chart.target:g}"
    return area + line + words(axis.scale.start - 6, at + 4, label, "strong aim", "end")


def _exact(share: float) -> str:
    return f"{share:.3f}".rstrip("0").rstrip(".")


def _path(line: Line, y: Scale, axis: Axis, class_: str) -> str:
    """A step path; a gap lifts the pen, and a level that stays is one stroke."""
    strokes: list[tuple[str, str, str]] = []  # from, level, to
    for start, end, value in line.runs():
        if value is None:
            continue
        x, level, to_x = number(axis.x(start)), number(y(value)), number(axis.x(end))
        if strokes and strokes[-1][1:] == (level, x):
            x = strokes.pop()[0]
        strokes.append((x, level, to_x))
    d, last_x = [], ""
    for x, level, to_x in strokes:
        d.append(f"V{level}H{to_x}" if last_x == x else f"M{x} {level}H{to_x}")
        last_x = to_x
    return tag("path", d="".join(d), class_=class_) if d else ""


def _key(lines: Sequence[Line], frame: Frame) -> tuple[str, float]:
    """A key above the plot, on one line if it fits, else one line each. Returns its height too."""
    if len(lines) < 2:
        return "", 0.0
    widths = [44 + text_width(line.label, frame.font) for line in lines]
    flat = sum(widths) <= frame.width - frame.left
    most = int((frame.width - frame.left - 30) / (frame.font * EM))
    parts, x, y = [], frame.left, 10.0
    for n, (line, width) in enumerate(zip(lines, widths, strict=True)):
        label = line.label if len(line.label) <= most else line.label[: most - 1] + "\u2026"
        parts.append(rule(x, y - 3, x + 20, y - 3, _STYLES[n % 3]))
        parts.append(words(x + 26, y + 1, label, "small"))
        x, y = (x + width, y) if flat else (x, y + 15)
    return "".join(parts), (y if flat else y - 15) + 10

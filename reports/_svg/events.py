"""Lanes of what happened: phases, faults, alerts and actions, each kind with a shape of its own.

The table of the timeline has every line; the lanes show when, beside each other, and name the
first few of each kind.
"""

from collections.abc import Sequence
from typing import Final

from harness.model.analysis import Analysis, Mark, Moment
from reports._svg.axis import (
    LANE,
    Axis,
    Label,
    axis_of,
    draw_axis,
    draw_fault,
    draw_labels,
    draw_mark_numbers,
    draw_phases,
    lanes,
)
from reports._svg.draw import EM, Frame, number, picture, rule, tag, text_width, words
from reports._words import clean

_SHAPES: Final = {
    "fault": "M-5 -5H5V5H-5z",
    "alert": "M0 -6L6 5H-6z",
    "action": "M0 -6L6 0L0 6L-6 0z",
    "abort": "M-6 -4L-4 -6L0 -2L4 -6L6 -4L2 0L6 4L4 6L0 2L-4 6L-6 4L-2 0z",
    "stack": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
    "note": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
}
_NAMED_WIDE: Final = 5
_NAMED_NARROW: Final = 3
_LEAST: Final = 18  # characters that still say something
_MOST: Final = 40


def events(analysis: Analysis, marks: Sequence[Mark], key: str, frame: Frame) -> str:
    """Draw the lanes; empty kinds are drawn too, since their silence is an answer."""
    axis = axis_of(analysis, frame)
    kinds = [k for k in _SHAPES if k in ("alert", "action") or _of(analysis, k, axis)]
    y, body = 24.0, []
    for kind in kinds:
        drawn, y = _lane(axis, analysis, kind, y)
        body.append(drawn)
    foot = y + 4
    parts = [
        draw_fault(axis, analysis, 20, foot),
        draw_axis(axis, foot + 22, 20, named=True),
        draw_phases(axis, [(p, *edges) for p, edges in analysis.phases.items()], foot + 2),
        draw_mark_numbers(axis, marks, 11, foot),
        *body,
    ]
    counts = ", ".join(f"{len(_of(analysis, kind, axis))} of {kind}" for kind in kinds)
    desc = f"Seconds from {axis.clock.event}. Lines by kind: {counts}. The table has each."
    return picture(key, frame, foot + 60, "Alerts and actions over time", desc, parts)


def _of(analysis: Analysis, kind: str, axis: Axis) -> list[Moment]:
    return [m for m in analysis.timeline if m.kind == kind and axis.shows(m.t)]


def _lane(axis: Axis, analysis: Analysis, kind: str, y: float) -> tuple[str, float]:
    """One kind: its name, its shapes, and labels for the first few. Returns where it ends."""
    moments = _of(analysis, kind, axis)
    most = _NAMED_WIDE if axis.frame.width > 600 else _NAMED_NARROW
    labels = [_label(axis, moment) for moment in moments[:most]]
    placed = lanes(labels, axis.scale.start, axis.frame.width)
    deep = max((p.lane for p in placed), default=0)
    base = y + 16 + LANE * deep
    name = f"{kind}s" if kind in ("alert", "action", "fault", "note", "abort") else kind
    count = "none" if not moments else str(len(moments))
    head = words(axis.scale.start - axis.frame.left + 2, y + 8, f"{name} {count}", "small lane")
    line = rule(axis.scale.start, base + 12, axis.scale.end, base + 12, "grid")
    shapes = "".join(_shape(kind, axis.x(m.t), base + 12, m.what) for m in moments)
    return head + line + draw_labels(placed, base, base + 12) + shapes, base + 26


def _label(axis: Axis, moment: Moment) -> Label:
    """Name a moment in the room to its right; if that is too little, it will reach left."""
    x, em = axis.x(moment.t) + 4, axis.frame.font * EM
    room = int((axis.frame.width - x - 6) / em)
    text = _cut(moment.what, min(room if room >= _LEAST else _MOST // 2, _MOST))
    return Label(x, text, text_width(text, axis.frame.font))


def _shape(kind: str, x: float, y: float, what: str) -> str:
    title = tag("title", clean(what).replace("&", "&amp;").replace("<", "&lt;"))
    move = f"translate({number(x)} {number(y)})"
    return tag("path", title, d=_SHAPES[kind], transform=move, class_=f"shape {kind}")


def _cut(text: str, room: int) -> str:
    text = clean(text)
    return text if len(text) <= room else text[: room - 1].rstrip() + "\u2026"

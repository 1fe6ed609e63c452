"""The time axis that all pictures share, and the marks on it.

Seconds count from the injection in every picture, on one scale, so that a line drawn down the page
meets the same instant everywhere. Marks can be a third of a second apart on an axis of two minutes:
their labels are laid out here so that no label covers another, and no leader crosses one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harness.model.analysis import Analysis, Mark
from reports._svg.draw import EM, Frame, Scale, box, number, rule, tag, text_width, ticks, words
from reports._words import MARK_WORD, Clock, clock, plain_number, signed

LANE: Final = 17.0
_GAP: Final = 5.0


@dataclass(frozen=True, slots=True)
class Axis:
    """Run time to the page: ``x(run_s)``."""

    clock: Clock
    scale: Scale
    frame: Frame

    def x(self, run_s: float) -> float:
        """Where an instant of run time lies."""
        return self.scale(run_s)

    def shows(self, run_s: float) -> bool:
        """Is it on the axis at all?"""
        return self.scale.low <= run_s <= self.scale.high


def extent(analysis: Analysis) -> tuple[float, float]:
    """From the first request to the end of the last phase, in run time; at least a second."""
    edges = [edge for pair in analysis.phases.values() for edge in pair]
    start = min([analysis.load_start_s, *edges])
    seconds = max((len(m.by_second) for m in analysis.measures), default=0)
    end = max([start + 1.0, *(edges or [analysis.end_s]), analysis.load_start_s + seconds])
    return start, end


def axis_of(analysis: Analysis, frame: Frame) -> Axis:
    """The axis of this run in this frame."""
    return Axis(clock(analysis), Scale(*extent(analysis), frame.left, frame.end), frame)


def draw_axis(axis: Axis, y: float, top: float, named: bool = False) -> str:
    """Draw ticks and seconds below ``y``, with hairlines up to ``top``."""
    zero, low, high = axis.clock.zero_s, axis.scale.low, axis.scale.high
    at = ticks(low - zero, high - zero, axis.frame.max_ticks)
    parts = [rule(axis.scale.start, y, axis.scale.end, y, "axis")]
    grid = "".join(f"M{number(axis.x(zero + t))} {number(top)}V{number(y + 4)}" for t in at)
    parts.append(tag("path", d=grid or "M0 0", class_="grid"))
    for t in at:
        label = "0" if t == 0 else signed(t, 0 if t == int(t) else 1)
        anchor = "end" if axis.x(zero + t) > axis.frame.end - 8 else "middle"
        parts.append(words(axis.x(zero + t), y + 17, label, "tick", anchor))
    if named:
        label = f"seconds from {axis.clock.event}"
        parts.append(words(axis.scale.end, y + 33, label, "tick", "end"))
    return "".join(parts)


def draw_phases(axis: Axis, phases: Iterable[tuple[str, float, float]], y: float) -> str:
    """Draw the strip of phases; a name that does not fit is cut to its first letters."""
    parts = []
    for name, start, end in phases:
        x, to_x = axis.x(start), axis.x(end)
        parts.append(box(x + 0.5, y, to_x - 0.5, 18, "phase", f"{name}, {end - start:.0f} s"))
        room = int((to_x - x - 4) / (axis.frame.font * EM))
        label = name if len(name) <= room else name[: max(room - 1, 0)] + ("." if room > 2 else "")
        if label:
            parts.append(words((x + to_x) / 2, y + 13, label, "small", "middle"))
    return "".join(parts)


def draw_fault(axis: Axis, analysis: Analysis, y: float, to_y: float) -> str:
    """Shade every stretch in which a fault was in force."""
    parts = []
    for span in analysis.spans:
        if span.injected_s is None:
            continue
        x, to_x = axis.x(span.injected_s), axis.x(_end(span.healing_s, axis))
        parts.append(box(x, y, to_x, to_y - y, "fault", f"{span.fault} in force"))
        parts.append(rule(x, y, x, to_y, "fault-edge") + rule(to_x, y, to_x, to_y, "fault-edge"))
    return "".join(parts)


def _end(healing_s: float | None, axis: Axis) -> float:
    return axis.scale.high if healing_s is None else healing_s


@dataclass(frozen=True, slots=True)
class Label:
    """A text on a leader at ``x``: it reaches from ``x`` to the right, or to the left."""

    x: float
    text: str
    width: float
    lane: int = 0
    leftward: bool = False
    title: str = ""

    @property
    def reach(self) -> tuple[float, float]:
        """What it covers."""
        if self.leftward:
            return self.x - _GAP - self.width, self.x - 0.5
        return self.x + 0.5, self.x + _GAP + self.width


def lanes(labels: Sequence[Label], low: float, high: float) -> list[Label]:
    """Give each label the lowest lane in which nothing collides; lane 0 is nearest to the data.

    Worked from right to left, each label reaching right from its leader, a label always lies above
    the leaders it spans, so that none is crossed. The last ones, which would leave the picture,
    reach left and are worked the other way round; how many is chosen by trying.
    """
    ordered = sorted(labels, key=lambda label: label.x)
    tries = (_arranged(ordered, split) for split in range(len(ordered), -1, -1))
    return min(tries, key=lambda placed: _untidy(placed, low, high), default=[])


def _arranged(ordered: Sequence[Label], split: int) -> list[Label]:
    """Place those before ``split`` rightward, the others leftward."""
    placed: list[Label] = []
    for label in (*reversed(ordered[:split]), *(_flip(label) for label in ordered[split:])):
        tries = (replace(label, lane=lane) for lane in range(len(ordered) + 1))
        fits = (each for each in tries if not any(_collide(each, other) for other in placed))
        placed.append(next(fits, replace(label, lane=len(ordered))))
    return placed


def _flip(label: Label) -> Label:
    return replace(label, leftward=True)


def _untidy(placed: Sequence[Label], low: float, high: float) -> tuple[int, int, int, int]:
    """What is wrong with an arrangement, worst first: leaving the picture, collisions, labels
    that reach left, height.
    """
    out = sum(label.reach[0] < low or label.reach[1] > high for label in placed)
    pairs = ((a, b) for n, a in enumerate(placed) for b in placed[n + 1 :])
    crossed = sum(_collide(a, b) for a, b in pairs)
    left = sum(label.leftward for label in placed)
    return out, crossed, left, sum(label.lane for label in placed)


def _collide(a: Label, b: Label) -> bool:
    (a_low, a_high), (b_low, b_high) = a.reach, b.reach
    if a.lane == b.lane:
        return a_low < b_high and b_low < a_high
    higher, (low, high) = (a, (b_low, b_high)) if a.lane > b.lane else (b, (a_low, a_high))
    return low < higher.x < high


def draw_labels(placed: Sequence[Label], y: float, to_y: float) -> str:
    """Draw labels in their lanes above ``y``, each leader down to ``to_y``."""
    parts = []
    for label in placed:
        base = y - label.lane * LANE
        parts.append(rule(label.x, base - 11, label.x, to_y, "leader"))
    for label in placed:
        base = y - label.lane * LANE
        shift, anchor = (-_GAP, "end") if label.leftward else (_GAP, "start")
        parts.append(words(label.x + shift, base, label.text, "mark", anchor))
    return "".join(parts)


def mark_labels(axis: Axis, marks: Iterable[Mark]) -> list[Label]:
    """Labels of the marks that happened: ``3 detect +3.3``."""
    out = []
    for mark in marks:
        if mark.at is None or mark.at.censored or not axis.shows(mark.at.value_s):
            continue
        when = axis.clock.spell(mark.at.value_s)
        text = f"{mark_number(mark)} {MARK_WORD[mark.id]} {when}"
        width = text_width(text, axis.frame.font)
        out.append(Label(axis.x(mark.at.value_s), text, width))
    return out


def mark_number(mark: Mark) -> int:
    """The mark's number, the same in all pictures and tables."""
    return list(MARK_WORD).index(mark.id) + 1


def draw_mark_numbers(axis: Axis, marks: Sequence[Mark], y: float, to_y: float) -> str:
    """Draw a numbered hairline for each mark; numbers that would touch are spread apart."""
    seen = sorted(
        (axis.x(m.at.value_s), mark_number(m))
        for m in marks
        if m.at is not None and not m.at.censored and axis.shows(m.at.value_s)
    )
    spread = _spread([x for x, _ in seen], axis.frame.font * 0.8)
    parts = []
    for (x, n), at in zip(seen, spread, strict=True):
        d = f"M{number(at)} {number(y + 2)}L{number(x)} {number(y + 8)}V{number(to_y)}"
        parts.append(tag("path", d=d, class_="leader"))
        parts.append(words(at, y, plain_number(n, 0), "num", "middle"))
    return "".join(parts)


def _spread(at: Sequence[float], gap: float) -> list[float]:
    """Move neighbours apart to ``gap``, each cluster staying centred on its members."""
    clusters: list[list[float]] = []
    for x in at:
        clusters.append([x])
        while len(clusters) > 1 and _first(clusters[-1], gap) - _last(clusters[-2], gap) < gap:
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    return [_first(c, gap) + n * gap for c in clusters for n in range(len(c))]


def _first(cluster: Sequence[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _last(cluster: Sequence[float], gap: float) -> float:
    return sum(cluster) / len(cluster) + gap * (len(cluster) - 1) / 2

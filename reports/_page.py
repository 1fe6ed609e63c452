"""What the HTML page shows, worked out before the template sees it.

A template that computes cannot be typed or tested, so everything that takes a decision (which
series share a chart, what a caption says, how many digits a cell has) is decided here, and the
template only lays it out.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from harness.model.analysis import Analysis, Estimate, Finding, Incident, Mark, Measure, Trace
from harness.model.scenario import PHASES, Phase
from reports._svg.chart import Chart, Line, draw, is_log
from reports._svg.draw import NARROW, SMALL, WIDE
from reports._svg.events import events
from reports._svg.ribbon import ribbon
from reports._words import (
    NO_DATA,
    Clock,
    abort_lines,
    clean,
    clock,
    marks_in_order,
    plain_number,
    spell_value,
)

_QUANTILE: Final = re.compile(r"^(?P<stem>.+)_(?P<q>p\d+)(?P<rest>(?:_.*)?)$")
_TOGETHER: Final = (("recall", "precision"),)  # either means nothing without the other
_COUNTER: Final = re.compile(r"_(total|count|sum|timestamp_seconds)$")
_NAMED: Final = 3  # series of one trace that a reader can tell apart


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart with its caption and its table: ``rows`` are a name and a cell for each phase."""

    title: str
    unit: str
    says: tuple[str, ...]
    pictures: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """One incident with its two drawings."""

    incident: Incident
    marks: tuple[Mark, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template lays out."""

    analysis: Analysis
    clock: Clock
    expectations: tuple[Finding, ...]
    checks: tuple[Finding, ...]
    stories: tuple[Story, ...]
    phases: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...]
    seconds: tuple[tuple[str, ...], ...]
    lanes: tuple[str, ...]
    traces: tuple[Figure, ...]
    reproduce: tuple[str, ...]
    stopped: tuple[str, ...]

    def since(self, at: Estimate) -> Estimate:
        """Move an instant of run time to the report's clock."""
        zero = self.clock.zero_s
        return Estimate(at.value_s - zero, at.low_s - zero, at.high_s - zero, at.censored)


def page(analysis: Analysis) -> Page:
    """Work everything out."""
    marks = marks_in_order(analysis.incidents[0]) if analysis.incidents else ()
    return Page(
        analysis=analysis,
        clock=clock(analysis),
        expectations=tuple(f for f in analysis.findings if f.kind == "expectation"),
        checks=tuple(f for f in analysis.findings if f.kind == "built-in"),
        stories=tuple(_story(analysis, i, n) for n, i in enumerate(analysis.incidents)),
        phases=tuple((p, f"{b - a:.0f} s") for p, (a, b) in _phases(analysis).items()),
        figures=tuple(
            _figure(analysis, group, marks, n)
            for n, group in enumerate(together(analysis.measures))
        ),
        seconds=_seconds(analysis),
        lanes=tuple(events(analysis, marks, "events", frame) for frame in (WIDE, NARROW)),
        traces=tuple(
            _trace_figure(analysis, group, marks, n) for n, group in enumerate(_named(analysis))
        ),
        reproduce=_reproduce(analysis),
        stopped=abort_lines(analysis),
    )


def _phases(analysis: Analysis) -> Mapping[Phase, tuple[float, float]]:
    return {p: analysis.phases[p] for p in PHASES if p in analysis.phases}


def _story(analysis: Analysis, incident: Incident, n: int) -> Story:
    pictures = tuple(ribbon(analysis, incident, f"ribbon-{n}", f) for f in (WIDE, NARROW))
    return Story(incident, marks_in_order(incident), pictures)


def together(measures: Iterable[Measure]) -> list[tuple[tuple[str, Measure], ...]]:
    """Group the indicators that share a chart, each with its label in it."""
    groups: dict[tuple[str, str], list[tuple[str, Measure]]] = {}
    for measure in measures:
        quantile = _QUANTILE.match(measure.sli)
        pair = next((p for p in _TOGETHER if measure.sli in p), None)
        stem = quantile["stem"] + quantile["rest"] if quantile else pair[0] if pair else ""
        label = quantile["q"] if quantile else measure.sli if pair else measure.title
        key = (stem or f"{measure.sli} {len(groups)}", measure.unit)
        groups.setdefault(key, []).append((label, measure))
    return [tuple(group) for group in groups.values()]


def _figure(
    analysis: Analysis, group: Sequence[tuple[str, Measure]], marks: Sequence[Mark], n: int
) -> Figure:
    first = group[0][1]
    start = analysis.load_start_s
    lines = tuple(
        Line(
            label if len(group) > 1 else m.sli,
            tuple(start + second for second in range(len(m.by_second) + 1)),
            m.by_second,
        )
        for label, m in group
    )
    title = " / ".join(_unique(m.title for _, m in group))
    says = tuple(says_of(analysis, m, label if len(group) > 1 else "") for label, m in group)
    high = first.unit == "ratio" and (first.target is not None or _middle(group) > 0.5)
    chart = Chart(f"sli-{n}", title, " ".join(says), first.unit, lines, first.target, high, 150)
    if is_log(chart):
        says = (*says, "The vertical axis is logarithmic.")
    rows = tuple((m.sli, _row(m.by_phase, m.unit, analysis)) for _, m in group)
    pictures = tuple(draw(analysis, marks, chart, frame) for frame in (WIDE, NARROW))
    return Figure(title, _unit(first.unit), says, pictures, rows)


def _unit(unit: str) -> str:
    return "" if unit == "ratio" else unit


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _middle(group: Sequence[tuple[str, Measure]]) -> float:
    known = sorted(v for _, m in group for v in m.by_second if v is not None and math.isfinite(v))
    return known[len(known) // 2] if known else 0.0


def says_of(analysis: Analysis, measure: Measure, label: str) -> str:
    """Say in a sentence or two what the chart of an indicator shows."""
    parts = [
        f"{phase} {spell_value(measure.by_phase.get(phase), measure.unit)}"
        for phase in _phases(analysis)
        if phase != "warmup"
    ]
    text = (f"{label}: " if label else "") + (", ".join(parts) or NO_DATA) + "."
    if measure.target is None:
        return text[0].upper() + text[1:] if not label else text
    misses = []
    for phase, (start, end) in _phases(analysis).items():
        inside = _inside(analysis, measure, start, end)
        known = [v for v in inside if v is not None and math.isfinite(v)]
        missed = sum(v < measure.target for v in known)
        misses.append(f"{phase} {missed} of {len(known)}")
    text = text[0].upper() + text[1:]
    target = spell_value(measure.target, measure.unit)
    return f"{text} Seconds below {target}: {', '.join(misses) or NO_DATA}."


def _inside(
    analysis: Analysis, measure: Measure, start: float, end: float
) -> tuple[float | None, ...]:
    """The whole seconds within ``[start, end)``."""
    first = math.ceil(start - analysis.load_start_s - 1e-6)
    last = math.floor(end - analysis.load_start_s + 1e-6)
    return measure.by_second[max(first, 0) : max(last, 0)]


def _row(by_phase: Mapping[Phase, float | None], unit: str, analysis: Analysis) -> tuple[str, ...]:
    return tuple(spell_value(by_phase.get(phase), unit) for phase in _phases(analysis))


def _seconds(analysis: Analysis) -> tuple[tuple[str, ...], ...]:
    """The second by second table: report clock, run clock, then a cell for each indicator."""
    when = clock(analysis)
    count = max((len(m.by_second) for m in analysis.measures), default=0)
    rows = []
    for n in range(count):
        at = analysis.load_start_s + n
        cells = (_cell(m.by_second[n], m.unit) if n < len(m.by_second) else NO_DATA
                 for m in analysis.measures)  # fmt: skip
        rows.append((when.spell(at), plain_number(at, 1), *cells))
    return tuple(rows)


def _cell(value: float | None, unit: str) -> str:
    """A value without its unit, which stands in the head of the column."""
    return spell_value(value, unit).removesuffix(f" {clean(unit)}").removesuffix(" %")


def _named(analysis: Analysis) -> list[tuple[Trace, ...]]:
    groups: dict[str, list[Trace]] = {}
    for trace in analysis.traces:
        groups.setdefault(trace.name, []).append(trace)
    return [tuple(group) for group in groups.values()]


def _trace_figure(
    analysis: Analysis, group: Sequence[Trace], marks: Sequence[Mark], n: int
) -> Figure:
    labels = _labels(group)
    name, unit = group[0].name, ""
    if _COUNTER.search(name):
        group, unit = [_rate(trace) for trace in group], "per second"
    elif name.endswith(("_ratio", "_seconds")):
        unit = "ratio" if name.endswith("_ratio") else "s"
    moved = sorted(range(len(group)), key=lambda i: (-_travel(group[i]), i))
    shown = set(moved[:_NAMED])
    lines = tuple(
        _trace_line(trace, labels[i] if i in shown else "") for i, trace in enumerate(group)
    )
    rest = len(group) - len(shown)
    says = (f"Named: the {len(shown)} of {len(group)} series that moved most.",) if rest else ()
    desc = " ".join(says) or f"{len(group)} monitored series."
    chart = Chart(f"trace-{n}", name, desc, unit, lines, height=132)
    rows = tuple(
        (labels[i] or name, _row(_means(analysis, trace), unit, analysis))
        for i, trace in enumerate(group)
    )
    return Figure(name, _unit(unit), says, (draw(analysis, marks, chart, SMALL),), rows)


def _rate(trace: Trace) -> Trace:
    """A counter's growth per second; a counter that fell was reset, and its growth is not known."""
    t = trace.t
    value = [math.nan if v is None else v for v in trace.value]
    grown = (
        (after - before) / (until - at) if until > at else math.nan
        for at, until, before, after in zip(t, t[1:], value, value[1:], strict=False)
    )
    return Trace(trace.name, trace.labels, t[:-1], tuple(g if g >= 0 else None for g in grown))


def _labels(group: Sequence[Trace]) -> list[str]:
    """What tells the series apart: the values of the fewest labels that do."""
    keys = sorted({k for trace in group for k in trace.labels})
    keys = [k for k in keys if len({trace.labels.get(k) for trace in group}) > 1]
    for count in range(1, len(keys) + 1):
        for few in combinations(keys, count):
            names = [clean(" ".join(t.labels.get(k) or "none" for k in few)) for t in group]
            if len(set(names)) == len(group) or count == len(keys):
                return names
    return [clean(trace.name) for trace in group]


def _finite(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def _travel(trace: Trace) -> float:
    known = _finite(trace.value)
    return max(known) - min(known) if known else 0.0


def _trace_line(trace: Trace, label: str) -> Line:
    """A scraped value holds until the next scrape, but not across a hole in the scrapes."""
    steps = sorted(b - a for a, b in zip(trace.t, trace.t[1:], strict=False))
    usual = steps[len(steps) // 2] if steps else 1.0
    edge: list[float] = []
    value: list[float | None] = []
    for n, at in enumerate(trace.t):
        until = trace.t[n + 1] if n + 1 < len(trace.t) else at + usual
        edge.append(at)
        value.append(trace.value[n])
        if until - at > 2.5 * usual:
            edge.append(at + usual)
            value.append(None)
        if n + 1 == len(trace.t):
            edge.append(until)
    return Line(label, tuple(edge), tuple(value))


def _means(analysis: Analysis, trace: Trace) -> dict[Phase, float | None]:
    out: dict[Phase, float | None] = {}
    for phase, (start, end) in _phases(analysis).items():
        known = _finite(v for t, v in zip(trace.t, trace.value, strict=True) if start <= t < end)
        out[phase] = sum(known) / len(known) if known else None
    return out


def _reproduce(analysis: Analysis) -> tuple[str, ...]:
    """The commands that make this run, and this page, again."""
    quote: Callable[[str], str] = lambda text: shlex.quote(clean(text))  # noqa: E731
    again = analysis.facts.get("reproduce")
    run = again or f"gameday run {quote(analysis.scenario)} --seed {analysis.seed}"
    return (run, f"gameday report {quote(analysis.run)} --format html")

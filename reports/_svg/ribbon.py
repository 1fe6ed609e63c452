"""The incident ribbon: one fault on one time line, with what it did to people and how long it took.

From top to bottom: the marks on staggered labels, the stretch in which the fault was in force, the
state of the service, a bracket each for TTD, TTM and TTR with its interval drawn at its end, and
the phases over the axis. A censored time ends in an open arrow: it was still running.
"""

from typing import Final

from harness.model.analysis import Analysis, Estimate, Incident, Mark
from reports._svg.axis import (
    LANE,
    Axis,
    axis_of,
    draw_axis,
    draw_fault,
    draw_labels,
    draw_phases,
    lanes,
    mark_labels,
)
from reports._svg.draw import Frame, box, number, picture, rule, tag, text_width, words
from reports._words import (
    MINUS,
    Duration,
    durations,
    marks_in_order,
    spell_estimate,
    spell_interval,
)

ROW: Final = 24.0


def ribbon(analysis: Analysis, incident: Incident, key: str, frame: Frame) -> str:
    """Draw one incident. The table of marks beside it says the same in words."""
    axis = axis_of(analysis, frame)
    marks = marks_in_order(incident)
    placed = lanes(mark_labels(axis, marks), 0, frame.width)
    top = 6 + LANE * (max((p.lane for p in placed), default=0) + 1)
    rows = top + 8
    foot = rows + 2 * ROW + 3 * ROW + 6
    parts = [
        draw_fault(axis, analysis, rows - 4, foot),
        draw_axis(axis, foot + 22, rows - 4, named=True),
        draw_phases(axis, [(p, *edges) for p, edges in analysis.phases.items()], foot + 2),
        _marks_uncertainty(axis, marks, rows - 4, foot),
        draw_labels(placed, top - 4, foot),
        _force(axis, analysis, incident, rows),
        _service(axis, incident, rows + ROW),
        *(
            _bracket(axis, incident, duration, rows + (2 + n) * ROW + 6)
            for n, duration in enumerate(durations(incident))
        ),
    ]
    title = f"Incident ribbon of {incident.fault}: {incident.outcome}"
    return picture(key, frame, foot + 60, title, _describe(axis, incident), parts)


def _describe(axis: Axis, incident: Incident) -> str:
    """Tell the picture to someone who cannot see it."""
    times = "; ".join(f"{d.long} {d.spell(d.from_inject)}" for d in durations(incident))
    seen = ", ".join(
        f"{m.id.removeprefix('t_')} at {axis.clock.spell(m.at.value_s)} s"
        for m in marks_in_order(incident)
        if m.at is not None and not m.at.censored
    )
    return f"Seconds from {axis.clock.event}. Marks: {seen or 'none'}. {times}."


def _at(incident: Incident, mark: str) -> Estimate | None:
    found = next((m for m in incident.marks if m.id == mark), None)
    return None if found is None or found.at is None or found.at.censored else found.at


def _force(axis: Axis, analysis: Analysis, incident: Incident, y: float) -> str:
    """The bar of the fault in force."""
    span = next((s for s in analysis.spans if s.id == incident.fault_id), None)
    if span is None or span.injected_s is None:
        return words(axis.scale.start, y + 15, f"{incident.fault} was never in force", "aside")
    end_s = axis.scale.high if span.healing_s is None else span.healing_s
    x, to_x = axis.x(span.injected_s), axis.x(end_s)
    length = f"{end_s - span.injected_s:.1f} s"
    open_end = "" if span.healing_s is not None else ", not healed in the record"
    bar = box(x, y, to_x, 18, "force", f"{incident.fault} in force, {length}{open_end}")
    choices = (f"{incident.fault} in force, {length}{open_end}", f"in force {length}", length)
    return bar + _caption(axis, x, to_x, y + 13.5, choices, "on-force")


def _service(axis: Axis, incident: Incident, y: float) -> str:
    """The bar of what people got: hurt, then served but not yet back to normal, then normal."""
    impact, recover = _at(incident, "t_impact"), _at(incident, "t_recover")
    mitigate = _at(incident, "t_mitigate")
    if impact is None:
        absorbed = incident.outcome == "absorbed"
        text = "absorbed: users were not hurt" if absorbed else "no impact on record"
        return words(axis.scale.start, y + 15, text, "aside")
    # Censored at the heal: that people were hurt is known until then and no longer.
    better = mitigate or _at(incident, "t_heal")
    to_s = axis.scale.high if better is None else max(better.value_s, impact.value_s)
    x, to_x = axis.x(impact.value_s), axis.x(to_s)
    length = f"{to_s - impact.value_s:.1f} s"
    more = ", and on" if better is None else "" if mitigate else ", until the heal"
    texts = (f"users hurt {length}{more}", f"users hurt {length}", f"hurt {length}")
    parts = [box(x, y, to_x, 18, "hurt", texts[0])]
    inside = _caption(axis, x, to_x, y + 13.5, texts, "on-hurt")
    inject = _at(incident, "t_inject")
    edge = x if inject is None else min(x, axis.x(inject.value_s))
    parts.append(inside or _beside(axis, edge, y + 13.5, texts))
    if better is not None:
        end_s = axis.scale.high if recover is None else max(recover.value_s, to_s)
        so_far = "served" if mitigate else "healed"
        open_end = " (to the end of the record)" if recover is None else ""
        notes = (f"{so_far}, not yet normal{open_end}", f"{so_far}, not yet normal", so_far)
        parts.append(box(to_x, y, axis.x(end_s), 18, "mending", notes[0]))
        parts.append(_caption(axis, to_x, axis.x(end_s), y + 13.5, notes))
    return "".join(parts)


def _caption(
    axis: Axis, x: float, to_x: float, y: float, choices: tuple[str, ...], class_: str = "on"
) -> str:
    """Write the longest choice that fits inside; else nothing: the title has it."""
    for text in choices:
        if text_width(text, axis.frame.font) + 8 <= to_x - x:
            return words((x + to_x) / 2, y, text, class_, "middle")
    return ""


def _beside(axis: Axis, x: float, y: float, choices: tuple[str, ...]) -> str:
    """Write to the left of a bar that is too short to hold text."""
    for text in choices:
        if x - 6 - text_width(text, axis.frame.font) >= 0:
            return words(x - 6, y, text, "halo", "end")
    return ""


def _marks_uncertainty(axis: Axis, marks: tuple[Mark, ...], y: float, to_y: float) -> str:
    """A pale band for each mark, as wide as the interval it is known to."""
    known = [m.at for m in marks if m.at is not None and not m.at.censored]
    return "".join(
        box(axis.x(at.low_s), y, axis.x(at.high_s), to_y - y, "unsure")
        for at in known
        if axis.x(at.high_s) - axis.x(at.low_s) >= 1.0
    )


def _bracket(axis: Axis, incident: Incident, duration: Duration, y: float) -> str:
    """One duration as a dimension line, from the injection to its mark."""
    inject, end = _at(incident, "t_inject"), duration.from_inject
    if inject is None or end is None:
        x = axis.scale.start if inject is None else axis.x(inject.value_s) + 6
        text = f"{duration.short} {duration.spell(end)}"
        if x + text_width(text, axis.frame.font) <= axis.frame.width:
            return words(x, y + 9, text, "halo aside")
        return words(x - 12, y + 9, text, "halo aside", "end")
    x, to_x = axis.x(inject.value_s), axis.x(inject.value_s + end.value_s)
    parts = [rule(x, y - 1, x, y + 11, "dim")]
    reach = to_x
    if end.censored:
        reach = to_x + 10
        parts.append(rule(x, y + 5, reach, y + 5, "dim open"))
        d = f"M{number(to_x + 5)} {number(y)}l6 5l-6 5"
        parts.append(tag("path", d=d, class_="dim"))
    else:
        low = axis.x(inject.value_s + end.low_s)
        reach = axis.x(inject.value_s + end.high_s)
        parts += [
            rule(x, y + 5, to_x, y + 5, "dim"),
            box(low, y + 2, reach, 6, "interval", f"interval {spell_interval(end)}"),
            rule(to_x, y - 1, to_x, y + 11, "dim"),
        ]
    parts.append(_bracket_text(axis, duration.short, end, min(x, to_x), max(reach, to_x), y + 9.5))
    return "".join(parts)


def _bracket_text(
    axis: Axis, short: str, end: Estimate, left: float, right: float, y: float
) -> str:
    value = f"{short} {spell_estimate(end)}"
    interval = "censored" if end.censored else spell_interval(end)
    tight = interval.removesuffix(" s").replace(" to ", "\u2013")
    choices = [f"{value} ({interval})", f"{value} ({tight})", value]
    if MINUS in interval:
        choices.pop(1)  # a dash between signed numbers reads as a sign
    for text in choices:
        wide = text_width(text, axis.frame.font)
        if right + 10 + wide <= axis.frame.width:
            return words(right + 8, y, text, "halo strong")
        if left - 8 - wide >= 0:
            return words(left - 8, y, text, "halo strong", "end")
    return words(axis.frame.end, y - 9, value, "halo strong", "end")

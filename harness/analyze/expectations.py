"""The scenario's own judgements: what its ``expect`` asks for, against the record.

Three answers each. No data is UNKNOWN, and so is a time whose interval straddles its bound. A bound
that is certainly broken is FAIL, even when the time was censored: what has not happened by the
bound cannot have happened within it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import units
from harness.analyze.detection import already_firing, detected, spell_labels
from harness.analyze.incidents import matchers
from harness.analyze.oracle import (
    Oracle,
    cut_off_s,
    injected_after,
    judged_window,
    phase_window,
)
from harness.analyze.quiet import quiet
from harness.analyze.slis import SLIS, Named
from harness.model.analysis import Estimate, Finding, Incident, Verdict
from harness.model.record import FaultSpan, Record, Window
from harness.model.scenario import (
    Bound,
    Expect,
    ExpectMark,
    ExpectQuiet,
    ExpectSli,
    Mode,
    Scenario,
)

BUCKET_S = 1.0
LEAST_BUCKET_S = 0.5  # a shorter rest at the end of a phase is left out


@dataclass(frozen=True)
class Meets:
    """One line of the scenario's ``expect``."""

    expect: Expect
    oracle: Oracle
    scenario: Scenario
    incidents: tuple[Incident, ...]

    @property
    def name(self) -> str:
        """The expectation, as a person would say it."""
        return spell_expect(self.expect)

    def check(self, record: Record) -> Finding:
        """Decide it."""
        match self.expect:
            case ExpectSli():
                verdict, because = _sli(self.expect, self.oracle)
            case ExpectMark():
                verdict, because = _mark(self.expect, self)
            case ExpectQuiet():
                verdict, because = quiet(self.expect, record)
        return Finding(self.name, verdict, because, "expectation")


def spell_expect(expect: Expect) -> str:
    """Write an expectation in words."""
    match expect:
        case ExpectSli():
            limit = _spell(expect.sli, expect.bound.value, expect.bound.times_baseline)
            side = expect.bound.side.replace("_", " ")
            return f"{expect.mode} {expect.sli} {side} {limit} during {expect.during}"
        case ExpectMark():
            by = f" by {spell_labels(expect.by)}" if expect.by else ""
            return f"{expect.mark}{by} within {units.spell(expect.within_s)}"
        case ExpectQuiet():
            but = f" but {', '.join(expect.allow)}" if expect.allow else ""
            return f"no {expect.what}{but}"


@dataclass(frozen=True, slots=True)
class Point:
    """One reading, and whether it kept to the limit; no value, no answer."""

    at_s: float
    value: float | None
    good: bool


Answer = tuple[Verdict, str]


def _sli(expect: ExpectSli, oracle: Oracle) -> Answer:
    named = SLIS.get(expect.sli)
    if named is None:
        return Verdict.UNKNOWN, f"there is no indicator {expect.sli}; see harness.analyze.slis"
    record, limit = oracle.record, _limit(expect, oracle)
    window, whole = judged_window(record, expect.during), phase_window(record, expect.during)
    if window is None or whole is None:
        return Verdict.UNKNOWN, f"the run never got to {expect.during}"
    if limit is None:
        return Verdict.UNKNOWN, "there is no baseline on record to compare with"
    if expect.bound.times_baseline and expect.bound.side == "at_least" and limit <= 0:
        return Verdict.UNKNOWN, "the baseline was 0, and anything is at least a multiple of that"
    cut_s = cut_off_s(record)
    if cut_s is not None and (whole.end_s > cut_s or whole.end_s >= record.load_end_s):
        after_s = cut_s - whole.start_s
        return Verdict.UNKNOWN, f"{expect.during} was cut off after {after_s:.1f} s: not judged"
    verdict, because = _read(expect, oracle, named, window, limit)
    if window.end_s < whole.end_s and verdict is not Verdict.UNKNOWN:
        if _read(expect, oracle, named, whole, limit)[0] is not verdict:
            at_s = window.end_s - whole.start_s
            because += f" (only until the heal at +{at_s:.1f} s: what came after does not count)"
    return verdict, because


def _read(expect: ExpectSli, oracle: Oracle, named: Named, window: Window, limit: float) -> Answer:
    """Hold one indicator against its limit in one window."""
    silent_s = oracle.silence_s(window.start_s, window.end_s)
    if silent_s is not None:
        from_s = silent_s - window.start_s
        return Verdict.UNKNOWN, f"no data from +{from_s:.1f} s of {expect.during} on"
    parts = [window] if expect.mode is Mode.OVERALL else buckets(oracle.record, window)
    points = []
    for part in parts:
        value = named.measure(part, oracle.slo)
        good = value is not None and _within(expect.bound, value, limit)
        points.append(Point(part.start_s - window.start_s, value, good))
    if all(p.value is None for p in points):
        return Verdict.UNKNOWN, f"no data in {expect.during}"
    verdict, because = _MODES[expect.mode](points, expect.sli)
    if expect.bound.times_baseline:
        because += f" (limit {_spell(expect.sli, limit)})"
    return verdict, because


def buckets(record: Record, window: Window) -> list[Window]:
    """Cut a window into seconds; a rest of half a second or more is one too."""
    count = int((window.length_s + BUCKET_S - LEAST_BUCKET_S + 1e-6) / BUCKET_S)
    starts = [window.start_s + n * BUCKET_S for n in range(count)]
    return [record.window(s, min(s + BUCKET_S, window.end_s)) for s in starts]


def _limit(expect: ExpectSli, oracle: Oracle) -> float | None:
    if not expect.bound.times_baseline:
        return expect.bound.value
    baseline = phase_window(oracle.record, "baseline")
    usual = None if baseline is None else SLIS[expect.sli].measure(baseline, oracle.slo)
    return None if usual is None else usual * expect.bound.value


def _within(bound: Bound, value: float, limit: float) -> bool:
    return value >= limit - 1e-12 if bound.side == "at_least" else value <= limit + 1e-12


def _overall(seen: Sequence[Point], sli: str) -> Answer:
    value = seen[0].value or 0.0
    return (Verdict.PASS if seen[0].good else Verdict.FAIL), f"it was {_spell(sli, value)}"


def _always(seen: Sequence[Point], sli: str) -> Answer:
    bad = [p for p in seen if p.value is not None and not p.good]
    blank = sum(p.value is None for p in seen)
    if bad:
        worst = _spell(sli, bad[0].value or 0.0)
        return Verdict.FAIL, (
            f"broken in {len(bad)} of {len(seen)} seconds, first at +{bad[0].at_s:g} s with {worst}"
        )
    if blank:
        return Verdict.UNKNOWN, f"no data in {blank} of {len(seen)} seconds"
    return Verdict.PASS, f"held in all {len(seen)} seconds"


def _eventually(seen: Sequence[Point], sli: str) -> Answer:
    if seen[-1].value is None:
        return Verdict.UNKNOWN, "no data at the end"
    if not seen[-1].good:
        return Verdict.FAIL, f"still broken at the end, with {_spell(sli, seen[-1].value)}"
    settled_s = max((p.at_s + BUCKET_S for p in seen if not p.good), default=0.0)
    return Verdict.PASS, f"held from +{settled_s:g} s on"


def _sometimes(seen: Sequence[Point], sli: str) -> Answer:
    count, blank = sum(p.good for p in seen), sum(p.value is None for p in seen)
    if count:
        return Verdict.PASS, f"true in {count} of {len(seen)} seconds"
    if blank:
        return Verdict.UNKNOWN, f"never true, but {blank} of {len(seen)} seconds have no data"
    return Verdict.FAIL, f"true in none of {len(seen)} seconds"


_MODES: dict[Mode, Callable[[Sequence[Point], str], Answer]] = {
    Mode.OVERALL: _overall,
    Mode.ALWAYS: _always,
    Mode.EVENTUALLY: _eventually,
    Mode.SOMETIMES: _sometimes,
}


def _mark(expect: ExpectMark, check: Meets) -> Answer:
    """Every incident must keep to the bound; the worst one answers."""
    if not check.incidents:
        return Verdict.UNKNOWN, "no fault was injected, so there is nothing to time"
    answers = [_mark_of(expect, i, check) for i in check.incidents]
    return max(answers, key=lambda a: a[0])


def _mark_of(expect: ExpectMark, incident: Incident, check: Meets) -> Answer:
    if incident.outcome == "invalid":
        return Verdict.UNKNOWN, f"{incident.fault_id}: {incident.budget_note}"
    match expect.mark:
        case "detected":
            return _bounded(expect, _ttd(expect, incident, check), incident)
        case "mitigated":
            took = incident.ttm
        case "recovered":
            took = incident.ttr
    impact = incident.mark("t_impact")
    if impact is None or impact.at is None:
        if check.scenario.absorbed_ok and incident.outcome == "absorbed":
            return Verdict.PASS, f"{incident.fault_id} was absorbed, which the scenario allows"
        return Verdict.UNKNOWN, (
            f"{incident.fault_id} was absorbed: nobody was hurt, so there is nothing to time; "
            "write `absorbed: ok` if that is a good answer"
        )
    return _bounded(expect, took, incident)


def _bounded(expect: ExpectMark, took: Estimate | None, incident: Incident) -> Answer:
    within = units.spell(expect.within_s)
    if took is None:
        mark = next((m for m in incident.marks if m.id == _MARK_IDS[expect.mark]), None)
        return Verdict.UNKNOWN, mark.how if mark else "it could not be dated"
    spelt = f"{took.value_s:.2f} s [{took.low_s:.2f}, {took.high_s:.2f}]"
    if took.censored:
        if took.low_s > expect.within_s:
            return Verdict.FAIL, f"not {expect.mark} in {took.low_s:.1f} s; the bound is {within}"
        return Verdict.UNKNOWN, (
            f"not known to be {expect.mark} in the {took.value_s:.1f} s it was watched; "
            f"the bound is {within}"
        )
    if took.high_s <= expect.within_s:
        return Verdict.PASS, f"{expect.mark} in {spelt}"
    if took.low_s > expect.within_s:
        return Verdict.FAIL, f"{expect.mark} in {spelt}; the bound is {within}"
    return Verdict.UNKNOWN, f"{expect.mark} in {spelt}, and the bound of {within} lies within that"


_MARK_IDS = {"detected": "t_detect", "mitigated": "t_mitigate", "recovered": "t_recover"}


def _ttd(expect: ExpectMark, incident: Incident, check: Meets) -> Estimate | None:
    """The time to the alert that *this* line names, which need not be the incident's own."""
    if dict(expect.by) == dict(matchers(check.scenario)):
        return incident.ttd
    record, inject = check.oracle.record, incident.mark("t_inject")
    span = next(s for s in record.spans if s.id == incident.fault_id)
    if inject is None or inject.at is None or already_firing(record, expect.by, _from(span)):
        return None
    mark = detected(record, expect.by, _from(span), check.oracle.until_s(span))
    return None if mark.at is None else mark.at.minus(inject.at)


def _from(span: FaultSpan) -> float:
    return injected_after(span)


def _spell(sli: str, value: float, times_baseline: bool = False) -> str:
    if times_baseline:
        return f"{value:g} times the baseline"
    unit = SLIS[sli].unit if sli in SLIS else ""
    return f"{100 * value:.4g} %" if unit == "ratio" else f"{value:.4g} {unit}".strip()

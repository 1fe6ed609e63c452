"""How small a fault can be and still be seen: one run for each severity, every alert held to each.

An alert *saw* a fault when it fired after the injection and had not been firing before. One run is
one trial, so the smallest severity that was seen is an observation and no guarantee, and a severity
whose run cannot tell stays unknown: it is neither seen nor missed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.analyze.ablation import why_unclear
from harness.analyze.detection import already_firing, detected
from harness.analyze.hearing import deaf_from_s
from harness.analyze.oracle import Oracle, injected_after
from harness.model.analysis import Analysis, Finding, Incident, Verdict
from harness.model.record import FaultSpan
from harness.model.scenario import ExpectMark, Scenario
from harness.model.study import Monitor, Rung, Sighting, Study, Sweep, Took
from harness.protocols import Fault

BIT: Final = "every fault bit"
CAVEAT: Final = (
    "one trial each: an alert that saw a severity once need not see it again, and one that missed "
    "it may yet see it"
)

Sightings = Mapping[tuple[str, str], Sighting]


def rung(
    severity: int, oracle: Oracle, analysis: Analysis, faults: Mapping[str, type[Fault[Any]]]
) -> Rung:
    """Read one run of a sweep."""
    bit = next(f for f in analysis.findings if f.check == BIT)
    return Rung(
        severity=severity,
        run=analysis.run,
        verdict=analysis.verdict,
        params={s.id: _set_by_severity(s, faults) for s in oracle.record.spans},
        bit=bit.verdict,
        because=bit.because,
        took=tuple(Took(i.fault_id, i.outcome, i.ttd, i.ttm, i.ttr) for i in analysis.incidents),
        unclear=why_unclear(analysis),
    )


def _set_by_severity(span: FaultSpan, faults: Mapping[str, type[Fault[Any]]]) -> Mapping[str, Any]:
    cls = faults.get(span.fault)
    keys = {key for params in cls.severities for key in params} if cls else set(span.params)
    return {key: span.params[key] for key in sorted(keys & span.params.keys())}


def sightings(
    severity: int, oracle: Oracle, analysis: Analysis, alerts: Sequence[str]
) -> Sightings:
    """Say of every alert and every fault of one run whether it was seen, by (fault id, alert)."""
    spans = {span.id: span for span in oracle.record.spans}
    unclear = why_unclear(analysis)
    return {
        (incident.fault_id, alert): Sighting(severity, "unknown", None, unclear)
        if unclear
        else _sighting(severity, alert, incident, spans[incident.fault_id], oracle)
        for incident in analysis.incidents
        for alert in alerts
    }


def _sighting(
    severity: int, alert: str, incident: Incident, span: FaultSpan, oracle: Oracle
) -> Sighting:
    by, inject = {"alertname": alert}, incident.mark("t_inject")
    if inject is None or inject.at is None:
        return Sighting(severity, "unknown", None, "the injection could not be dated")
    if already_firing(oracle.record, by, injected_after(span)):
        return Sighting(severity, "unknown", None, "it was firing before the injection")
    edges = injected_after(span), oracle.until_s(span)
    mark = detected(oracle.record, by, *edges)
    if mark.at is None:
        return Sighting(severity, "unknown", None, mark.how)
    if mark.at.censored and deaf_from_s(oracle.record, *edges) is not None:
        return Sighting(severity, "unknown", None, mark.how)
    ttd = mark.at.minus(inject.at)
    return Sighting(severity, "not seen" if mark.at.censored else "seen", ttd, mark.how)


def alerts_of(study: Study, scenario: Scenario, analyses_saw: Sequence[str]) -> tuple[str, ...]:
    """Every alert that there is to ask about: the expected ones first, then the stack's others."""
    names = [*_expected(scenario), *sorted({*study.monitors, *analyses_saw})]
    return tuple(dict.fromkeys(names))


def _expected(scenario: Scenario) -> list[str]:
    marks = [e for e in scenario.expect if isinstance(e, ExpectMark)]
    return [e.by["alertname"] for e in marks if "alertname" in e.by]


def sweep_table(scenario: Scenario, rungs: Sequence[Rung], seen: Sequence[Sightings]) -> Sweep:
    """Draw up both tables: the severities, and the monitors that saw something or should have.

    ``seen``: the sightings of each rung, in the same order.
    """
    expected = _expected(scenario)
    keys = sorted({key for each in seen for key in each}, key=lambda k: (k[0], k[1]))
    monitors = []
    for fault_id, alert in keys:
        found = [each[fault_id, alert] for each in seen if (fault_id, alert) in each]
        found.sort(key=lambda s: s.severity)
        smallest = min((s.severity for s in found if s.seen == "seen"), default=None)
        monitors.append(
            Monitor(alert, fault_id, alert in expected, tuple(found), smallest, _said(found))
        )
    monitors.sort(key=lambda m: (m.fault_id, not m.expected, m.smallest or 9, m.alert))
    return Sweep(tuple(sorted(rungs, key=lambda r: r.severity)), tuple(monitors))


def _said(found: Sequence[Sighting]) -> str:
    """The smallest severity in words, with what is not known about it."""
    seen = [s.severity for s in found if s.seen == "seen"]
    unknown = [s.severity for s in found if s.seen == "unknown"]
    if not seen:
        if not unknown:
            return "saw none"
        why = {s.because for s in found if s.seen == "unknown"}
        if len(unknown) == len(found) and len(why) == 1:
            return f"could not tell: {why.pop()}"
        told = f": {why.pop()}" if len(why) == 1 else ""
        return f"saw none of those known; {_list(unknown)} unknown{told}"
    said = f"severity {min(seen)}"
    if below := [n for n in unknown if n < min(seen)]:
        said += f", or less: {_list(below)} unknown"
    if missed := [s.severity for s in found if s.seen == "not seen" and s.severity > min(seen)]:
        said += f", though it missed {_list(missed)}"
    return said


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def findings(study: Study, scenario: Scenario, table: Sweep) -> tuple[Finding, ...]:
    """Judge a sweep: every severity was run and bit, every trial counts, and what is expected to
    detect sees something. What the scenario expects of its own severity is not asked of the others.
    """
    expected = [_sees(monitor) for monitor in table.monitors if monitor.expected]
    out = [_every_rung(study, table), _trials(table), *expected]
    if study.stopped:
        out.append(Finding("sweep finished", Verdict.UNKNOWN, study.stopped))
    return tuple(out)


def _every_rung(study: Study, table: Sweep) -> Finding:
    name = "every severity bit"
    made = {r.severity for r in table.rungs}
    if missing := [n for n in study.severities if n not in made]:
        return Finding(name, Verdict.UNKNOWN, f"severity {_list(missing)} was not run")
    dull = [r for r in table.rungs if r.bit is not Verdict.PASS]
    if dull:
        because = "; ".join(f"severity {r.severity}: {r.because}" for r in dull)
        return Finding(name, Verdict.UNKNOWN, because)
    return Finding(name, Verdict.PASS, f"evidence of {_list([r.severity for r in table.rungs])}")


def _trials(table: Sweep) -> Finding:
    name = "every trial counts"
    if unclear := [r for r in table.rungs if r.unclear]:
        because = "; ".join(f"severity {r.severity}: {r.unclear}" for r in unclear)
        return Finding(name, Verdict.UNKNOWN, because)
    count = len(table.rungs)
    return Finding(name, Verdict.PASS if count else Verdict.UNKNOWN, f"{count} of them; {CAVEAT}")


def _sees(monitor: Monitor) -> Finding:
    name = f"{monitor.alert} sees {monitor.fault_id}"
    if monitor.smallest is not None:
        return Finding(name, Verdict.PASS, f"smallest seen: {monitor.said}")
    unknown = any(s.seen == "unknown" for s in monitor.sightings)
    return Finding(name, Verdict.UNKNOWN if unknown else Verdict.FAIL, monitor.said)


def headline(table: Sweep, verdict: Verdict) -> str:
    """The sentence that is read aloud."""
    expected = [m for m in table.monitors if m.expected]
    parts = [f"{m.alert} sees {m.fault_id} from {m.said} on" if m.smallest else
             f"{m.alert} {m.said} of {m.fault_id}" for m in expected]  # fmt: skip
    other = sorted({m.alert for m in table.monitors if not m.expected and m.smallest})
    if other:
        parts.append(f"also seen by {', '.join(other)}")
    tried = _list([r.severity for r in table.rungs])
    return (
        f"{verdict.name}: severities {tried or 'none'}; {'; '.join(parts) or 'no alert expected'}"
    )

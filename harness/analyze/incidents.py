"""From marks to an incident: what came of each fault, and how long everything took.

Times run from the injection, because only that is known to the millisecond; each is given from the
impact too. An absorbed fault has no time to mitigate or to recover: nobody was hurt.
"""

from collections.abc import Mapping

from harness.analyze.marks import Marks, find_marks
from harness.analyze.oracle import Oracle
from harness.model.analysis import Estimate, Incident, Mark, Outcome
from harness.model.events import Aborted
from harness.model.record import FaultSpan
from harness.model.scenario import ExpectMark, Scenario


def incidents(oracle: Oracle, scenario: Scenario) -> tuple[Incident, ...]:
    """One incident per fault that was intended, in the order of their injection."""
    by = matchers(scenario)
    return tuple(_safely(oracle, span, by) for span in oracle.record.spans)


def matchers(scenario: Scenario) -> Mapping[str, str]:
    """Which alert counts as detection: what the scenario expects, or any at all."""
    for expect in scenario.expect:
        if isinstance(expect, ExpectMark) and expect.mark == "detected" and expect.by:
            return expect.by
    return {}


def _safely(oracle: Oracle, span: FaultSpan, by: Mapping[str, str]) -> Incident:
    """A record too odd to be read makes its trial invalid, not the analysis crash."""
    try:
        return _incident(oracle, span, find_marks(oracle, span, by))
    except Exception as error:
        why = f"its marks could not be computed: {error!r}"
        mark = Mark("t_inject", None, why)
        return _assemble(span, "invalid", (mark,), (None,) * 3, (None,) * 3, None, 0, why)


def _incident(oracle: Oracle, span: FaultSpan, marks: Marks) -> Incident:
    bad, note = _harm(oracle, span, marks)
    outcome = _outcome(oracle, span, marks)
    start, hurt = marks.inject.at, marks.impact.at
    ends = (marks.detect.at, marks.mitigate.at, marks.recover.at)
    if outcome == "invalid":
        start = hurt = None
    return _assemble(
        span,
        outcome,
        marks.all(),
        tuple(_time(start, end) for end in ends),
        tuple(_time(hurt, end) for end in ends),
        marks.hurt.objective.name if marks.hurt else None,
        bad,
        marks.invalid or note,
    )


def _assemble(
    span: FaultSpan,
    outcome: Outcome,
    marks: tuple[Mark, ...],
    from_inject: tuple[Estimate | None, ...],
    from_impact: tuple[Estimate | None, ...],
    objective: str | None,
    bad: int,
    note: str,
) -> Incident:
    return Incident(
        fault_id=span.id,
        fault=span.fault,
        outcome=outcome,
        marks=marks,
        ttd=from_inject[0],
        ttm=from_inject[1],
        ttr=from_inject[2],
        ttd_from_impact=from_impact[0],
        ttm_from_impact=from_impact[1],
        ttr_from_impact=from_impact[2],
        objective=objective,
        bad_events=bad,
        budget_note=note,
    )


def _time(start: Estimate | None, end: Estimate | None) -> Estimate | None:
    if start is None or end is None:
        return None
    took = end.minus(start)
    # Round away what subtraction left of the last bits: a report should not show them.
    return Estimate(
        round(took.value_s, 6), round(took.low_s, 6), round(took.high_s, 6), took.censored
    )


def _outcome(oracle: Oracle, span: FaultSpan, marks: Marks) -> Outcome:
    if marks.invalid:
        return "invalid"
    start_s = span.injected_s or span.intended_s
    if any(start_s <= e.t <= oracle.until_s(span) for e in oracle.record.of(Aborted)):
        return "aborted"
    if marks.hurt is None:
        return "absorbed"
    seen = marks.detect.at is not None and not marks.detect.at.censored
    served = marks.mitigate.at is not None and not marks.mitigate.at.censored
    if seen:
        return "detected, mitigated" if served else "detected, unmitigated"
    return "undetected, mitigated" if served else "undetected, unmitigated"


def _harm(oracle: Oracle, span: FaultSpan, marks: Marks) -> tuple[int, str]:
    """Count the bad events of the objective hurt first, from the impact to the recovery."""
    hurt = marks.hurt
    if hurt is None:
        return 0, "no objective was missed"
    until_s = oracle.until_s(span)
    end_s = until_s if marks.recover.at is None else marks.recover.at.value_s
    events = oracle.events[hurt.objective.name]
    low, high = events.due_s.searchsorted([hurt.at.value_s, end_s])
    bad, count = int(events.bad[low:high].sum()), int(high - low)
    share = bad / (hurt.objective.budget * count) if count and hurt.objective.budget else 0.0
    return bad, (
        f"{share:.0%} of what {hurt.objective.name} allows in the {count} events from impact to "
        "recovery"
    )

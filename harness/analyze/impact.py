"""When users were hurt, and when they were served again although the fault was still in force."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.analyze.changepoint import Change, date_change, first_crossing, threshold
from harness.analyze.oracle import STEP_S, Oracle
from harness.analyze.slis import OracleEvents
from harness.model.analysis import Estimate
from harness.model.record import FaultSpan
from harness.model.slo import Objective


@dataclass(frozen=True, slots=True)
class Impact:
    """The first objective that was hurt, since when, and by how much."""

    objective: Objective
    at: Estimate
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Mitigation:
    """``at`` is censored when the SLO was not held for H while the fault was in force."""

    at: Estimate
    how: str


def impact(oracle: Oracle, span: FaultSpan, in_force: Estimate) -> Impact | None:
    """Find the earliest impact over all objectives. ``None``: the fault was absorbed.

    The test's threshold counts every objective (Bonferroni) and every request of the run.
    """
    enough = threshold(len(oracle.record.requests), len(oracle.slo.objectives))
    found = (
        _impact_on(oracle, o, oracle.events[o.name], span, in_force.low_s, enough)
        for o in oracle.slo.objectives
        if o.name in oracle.events
    )
    return min((i for i in found if i), key=lambda i: i.at.value_s, default=None)


def mitigation(oracle: Oracle, span: FaultSpan, hurt: Impact) -> Mitigation:
    """Date the change after the last short window that misses any objective before the heal."""
    heal_s = oracle.record.load_end_s if span.healing_s is None else span.healing_s
    starts_s = oracle.window_starts(hurt.at.value_s, heal_s)
    if not len(starts_s):
        start_s = min(hurt.at.value_s, heal_s)
        return Mitigation(_censored(start_s, heal_s), "the heal came too soon to tell")
    changes: dict[str, Estimate] = {}
    for objective in oracle.slo.objectives:
        if objective.name not in oracle.events:
            continue
        missed = np.flatnonzero(oracle.misses(objective, starts_s))
        if not len(missed) and objective is not hurt.objective:
            continue
        if len(missed) and missed[-1] == len(starts_s) - 1:
            return Mitigation(
                _censored(float(starts_s[-1]), heal_s),
                f"{objective.name} was still missed in the last short window before the heal",
            )
        last_s = float(starts_s[missed[-1]]) if len(missed) else hurt.at.value_s
        changes[objective.name] = _fall(oracle, objective, last_s, hurt.at, heal_s)
    return _held(oracle, changes, heal_s)


def _impact_on(
    oracle: Oracle,
    objective: Objective,
    events: OracleEvents,
    span: FaultSpan,
    from_s: float,
    enough: float,
) -> Impact | None:
    low, high = events.due_s.searchsorted([from_s, oracle.until_s(span)])
    crossing = first_crossing(
        events.bad[low:high], objective.budget, enough, oracle.n_min(objective)
    )
    if crossing is None:
        return None
    start = int(events.due_s.searchsorted(oracle.before_s(span)))
    end = int(low) + crossing.at + 1
    change = date_change(events.bad[start:end], int(low) - start, end - start - 1, "rise")
    if change is None:  # it was as bad before: date it by the test's own start
        first = crossing.start + int(low) - start
        change = Change(first, int(low) - start, first, objective.budget, objective.budget)
    at = _instant(oracle, events, start, change, from_s)
    return Impact(objective, at, change.before, change.after)


def _fall(
    oracle: Oracle, objective: Objective, last_s: float, hurt: Estimate, heal_s: float
) -> Estimate:
    """Date the end of the badness, known to lie after the last missing window's start.

    Only events near that window are fitted, so that what came long before cannot move it.
    """
    events, short_s = oracle.events[objective.name], oracle.window_s
    start_s = max(hurt.value_s, last_s - STEP_S)
    end_s = min(heal_s, last_s + short_s + oracle.hold_s)
    start, end = (int(i) for i in events.due_s.searchsorted([start_s, end_s]))
    first, last = events.due_s.searchsorted([last_s, last_s + 2 * short_s]) - start
    change = date_change(events.bad[start:end], max(1, int(first)), int(last), "fall")
    if change is None:  # nothing fell: the window missed for want of events
        return Estimate(last_s + short_s, last_s, last_s + short_s)
    return _instant(oracle, events, start, change, hurt.low_s)


def _held(oracle: Oracle, changes: Mapping[str, Estimate], heal_s: float) -> Mitigation:
    """The last objective to come back counts, and it must then hold for H."""
    if not changes:
        return Mitigation(_censored(heal_s, heal_s), "no objective can be read request by request")
    name = max(changes, key=lambda n: changes[n].value_s)
    at = Estimate(
        changes[name].value_s,
        max(c.low_s for c in changes.values()),
        max(c.high_s for c in changes.values()),
    )
    if at.value_s + oracle.hold_s > heal_s:
        return Mitigation(
            _censored(at.low_s, heal_s),
            f"every objective was met at the end, but for less than {oracle.hold_s:g} s "
            "before the heal",
        )
    return Mitigation(
        at,
        f"change point of {name} after the last missing window; every window of the next "
        f"{oracle.hold_s:g} s met every objective",
    )


def _instant(
    oracle: Oracle, events: OracleEvents, start: int, change: Change, not_before_s: float
) -> Estimate:
    """Turn event numbers into times: the change lies after the event before the first new one."""
    due_s = events.due_s
    value_s = float(due_s[start + change.index])
    before = start + change.low - 1
    low_s = float(due_s[before]) if before >= 0 else not_before_s
    high_s = float(due_s[start + change.high]) + oracle.lag_near_s(value_s)
    return Estimate(value_s, max(not_before_s, min(low_s, value_s)), high_s)


def _censored(low_s: float, at_s: float) -> Estimate:
    return Estimate(at_s, low_s, at_s, censored=True)

"""When users were hurt, and when they were served again although the fault was still in force.

Both are changes of one process, the bad answers of an objective, and an interval must hold the
instant at which that process changed. The impact is when the first spoilt answer fell due, the
first that was bad with more than its usual chance; the first *bad* one comes a little later, by
luck. The mitigation is when the first answer fell due from which on none is spoilt any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.analyze.changepoint import (
    CAUTIOUS,
    Bools,
    Change,
    cautious,
    date_change,
    dispersion,
    first_crossing,
    threshold,
)
from harness.analyze.dating import Dated, Stretch, date, harmful
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
    by_kind: bool = False


@dataclass(frozen=True, slots=True)
class Mitigation:
    """``at`` is censored when the SLO was not held for H while the fault was in force, and ``None``
    when the record cannot say.
    """

    at: Estimate | None
    how: str


def impact(oracle: Oracle, span: FaultSpan, in_force: Estimate) -> Impact | None:
    """Find the earliest impact over all objectives. ``None``: the fault was absorbed.

    The test's threshold counts every objective (Bonferroni) and every request of the run, and is
    raised where bad answers came in clumps before the fault.
    """
    enough = threshold(len(oracle.record.requests), len(oracle.slo.objectives))
    found = (
        _impact_on(oracle, o, span, in_force.low_s, enough)
        for o in oracle.slo.objectives
        if o.name in oracle.events
    )
    return min((i for i in found if i), key=lambda i: i.at.value_s, default=None)


def mitigation(oracle: Oracle, span: FaultSpan, hurt: Impact) -> Mitigation:
    """Date the change after the last short window that misses any objective before the heal."""
    heal_s = heal_of(oracle, span)
    starts_s = oracle.window_starts(hurt.at.value_s, heal_s)
    if not len(starts_s):
        start_s = min(hurt.at.value_s, heal_s)
        return Mitigation(_censored(start_s, heal_s), "the heal came too soon to tell")
    objectives = [o for o in oracle.slo.objectives if o.name in oracle.events]
    missed = {o.name: np.flatnonzero(oracle.misses(o, starts_s)) for o in objectives}
    last = max((int(m[-1]) for m in missed.values() if len(m)), default=-1)
    if last == len(starts_s) - 1:
        name = next(n for n, m in missed.items() if len(m) and m[-1] == last)
        return Mitigation(
            _censored(float(starts_s[-1]), heal_s),
            f"{name} was still missed in the last short window before the heal",
        )
    for objective in objectives:
        blind = np.flatnonzero(oracle.blind(objective, starts_s[last + 1 :]))
        if len(blind):
            start_s = float(starts_s[last + 1 + blind[0]])
            return Mitigation(None, _no_data(oracle, span, objective, start_s))
    changes = {
        o.name: _fall(
            oracle,
            o,
            float(starts_s[missed[o.name][-1]]) if len(missed[o.name]) else hurt.at.value_s,
            hurt.at,
            heal_s,
        )
        for o in objectives
        if len(missed[o.name]) or o is hurt.objective
    }
    return _held(oracle, changes, heal_s)


def _impact_on(
    oracle: Oracle, objective: Objective, span: FaultSpan, in_force_s: float, enough: float
) -> Impact | None:
    events = oracle.events[objective.name]
    edges_s = [oracle.before_s(span), span.intended_s, in_force_s, oracle.until_s(span)]
    start, intended, low, high = (int(i) for i in events.due_s.searchsorted(edges_s))
    crossing = first_crossing(
        events.bad[low:high],
        objective.budget,
        enough * cautious(dispersion(events.bad[start:low], beyond_chance=True)),
        oracle.n_min(objective),
    )
    if crossing is None:
        return None
    end, heal_s = low + crossing.at + 1, heal_of(oracle, span)
    since_s = float(events.due_s[low + crossing.start])
    spoilt = harmful(events, objective.budget, oracle.n_min(objective), since_s, heal_s)
    # Harm begins when the fault may be in force, or already while it is being injected.
    early = bool((events.bad | spoilt)[intended:low].any())
    first, first_s = (intended, span.intended_s) if early else (low, in_force_s)
    hurt, _ = _halves(oracle, objective, since_s, heal_s)
    phi = dispersion(hurt, events.bad[start:low], few=CAUTIOUS)
    dated = date(events, spoilt, Stretch(start, first, end - 1, end), "rise", objective.budget, phi)
    if dated is None:  # it was as bad before: date it by the test's own start
        at, share = low + crossing.start, objective.budget
        dated = Dated(Change(at, first, at, share, share), by_kind=False)
    change = dated.change
    at_s = _instant(oracle, events, change, first_s)
    return Impact(objective, at_s, change.before, change.after, dated.by_kind)


def _no_data(oracle: Oracle, span: FaultSpan, objective: Objective, start_s: float) -> str:
    """Say from when on too few events are on record, given the first short window that says so."""
    due_s = oracle.events[objective.name].due_s
    low, high = due_s.searchsorted([start_s, start_s + oracle.window_s])
    from_s = float(due_s[high - 1]) if high > low else start_s
    return f"no data for {objective.name} from {since(span, from_s)} on"


def since(span: FaultSpan, at_s: float) -> str:
    """Spell an instant as people count in an incident: from the injection."""
    return f"{at_s - (span.intended_s if span.injected_s is None else span.injected_s):+.1f} s"


def heal_of(oracle: Oracle, span: FaultSpan) -> float:
    """When the heal was begun, or the load's end if it never was."""
    return oracle.record.load_end_s if span.healing_s is None else span.healing_s


def _halves(
    oracle: Oracle, objective: Objective, since_s: float, heal_s: float
) -> tuple[Bools, Bools]:
    """Events since the impact, bad or not, cut roughly where the badness ends: (n,) and (m,)."""
    starts_s = oracle.window_starts(since_s, heal_s)
    missed = np.flatnonzero(oracle.misses(objective, starts_s))
    events = oracle.events[objective.name]
    edges_s = [since_s, heal_s, heal_s]
    if len(missed) and missed[-1] < len(starts_s) - 1:
        until_s = float(starts_s[missed[-1]]) + oracle.window_s
        edges_s = [since_s, until_s, min(heal_s, until_s + oracle.hold_s)]
    start, last, end = (int(i) for i in events.due_s.searchsorted(edges_s))
    bad = events.bad[start:end]
    rough = date_change(bad, 1, last - start, "fall") if last < end else None
    cut = len(bad) if rough is None else rough.index
    return bad[:cut], bad[cut:]


def _fall(
    oracle: Oracle, objective: Objective, last_s: float, hurt: Estimate, heal_s: float
) -> Estimate:
    """Date the end of the badness, known to lie after the last missing window's start.

    Only events near that window are fitted, so that what came long before cannot move it.
    """
    events, short_s = oracle.events[objective.name], oracle.window_s
    edges_s = [
        max(hurt.value_s, last_s - STEP_S),
        last_s,
        last_s + 2 * short_s,
        min(heal_s, last_s + short_s + oracle.hold_s),
    ]
    start, first, last, end = (int(i) for i in events.due_s.searchsorted(edges_s))
    spoilt = harmful(events, objective.budget, oracle.n_min(objective), hurt.value_s, heal_s)
    phi = dispersion(*_halves(oracle, objective, hurt.value_s, heal_s), few=CAUTIOUS)
    of = Stretch(start, max(start + 1, first), last, end)
    dated = date(events, spoilt, of, "fall", objective.budget, phi)
    if dated is None:  # nothing fell: the window missed for want of events
        return Estimate(last_s + short_s, last_s, last_s + short_s)
    return _instant(oracle, events, dated.change, hurt.low_s)


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


def _instant(oracle: Oracle, events: OracleEvents, change: Change, not_before_s: float) -> Estimate:
    """Turn event numbers into times: the change lies after the event before the first new one."""
    due_s = events.due_s
    value_s = float(due_s[change.index])
    low_s = float(due_s[change.low - 1]) if change.low else not_before_s
    high_s = float(due_s[change.high]) + oracle.lag_near_s(value_s)
    return Estimate(value_s, max(not_before_s, min(low_s, value_s)), high_s)


def _censored(low_s: float, at_s: float) -> Estimate:
    return Estimate(at_s, low_s, at_s, censored=True)

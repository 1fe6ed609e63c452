"""The instants of one incident, exactly as the design defines them.

Impact, mitigation and recovery come from the oracle (the harness's own requests and probes);
detection comes only from the stack's alerting. A trial whose injection is too blurred to count
from, or whose alert was firing already, is invalid: its marks are shown and nothing is concluded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harness.analyze.detection import acted, already_firing, detected, scrape_s
from harness.analyze.impact import Impact, heal_of, impact, mitigation, since
from harness.analyze.oracle import Oracle
from harness.analyze.recovery import recovery
from harness.model.analysis import Estimate, Mark
from harness.model.record import FaultSpan

BLUR_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one fault. ``hurt``: the objective hurt first, ``None`` when it was absorbed.

    ``invalid``: why the trial does not count; empty when it does.
    """

    inject: Mark
    impact: Mark
    detect: Mark
    act: Mark
    mitigate: Mark
    heal: Mark
    recover: Mark
    hurt: Impact | None
    invalid: str

    def all(self) -> tuple[Mark, ...]:
        """Every mark, in the order of an incident's life."""
        return (
            self.inject,
            self.impact,
            self.detect,
            self.act,
            self.mitigate,
            self.heal,
            self.recover,
        )


def blur_limit_s(oracle: Oracle) -> float:
    """How uncertain an injection may be: 250 ms, or half a scrape interval if that is more."""
    return max(BLUR_S, (scrape_s(oracle.record) or 0.0) / 2)


def find_marks(oracle: Oracle, span: FaultSpan, by: Mapping[str, str]) -> Marks:
    """Find the marks of one fault; ``by`` are the matchers of the alert that counts."""
    in_force, heal = _injected(span), _healed(span)
    if in_force is None:
        return _never(span, heal)
    record, until_s = oracle.record, oracle.until_s(span)
    hurt = impact(oracle, span, in_force)
    mitigate, recover = _ends(oracle, span, hurt)
    lost = mitigate.how if hurt is not None and mitigate.at is None else ""
    heal_s = until_s if span.healing_s is None else span.healing_s
    return Marks(
        Mark("t_inject", in_force, "verify first held; the interval goes back to when it did not"),
        _impacted(oracle, hurt),
        detected(record, by, in_force.low_s, until_s),
        acted(record, in_force.low_s, heal_s, until_s),
        mitigate,
        heal,
        recover,
        hurt,
        _invalid(oracle, span, in_force, by) or lost,
    )


def _injected(span: FaultSpan) -> Estimate | None:
    if span.injected_s is None:
        return None
    low_s = span.injected_s if span.not_before_s is None else span.not_before_s
    return Estimate(span.injected_s, min(low_s, span.injected_s), span.injected_s)


def _healed(span: FaultSpan) -> Mark:
    if span.healing_s is None:
        return Mark("t_heal", None, "the record ends before the heal")
    done_s = span.healing_s if span.healed_s is None else span.healed_s
    return Mark(
        "t_heal",
        Estimate(span.healing_s, span.healing_s, done_s),
        "the heal was begun; the interval ends where verify no longer held",
    )


def _never(span: FaultSpan, heal: Mark) -> Marks:
    why = f"{span.id} never took hold" + (f" ({span.errors[0]})" if span.errors else "")
    return Marks(
        Mark("t_inject", None, why),
        Mark("t_impact", None, why),
        Mark("t_detect", None, why),
        Mark("t_act", None, why),
        Mark("t_mitigate", None, why),
        heal,
        Mark("t_recover", None, why),
        None,
        why,
    )


def _impacted(oracle: Oracle, hurt: Impact | None) -> Mark:
    if hurt is None:
        measured = [name for name, events in oracle.events.items() if len(events.due_s)]
        how = (
            f"no share of bad events rose above its budget ({', '.join(measured)}): absorbed"
            if measured
            else "no objective has events on record: nothing can be said"
        )
        return Mark("t_impact", None, how)
    by = "by the kind of answer" if hurt.by_kind else "by the bad answers alone"
    how = (
        f"change point of bad events for {hurt.objective.name}, from {hurt.before:.1%} to "
        f"{hurt.after:.1%} against a budget of {hurt.objective.budget:.1%}, dated {by}"
    )
    return Mark("t_impact", hurt.at, how)


def _ends(oracle: Oracle, span: FaultSpan, hurt: Impact | None) -> tuple[Mark, Mark]:
    if hurt is None:
        how = "nobody was hurt"
        return Mark("t_mitigate", None, how), Mark("t_recover", None, how)
    served = mitigation(oracle, span, hurt)
    back = recovery(oracle, span, None if served.at is None or served.at.censored else served.at)
    return Mark("t_mitigate", served.at, served.how), Mark("t_recover", back.at, back.how)


def _invalid(oracle: Oracle, span: FaultSpan, in_force: Estimate, by: Mapping[str, str]) -> str:
    blur_s, limit_s = in_force.high_s - in_force.low_s, blur_limit_s(oracle)
    if blur_s > limit_s:
        return (
            f"the injection is known to {blur_s:.2f} s only, and at most {limit_s:.2f} s can be "
            "counted from"
        )
    if not any(
        oracle.count(o, in_force.low_s, oracle.until_s(span)) >= oracle.n_min(o)
        for o in oracle.slo.objectives
    ):
        return "too few requests are on record since the injection to say who was hurt"
    silent_s = oracle.silence_s(in_force.low_s, heal_of(oracle, span))
    if silent_s is not None:
        return f"no data: no request is on record from {since(span, silent_s)} on"
    name = already_firing(oracle.record, by, in_force.low_s)
    if name is None:
        return ""
    remedy = "" if by else "; say with `by` which alert counts as detection"
    return f"alert {name} was already firing at the injection{remedy}"

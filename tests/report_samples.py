"""Analyses of made-up runs, for the tests of the reports: one of each ending a run can have.

The numbers are shaped like those of a real run of two minutes (noise of a hundred requests a
second included), because a report that is only ever shown tidy numbers is never tested.
"""

import dataclasses
import math
import random
from collections.abc import Callable, Mapping

from harness.model.analysis import (
    FORMAT,
    Analysis,
    Estimate,
    Finding,
    Incident,
    Mark,
    MarkId,
    Measure,
    MethodNote,
    Moment,
    Outcome,
    Trace,
    Verdict,
)
from harness.model.defence import Defence
from harness.model.record import FaultSpan
from harness.model.scenario import Phase
from harness.model.slo import Objective
from harness.model.study import (
    Ablation,
    Monitor,
    Removal,
    Rung,
    Sighting,
    Sweep,
    Took,
    Tried,
)

START_S = 10.4
LENGTHS: Mapping[Phase, float] = {"warmup": 10.0, "baseline": 25.0, "fault": 32.0, "recovery": 32.0}
SECONDS = int(sum(LENGTHS.values()))
INJECT_S = START_S + 36.12
IMPACT_S = INJECT_S + 0.81
DETECT_S = INJECT_S + 3.34
ACT_S = INJECT_S + 3.41
MITIGATE_S = INJECT_S + 3.9
HEAL_S = INJECT_S + 30.02
RECOVER_S = INJECT_S + 36.4
FEATURES = (
    "dep_delay", "distance", "sched_hour", "month", "wind_speed",
    "precip", "visib", "origin_delay", "carrier_delay",
)  # fmt: skip
OBJECTIVES = (
    Objective("availability", "Answered in time", "success_ratio", 0.99),
    Objective("correctness", "As right as the healthy champion", "paired_correctness", 0.97),
)


def phases() -> dict[Phase, tuple[float, float]]:
    """The planned phases in run time."""
    out: dict[Phase, tuple[float, float]] = {}
    at = START_S
    for phase, length in LENGTHS.items():
        out[phase] = (at, at + length)
        at += length
    return out


def _about(value_s: float, before_s: float, after_s: float) -> Estimate:
    return Estimate(value_s, value_s - before_s, value_s + after_s)


def marks(**changes: Estimate | None) -> tuple[Mark, ...]:
    """The marks of a run that went well, but for the changes."""
    found: dict[MarkId, tuple[Estimate | None, str]] = {
        "t_inject": (_about(INJECT_S, 0.052, 0.0), "verify held at this poll, not at the last one"),
        "t_impact": (_about(IMPACT_S, 0.21, 0.34), "change point of paired correctness"),
        "t_detect": (_about(DETECT_S, 0.001, 0.001), "webhook, alertname=FeatureMissing"),
        "t_act": (_about(ACT_S, 0.003, 0.003), "audit entry 1, route_to_baseline"),
        "t_mitigate": (_about(MITIGATE_S, 0.44, 0.5), "last short window that missed 97 %"),
        "t_heal": (_about(HEAL_S, 0.0, 0.0), "heal began"),
        "t_recover": (_about(RECOVER_S, 0.7, 1.0), "last probe that was not normal: route pinned"),
    }
    for name, at in changes.items():
        key: MarkId = name  # type: ignore[assignment]
        found[key] = (at, found.get(key, (None, "not found"))[1])
    return tuple(Mark(name, at, how) for name, (at, how) in found.items())


def incident(outcome: Outcome = "detected, mitigated", **changes: Estimate | None) -> Incident:
    """The incident that these marks amount to."""
    found = marks(**changes)
    at = {mark.id: mark.at for mark in found}

    def gap(end: MarkId, start: MarkId) -> Estimate | None:
        high, low = at[end], at[start]
        return None if high is None or low is None else high.minus(low)

    return Incident(
        fault_id="drop_features-1",
        fault="drop_features",
        outcome=outcome,
        marks=found,
        ttd=gap("t_detect", "t_inject"),
        ttm=gap("t_mitigate", "t_inject"),
        ttr=gap("t_recover", "t_inject"),
        ttd_from_impact=gap("t_detect", "t_impact"),
        ttm_from_impact=gap("t_mitigate", "t_impact"),
        ttr_from_impact=gap("t_recover", "t_impact"),
        objective=None if at["t_impact"] is None else "correctness",
        bad_events=0 if at["t_impact"] is None else 61,
        budget_note="0.7 s of a 28-day budget of 3 % at 120 requests a second",
    )


def span(healed: bool = True) -> FaultSpan:
    """The fault's life."""
    return FaultSpan(
        id="drop_features-1",
        fault="drop_features",
        params={"severity": 5, "fraction": 1.0, "features": ["dep_delay", "origin_delay"]},
        nodes=("feed",),
        undo={},
        intended_s=INJECT_S - 0.8,
        not_before_s=INJECT_S - 0.052,
        injected_s=INJECT_S,
        healing_s=HEAL_S if healed else None,
        healed_s=HEAL_S + 0.06 if healed else None,
    )


def _seconds(
    seed: int, read: Callable[[random.Random, float], float | None]
) -> tuple[float | None, ...]:
    dice = random.Random(seed)
    return tuple(read(dice, START_S + n + 0.5 - INJECT_S) for n in range(SECONDS))


def _share(dice: random.Random, chance: float, count: int = 118) -> float:
    return sum(dice.random() < chance for _ in range(count)) / count


def measure(
    sli: str, unit: str, title: str, values: tuple[float | None, ...], target: float | None = None
) -> Measure:
    """An indicator whose phases are the means of its seconds."""
    by_phase: dict[Phase, float | None] = {}
    for phase, (start_s, end_s) in phases().items():
        inside = values[int(start_s - START_S) : int(end_s - START_S)]
        known = [v for v in inside if v is not None]
        by_phase[phase] = sum(known) / len(known) if known else None
    return Measure(sli, unit, title, by_phase, values, target)


def measures(hurt: Callable[[float], bool]) -> tuple[Measure, ...]:
    """Every indicator; ``hurt(t)`` says whether answers are bad ``t`` seconds after injection."""

    def slow(dice: random.Random, t: float) -> float:
        tail = dice.expovariate(1 / 6)
        return 14 + tail + (340 if 3 < t < 5 else 0) + (160 if t < -33 else 0)

    rest: list[tuple[str, str, Callable[[random.Random, float], float | None], float | None]] = [
        ("success_ratio", "Answered well, of all requests",
         lambda d, t: _share(d, 0.995 if 3 < t < 5 else 0.9999), 0.99),
        ("paired_correctness", "Right where the healthy champion was right",
         lambda d, t: _share(d, 0.87 if hurt(t) else 0.997), 0.97),
        ("recall", "Late flights that were called late",
         lambda d, t: _share(d, 0.36 if hurt(t) else 0.66, 24), None),
        ("precision", "Flights called late that were late",
         lambda d, t: None if d.random() < 0.03 else _share(d, 0.9, 17), None),
        ("fallback_share", "Answers from a fallback",
         lambda d, t: 0.012 if 2 < t < 4 else 0.0, None),
    ]  # fmt: skip
    out = [
        measure(sli, "ratio", title, _seconds(n, read), target)
        for n, (sli, title, read, target) in enumerate(rest)
    ]
    p50 = _seconds(21, lambda d, t: d.gauss(5.2, 0.3))
    return (
        *out[:2],
        measure("latency_p50_ms", "ms", "Median latency from the intended time", p50),
        measure("latency_p99_ms", "ms", "99th percentile of latency", _seconds(22, slow)),
        *out[2:],
    )


def findings(*changed: Finding) -> tuple[Finding, ...]:
    """The findings of a run that went well, but for those of the same name."""
    ok = Verdict.PASS
    usual = (
        Finding("detected by alertname=FeatureMissing within 10s", ok,
                "3.34 s after the injection (3.33 to 3.40)", "expectation"),
        Finding("mitigated within 20s", ok,
                "3.9 s after the injection (3.4 to 4.5)", "expectation"),
        Finding("recovered within 60s", ok, "36 s after the injection (35 to 38)", "expectation"),
        Finding("overall success_ratio at least 99% during fault", ok,
                "99.97 % of 3,793 requests", "expectation"),
        Finding("eventually paired_correctness at least 97% during fault", ok,
                "settled by +5 s", "expectation"),
        Finding("overall paired_correctness at least 97% during recovery", ok,
                "99.7 % of 3,811 requests", "expectation"),
        Finding("every fault bit", ok, "drop_features: dep_delay missing in 99.8 % of 3,102 "
                "answers under the fault, in 0 % of 3,001 before"),
        Finding("everything healed", ok, "fingerprints of 4 parts equal those before the fault"),
        Finding("harness kept pace", ok, "0.02 % of 11,870 sends were over 100 ms late"),
        Finding("record complete", ok, "ended as planned; no gap in probes over 2 s"),
        Finding("clocks agree", ok, "offset 0.4 ms, bound 1.1 ms"),
    )  # fmt: skip
    names = {f.check for f in changed}
    return (*changed, *(f for f in usual if f.check not in names))


def _timeline(*more: Moment, action: bool = True, alert: bool = True) -> tuple[Moment, ...]:
    moments = [
        Moment(0.0, "stack", "up: 11 processes in 6.8 s", "events.jsonl:2"),
        *(Moment(edges[0], "phase", name, "events.jsonl") for name, edges in phases().items()),
        Moment(START_S + 10.1, "note", "steady-state gate passed", "events.jsonl:41"),
        Moment(INJECT_S - 0.8, "fault", "drop_features intended on feed", "events.jsonl:52"),
        Moment(INJECT_S, "fault", "drop_features in force", "events.jsonl:54"),
        Moment(HEAL_S, "fault", "drop_features healing", "events.jsonl:77"),
        Moment(HEAL_S + 0.06, "fault", "drop_features healed", "events.jsonl:78"),
        *more,
    ]
    if alert:
        moments += [
            Moment(DETECT_S, "alert", "FeatureMissing{feature=dep_delay} firing", "webhook 1"),
            Moment(DETECT_S + 0.02, "alert", "FeatureMissing{feature=origin_delay} firing",
                   "webhook 1"),
            Moment(HEAL_S + 2.9, "alert", "FeatureMissing{feature=dep_delay} resolved",
                   "webhook 2"),
        ]  # fmt: skip
    if action:
        moments += [
            Moment(ACT_S, "action", "route_to_baseline by responder", "audit 1"),
            Moment(HEAL_S + 6.2, "action", "route_to_champion by responder", "audit 2"),
        ]
    return tuple(sorted(moments, key=lambda m: m.t))


def traces() -> tuple[Trace, ...]:
    """What the stack's monitoring saw, scraped each second."""
    t = tuple(START_S + n + 0.37 for n in range(SECONDS))
    gone = {"dep_delay", "origin_delay", "carrier_delay"}

    def ratio(feature: str, at: float) -> float:
        since = at - INJECT_S
        if feature not in gone or since < 1 or since > 31:
            return 0.0
        return min(1.0, since / 5) if since < 27 else max(0.0, (31 - since) / 4)

    null = [
        Trace("feature_null_ratio", {"feature": f}, t, tuple(round(ratio(f, x), 3) for x in t))
        for f in FEATURES
    ]
    dice = random.Random(4)
    accuracy = tuple(None if n < 12 else round(dice.gauss(0.91, 0.01), 4) for n in range(SECONDS))
    shift = tuple(dice.gauss(0, 0.01) - (0.06 if 2 < x - INJECT_S < 30 else 0) for x in t)
    return (
        *null,
        Trace("released_label_accuracy_ratio", {}, t, accuracy),
        Trace("prediction_score_shift", {}, t, shift),
        Trace("gateway_requests:rate5s", {"model": "champion"}, t,
              tuple(0.0 if 4 < x - INJECT_S < 36 else 118 + dice.gauss(0, 4) for x in t)),
        Trace("gateway_requests:rate5s", {"model": "baseline"}, t,
              tuple(118.0 if 4 < x - INJECT_S < 36 else 0.0 for x in t)),
    )  # fmt: skip


def passed() -> Analysis:
    """Everything went well."""
    return Analysis(
        format=FORMAT,
        run="20131104-101500-drop_features-11",
        scenario="drop_features",
        why="A change upstream stops sending the departure delay and the rolling means. Every "
        "request still gets its answer in time. Does the stack notice, switch to the model that "
        "does not need them, and come back by itself?",
        seed=11,
        stack="local",
        started_utc="2013-11-04T10:15:00.412Z",
        virtual_time=False,
        placebo=False,
        verdict=Verdict.PASS,
        headline="Detected in 3.34 s, mitigated in 3.9 s, recovered in 36 s; all 6 expectations "
        "and all 5 checks hold.",
        findings=findings(),
        incidents=(incident(),),
        measures=measures(lambda t: 0.8 < t < 3.9),
        objectives=OBJECTIVES,
        spans=(span(),),
        phases=phases(),
        load_start_s=START_S,
        end_s=START_S + SECONDS + 2.7,
        timeline=_timeline(),
        traces=traces(),
        method=(
            MethodNote("TTD", "webhook arrival minus the injection", "53 ms: one poll of verify, "
                       "and the clock offset"),
            MethodNote("TTM", "likelihood change point at 120 requests a second, short window 5 s",
                       "95 % likelihood interval, 0.9 s wide"),
            MethodNote("TTR", "the last of: baseline band, routes unpinned, caches warm, backlog "
                       "drained; probes every 0.5 s", "a probe interval and the short window"),
            MethodNote("hold", "10 s, from the scenario", "exact"),
        ),
        facts={
            "gameday": "0.1.0",
            "python": "3.11.9",
            "torch": "2.8.0+cpu",
            "prometheus": "2.42.0",
            "machine": "x86_64, 2 cores, 7.7 GiB",
            "load": "poisson 120/s, 11,870 requests",
            "scenario digest": "sha256:9f2c1e0a77d5c1e3",
            "fault digest drop_features": "sha256:51ab0c99de014f3b",
        },
    )  # fmt: skip


def failed() -> Analysis:
    """The runbook was off: detected, never mitigated under the fault."""
    until_heal = Estimate(HEAL_S, HEAL_S, math.inf, censored=True)
    why = "not mitigated while the fault was in force (> 30.0 s)"
    return dataclasses.replace(
        passed(),
        run="20131104-111500-drop_features-11",
        verdict=Verdict.FAIL,
        headline="Detected in 3.34 s but never mitigated: 12 % of answers were wrong for as long "
        "as the fault lasted.",
        findings=findings(
            Finding("mitigated within 20s", Verdict.FAIL, why, "expectation"),
            Finding("eventually paired_correctness at least 97% during fault", Verdict.FAIL,
                    "still broken at the end", "expectation"),
        ),
        incidents=(incident("detected, unmitigated", t_mitigate=until_heal, t_act=None),),
        measures=measures(lambda t: 0.8 < t < 32),
        timeline=_timeline(action=False),
    )  # fmt: skip


def unknown() -> Analysis:
    """The load generator fell behind, and the probes stopped."""
    run = passed()
    torn = tuple(
        dataclasses.replace(
            m,
            by_second=tuple(None if 60 <= n < 72 else v for n, v in enumerate(m.by_second)),
            by_phase={**m.by_phase, "recovery": None},
        )
        for m in run.measures
    )
    return dataclasses.replace(
        run,
        run="20131104-121500-drop_features-11",
        verdict=Verdict.UNKNOWN,
        headline="Not known: the record has a hole of 12 s and the harness did not keep pace.",
        findings=findings(
            Finding("recovered within 60s", Verdict.UNKNOWN, "no probe after 70.4 s",
                    "expectation"),
            Finding("harness kept pace", Verdict.UNKNOWN, "4.1 % of 9,420 sends were over 100 ms "
                    "late, in a burst that spans t_recover"),
            Finding("record complete", Verdict.UNKNOWN, "no requests from 70.4 to 82.4 s"),
        ),
        incidents=(incident(t_recover=None),),
        measures=torn,
    )  # fmt: skip


def absorbed() -> Analysis:
    """The fault was in force and nobody was hurt."""
    return dataclasses.replace(
        passed(),
        run="20131104-131500-drop_features-11",
        headline="Absorbed: the fault was in force for 30 s and hurt nobody.",
        incidents=(
            incident("absorbed", t_impact=None, t_mitigate=None, t_recover=None, t_act=None),
        ),
        measures=measures(lambda t: False),
        timeline=_timeline(action=False),
    )


def censored() -> Analysis:
    """Neither detected nor recovered before the record ended."""
    end_s = START_S + SECONDS
    never = Estimate(end_s, end_s, math.inf, censored=True)
    until_heal = Estimate(HEAL_S, HEAL_S, math.inf, censored=True)
    return dataclasses.replace(
        failed(),
        run="20131104-141500-drop_features-11",
        headline="Never detected, never mitigated, not recovered by the end of the record.",
        findings=findings(
            Finding("detected by alertname=FeatureMissing within 10s", Verdict.FAIL,
                    "no such alert in the record", "expectation"),
            Finding("recovered within 60s", Verdict.UNKNOWN,
                    "not by 62.9 s, when the record ends", "expectation"),
        ),
        incidents=(
            incident("undetected, unmitigated", t_detect=never, t_act=None,
                     t_mitigate=until_heal, t_recover=never),
        ),
        measures=measures(lambda t: t > 0.8),
        timeline=_timeline(action=False, alert=False),
    )  # fmt: skip


def aborted() -> Analysis:
    """The abort guard ended the run four seconds into the fault."""
    run = passed()
    ends = INJECT_S + 4.2
    cut = {p: (a, min(b, ends)) for p, (a, b) in phases().items() if a < ends}
    return dataclasses.replace(
        run,
        run="20131104-151500-drop_features-11",
        verdict=Verdict.UNKNOWN,
        headline="Aborted for safety: success ratio under 50 % for 3 s.",
        findings=(
            Finding("record complete", Verdict.UNKNOWN, "aborted by the guard at 50.7 s"),
            Finding("everything healed", Verdict.PASS, "healed 0.1 s after the abort"),
        ),
        incidents=(
            incident(
                "aborted",
                t_detect=None,
                t_act=None,
                t_mitigate=None,
                t_heal=_about(ends, 0.0, 0.0),
                t_recover=None,
            ),
        ),
        measures=tuple(
            dataclasses.replace(
                m,
                by_second=m.by_second[: int(ends - START_S)],
                by_phase={p: v for p, v in m.by_phase.items() if p in cut},
            )
            for m in run.measures
        ),
        spans=(dataclasses.replace(span(), healing_s=ends, healed_s=ends + 0.1),),
        phases=cut,
        end_s=ends + 1.0,
        timeline=(
            *(m for m in run.timeline if m.t < ends),
            Moment(
                ends,
                "abort",
                "aborted by the guard: success_ratio was 41.00%, below 50.00% for 3s",
                "event 61",
            ),
        ),
        traces=(),
    )


def placebo() -> Analysis:
    """Nothing was broken and nothing happened."""
    return dataclasses.replace(
        passed(),
        run="20131104-161500-placebo-11",
        scenario="placebo",
        placebo=True,
        why="The replay of ordinary flights must not raise an alert or make the stack act.",
        headline="Nothing was broken; no alert fired and no action was taken.",
        findings=(
            Finding("no_alerts", Verdict.PASS, "none in 99 s", "expectation"),
            Finding("no_actions", Verdict.PASS, "none in 99 s", "expectation"),
            Finding("harness kept pace", Verdict.PASS, "0 of 11,870 sends over 100 ms late"),
        ),
        incidents=(),
        spans=(),
        measures=measures(lambda t: False),
        timeline=tuple(m for m in _timeline(action=False, alert=False) if m.kind != "fault"),
        traces=(),
        method=(),
    )


def empty() -> Analysis:
    """A record that holds its header and nothing else."""
    return dataclasses.replace(
        passed(),
        run="20131104-171500-drop_features-11",
        why="",
        verdict=Verdict.UNKNOWN,
        headline="",
        findings=(),
        incidents=(),
        measures=(measure("success_ratio", "ratio", "Answered well", (), 0.99),),
        objectives=(),
        spans=(),
        phases={},
        load_start_s=0.0,
        end_s=0.0,
        timeline=(),
        traces=(),
        method=(),
        facts={},
    )


HOSTILE = "<script>alert('x')</script> \"q\" a|b `c` ]]> &amp; *d* _e_ [l](http://evil.test)\n# h"


def hostile() -> Analysis:
    """Every text that can come from outside tries to break out of its place."""
    run, bad = passed(), HOSTILE + "\x1b[31m\x00\u202e\ud800 two\nlines"
    return dataclasses.replace(
        run,
        run=bad,
        scenario=bad,
        why=bad,
        stack=bad,
        headline=bad,
        verdict=Verdict.FAIL,
        findings=tuple(
            Finding(bad, v, bad, k) for v in Verdict for k in ("expectation", "built-in")
        ),
        incidents=(dataclasses.replace(run.incidents[0], fault=bad, budget_note=bad),),
        measures=tuple(
            dataclasses.replace(m, sli=bad + str(n), title=bad) for n, m in enumerate(run.measures)
        ),
        spans=(dataclasses.replace(run.spans[0], fault=bad),),
        timeline=tuple(Moment(m.t, m.kind, bad, bad) for m in run.timeline),
        traces=tuple(dataclasses.replace(t, name=bad, labels={bad: bad}) for t in run.traces),
        method=(MethodNote(bad, bad, bad),),
        facts={bad: bad},
    )


def crowded() -> Analysis:
    """Two faults at once, marks a tenth of a second apart and up to the edges, odd numbers."""
    run = passed()
    close: dict[str, Estimate | None] = {
        name: _about(INJECT_S + 0.1 * n, 0.05, 0.05)
        for n, name in enumerate(("t_impact", "t_detect", "t_act", "t_mitigate", "t_observable"))
    }
    late = dataclasses.replace(
        incident(t_recover=_about(START_S + SECONDS - 0.2, 3.0, 0.2)),
        fault_id="slow_link-2",
        fault="slow_link",
    )
    odd = (0.0, 1.0, None, math.nan, math.inf, -1.0) * 12
    return dataclasses.replace(
        run,
        incidents=(incident(**close), late),
        spans=(
            run.spans[0],
            dataclasses.replace(run.spans[0], id="slow_link-2", fault="slow_link"),
        ),
        measures=(*run.measures, measure("odd", "", "Odd numbers", odd)),
        timeline=tuple(
            sorted(
                (
                    *run.timeline,
                    *(
                        Moment(INJECT_S + n / 7, "alert", f"TargetDown{{n={n}}} firing", "webhook")
                        for n in range(40)
                    ),
                ),
                key=lambda m: m.t,
            )
        ),
    )


def _fell(*checks: str, verdict: Verdict = Verdict.FAIL) -> tuple[Finding, ...]:
    because = "not mitigated in 28.9 s; the bound is 20s"
    return tuple(Finding(check, verdict, because, "expectation") for check in checks)


def _removal(*without: str, fell: tuple[Finding, ...] = (), unclear: str = "") -> Removal:
    verdict = Verdict.worst([Verdict.PASS, *(f.verdict for f in fell)])
    verdict = Verdict.UNKNOWN if unclear else verdict
    run = f"20260101T000000Z-drop_features-{len(without)}{sum(map(len, without)):05d}"
    return Removal(run, without, verdict, f"{verdict.name}: as it went", fell, unclear)


def _several(study: str, found: tuple[Finding, ...], said: str) -> Analysis:
    verdict = Verdict.worst(f.verdict for f in found)
    return dataclasses.replace(
        passed(),
        run=study,
        verdict=verdict,
        headline=f"{verdict.name}: {said}",
        findings=found,
        incidents=(),
        measures=(),
        spans=(),
        phases={},
        load_start_s=0.0,
        end_s=871.3,
        timeline=(),
        traces=(),
        method=(MethodNote("load-bearing", "left out alone", "one run each"),),
    )


def ablation(name: str = "alert FeatureMissing", why: str = "nothing else moves") -> Analysis:
    """One of each standing that a defence can have."""
    route, eject = "runbook route_to_baseline", "ejection"
    sli = "eventually paired_correctness at least 97 % during fault"
    alone = _removal(name, fell=_fell("detected by alertname=FeatureMissing within 10s", sli))
    quiet, both = _removal(eject), _removal(eject, "breaker", fell=_fell(sli))
    dim = _removal("runbook rewarm", unclear="harness kept pace: 3.1% of requests left late")
    gone = _removal(name, route, eject, "breaker", "replicas", fell=_fell("mitigated within 20s"))
    rows = (
        Tried(Defence(name, "detection", why), ("drop_features",), "load-bearing", "told", alone),
        Tried(
            Defence(route, "mitigation", "it needs none of them"),
            ("drop_features", "skew_features"),
            "load-bearing",
            "recovered within 50s: unknown",
            _removal(route, fell=_fell("recovered within 50s", verdict=Verdict.UNKNOWN)),
        ),
        Tried(
            Defence(eject, "availability", "it leaves out who fails"),
            ("drop_features",), "redundant", "without breaker as well: it fell", quiet,
            ("breaker",), (both,),
        ),
        Tried(
            Defence("replicas", "availability", "another one answers"), ("drop_features",), "idle",
            "nothing fell without it, nor without it and any other one", _removal("replicas"),
        ),
        Tried(
            Defence("runbook rewarm", "recovery", "it writes again what was spoilt"),
            ("drop_features",), "unclear", dim.unclear, dim,
        ),
        Tried(
            Defence("cache_checksums", "correctness", "it finds what was changed"),
            ("drop_features",), "off", "the scenario's own settings leave it out",
        ),
    )  # fmt: skip
    whole = _removal()
    found = (
        Finding("passes with every defence in place", Verdict.PASS, whole.headline),
        Finding("2 defences or more are load-bearing", Verdict.PASS, f"2 of 6: {name}, {route}"),
        Finding("fails without all of them", Verdict.PASS, "mitigated within 20s: not mitigated"),
    )
    made = [r.without for r in rows if r.without is not None]
    table = Ablation(rows, whole, gone, (whole, *made, both, gone))
    said = f"{name} and {route} bear load; without any of them it is FAIL"
    whole_analysis = _several("20260101T000000Z-drop_features-ablation-000001", found, said)
    return dataclasses.replace(whole_analysis, ablation=table)


def sweep(name: str = "FeatureMissing") -> Analysis:
    """Five severities: one that did not bite, one absorbed, and three that were seen."""
    took, late = incident(), Estimate(51.3, 51.3, 51.3, censored=True)
    rungs = tuple(
        Rung(
            severity=n,
            run=f"20260101T00000{n}Z-drop_features-00000{n}",
            verdict=Verdict.UNKNOWN if n < 3 else Verdict.PASS,
            params={"drop_features-1": {"fraction": share}},
            bit=Verdict.UNKNOWN if n == 1 else Verdict.PASS,
            because="drop_features-1: 0.4% of answers lacked a feature, 0.0% before",
            took=(
                Took("drop_features-1", "absorbed", late if n > 1 else None, None, None)
                if n < 3
                else Took("drop_features-1", "detected, mitigated", took.ttd, took.ttm, took.ttr),
            ),
            unclear="every fault bit: 0.4% of answers lacked a feature" if n == 1 else "",
        )
        for n, share in enumerate((0.01, 0.05, 0.2, 0.5, 1.0), 1)
    )  # fmt: skip
    seen = (
        Sighting(1, "unknown", None, "every fault bit: 0.4% of answers lacked a feature"),
        Sighting(2, "not seen", late, "no alert was seen"),
        *(Sighting(n, "seen", took.ttd, "first notification") for n in (3, 4, 5)),
    )
    none = tuple(Sighting(n, "not seen", late, "no alert was seen") for n in range(1, 6))
    monitors = (
        Monitor(name, "drop_features-1", True, seen, 3, "severity 3, or less: 1 unknown"),
        Monitor("QualityDrop", "drop_features-1", False, none, None, "saw none"),
        Monitor(
            "Watchdog", "drop_features-1", False,
            tuple(Sighting(n, "unknown", None, "it was firing before") for n in range(1, 6)),
            None, "could not tell: it was firing before",
        ),
    )  # fmt: skip
    found = (
        Finding("every severity bit", Verdict.UNKNOWN, "severity 1: 0.4% of answers"),
        Finding(f"{name} sees drop_features-1", Verdict.PASS, "smallest seen: severity 3"),
    )
    whole = _several("20260101T000000Z-drop_features-sweep-000001", found, "severities 1 to 5")
    return dataclasses.replace(whole, sweep=Sweep(rungs, monitors))


def hostile_ablation() -> Analysis:
    """Names that would be markup, or steer a terminal."""
    return ablation("<script>alert('x')</script> | \u202ex \x1b[31m", "](http://evil.example/) <b>")


SAMPLES: Mapping[str, Callable[[], Analysis]] = {
    "passed": passed,
    "failed": failed,
    "unknown": unknown,
    "absorbed": absorbed,
    "censored": censored,
    "aborted": aborted,
    "placebo": placebo,
    "empty": empty,
    "hostile": hostile,
    "crowded": crowded,
    "ablation": ablation,
    "sweep": sweep,
    "hostile_ablation": hostile_ablation,
}

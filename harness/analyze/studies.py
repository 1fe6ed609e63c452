"""Many runs to one Analysis: what every report knows of an ablation or a sweep.

The head (stack, seed, versions) is that of the first run, since the runs of one study differ in one
thing only; what was measured in each of them is in the reports of the runs themselves.
"""

import dataclasses
from collections.abc import Sequence

from harness.analyze import ablation, sweep
from harness.model.analysis import Analysis, Finding, MethodNote, Verdict
from harness.model.scenario import Scenario
from harness.model.study import Removal, Rung, Study


def of_ablation(study: Study, head: Analysis, runs: Sequence[Removal], took_s: float) -> Analysis:
    """Judge an ablation. ``head``: the analysis of its first run; ``took_s``: of all, together."""
    table = ablation.defence_table(study, runs)
    found = ablation.findings(study, table)
    verdict = Verdict.worst(f.verdict for f in found)
    said = ablation.headline(study, table, verdict)
    whole = _head(study, head, found, verdict, said, took_s)
    return dataclasses.replace(whole, ablation=table, method=_ABLATION_NOTES)


def of_sweep(
    study: Study,
    head: Analysis,
    scenario: Scenario,
    rungs: Sequence[Rung],
    seen: Sequence[sweep.Sightings],
    took_s: float,
) -> Analysis:
    """Judge a sweep, likewise."""
    table = sweep.sweep_table(scenario, rungs, seen)
    found = sweep.findings(study, scenario, table)
    verdict = Verdict.worst(f.verdict for f in found)
    whole = _head(study, head, found, verdict, sweep.headline(table, verdict), took_s)
    return dataclasses.replace(whole, sweep=table, method=_SWEEP_NOTES)


def _head(
    study: Study,
    head: Analysis,
    found: tuple[Finding, ...],
    verdict: Verdict,
    said: str,
    took_s: float,
) -> Analysis:
    return dataclasses.replace(
        head,
        run=study.id,
        scenario=study.scenario,
        placebo=False,
        verdict=verdict,
        headline=said,
        findings=found,
        incidents=(),
        measures=(),
        spans=(),
        phases={},
        load_start_s=0.0,
        end_s=took_s,
        timeline=(),
        traces=(),
    )


_ABLATION_NOTES = (
    MethodNote(
        "load-bearing",
        "left out alone, by the stack's ordinary settings and no hook; an indicator, the time to "
        "mitigate or to recover, or the time to an expected alert then no longer passes",
        "one run each, all from the same seed; a run that cannot tell counts neither way",
    ),
    MethodNote(
        "redundant",
        "nothing falls without it, but without it and the defence that covers for it more falls "
        "than without that other one alone",
        "only pairs are tried: where three cover for each other, each looks idle",
    ),
    MethodNote(
        "what does not count",
        "expectations about what the stack says or does itself (no alerts, no actions), and that "
        "nobody was hurt, so that there was nothing to mitigate",
        "",
    ),
)
_SWEEP_NOTES = (
    MethodNote(
        "smallest severity seen",
        "the mildest of the severities run after whose injection the alert fired, not having fired "
        "before it; severities are the published ones of the fault",
        sweep.CAVEAT,
    ),
    MethodNote(
        "TTD, TTM, TTR",
        "as in the report of each run, which has their marks and methods",
        "in the report of each run",
    ),
)

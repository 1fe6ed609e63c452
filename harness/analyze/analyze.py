"""The whole judgement, in one function.

Everything here is computed from the record, the scenario and its SLO; the same three give an equal
Analysis, on any machine, in any year.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.analyze.checkers import (
    Bit,
    Complete,
    Healed,
    KeptPace,
    Measured,
    Named,
    NotAborted,
    Steady,
    guarded,
)
from harness.analyze.expectations import Meets
from harness.analyze.headline import headline
from harness.analyze.hearing import Heard, known
from harness.analyze.incidents import incidents as find_incidents
from harness.analyze.method import method
from harness.analyze.oracle import Oracle, judged_window, phases
from harness.analyze.slis import SLIS
from harness.analyze.timeline import timeline
from harness.model import events as ev
from harness.model.analysis import (
    FORMAT,
    Analysis,
    Measure,
    Trace,
    Verdict,
)
from harness.model.record import Record
from harness.model.scenario import PHASES, Scenario
from harness.model.slo import Slo
from harness.protocols import Fault

NOT_DRAWN: Final = ("_bucket", "_created")  # the raw material of histograms: many, and no picture
UNKNOWN: Final = "unknown"


def analyze(
    record: Record,
    scenario: Scenario,
    slo: Slo,
    faults: Mapping[str, type[Fault[Any]]],
    hold_s: float,
) -> Analysis:
    """Measure everything, check everything, and answer once.

    ``faults``: the fault classes by name, to read their evidence; ``hold_s``: H, from the plan.
    Never raises for what a record lacks: that is a finding, and never a pass.
    """
    oracle = Oracle(record, slo, hold_s)
    incidents = find_incidents(oracle, scenario)
    checkers: list[Named] = [
        *(Meets(expect, oracle, scenario, incidents) for expect in scenario.expect),
        Bit(faults, scenario),
        Healed(),
        Steady(),
        *([Heard()] if known(record) is not None else []),
        Measured(oracle, incidents),
        KeptPace(incidents),
        Complete(),
        NotAborted(),
    ]
    findings = tuple(guarded(checker, record) for checker in checkers)
    verdict = Verdict.worst(f.verdict for f in findings)
    header = next(record.of(ev.RunStarted), None)
    return Analysis(
        format=FORMAT,
        run=header.run if header else UNKNOWN,
        scenario=header.scenario if header else scenario.name,
        why=scenario.why,
        seed=header.seed if header else scenario.seed,
        stack=header.stack if header else scenario.stack,
        started_utc=utc(header.wall_s) if header else UNKNOWN,
        virtual_time=header.virtual_time if header else False,
        placebo=scenario.placebo,
        verdict=verdict,
        headline=headline(verdict, incidents, findings, scenario.placebo),
        findings=findings,
        incidents=incidents,
        measures=measures(record, slo),
        objectives=slo.objectives,
        spans=record.spans,
        phases=dict(phases(record)),
        load_start_s=record.load_start_s or 0.0,
        end_s=record.end_s,
        timeline=timeline(record, incidents),
        traces=traces(record),
        method=method(oracle, incidents),
        facts=facts(record, header),
    )


def measures(record: Record, slo: Slo) -> tuple[Measure, ...]:
    """Every indicator by phase (the fault's ends at the heal) and by second of the load."""
    start_s = record.load_start_s or 0.0
    count = max(0, int(record.load_end_s - start_s + 0.5)) if len(record.requests) else 0
    seconds = [record.window(start_s + i, start_s + i + 1) for i in range(count)]
    windows = {p: window for p in PHASES if (window := judged_window(record, p)) is not None}
    targets = {objective.sli: objective.target for objective in slo.objectives}
    return tuple(
        Measure(
            named.name,
            named.unit,
            named.title,
            {phase: named.measure(window, slo) for phase, window in windows.items()},
            tuple(named.measure(second, slo) for second in seconds),
            targets.get(named.name),
        )
        for named in SLIS.values()
    )


def traces(record: Record) -> tuple[Trace, ...]:
    """The monitored series worth a picture, sorted by name and labels."""
    found = [
        Trace(
            series.name,
            dict(series.labels),
            tuple(series.t.tolist()),
            tuple(v if v == v else None for v in series.value.tolist()),
        )
        for series in record.series
        if not series.name.endswith(NOT_DRAWN)
    ]
    return tuple(sorted(found, key=lambda t: (t.name, sorted(t.labels.items()))))


def facts(record: Record, header: ev.RunStarted | None) -> Mapping[str, str]:
    """What the appendix lists: versions, machine, the load's own words, digests."""
    found: dict[str, str] = {}
    if header is not None:
        groups: Sequence[tuple[str, Mapping[str, Any]]] = (
            ("version", header.versions),
            ("machine", header.machine),
            ("stack", header.stack_params),
            ("digest", header.digests),
        )
        for group, items in groups:
            found |= {f"{group} {name}": _plain(items[name]) for name in sorted(items)}
    for event in record.of(ev.LoadFinished):
        found |= {f"load {name}": _plain(event.facts[name]) for name in sorted(event.facts)}
    return found


def utc(wall_s: float) -> str:
    """Write Unix time as ISO 8601, UTC, without asking a clock or a time zone.

    Days to a date after H. Hinnant, "chrono-compatible low-level date algorithms".
    """
    whole = int(wall_s // 1)
    days, second = divmod(whole, 86_400)
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}Z"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)

"""Record to Analysis, with nothing but the record: what ``run`` and ``report`` have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import parse
from harness.analyze import ablation, studies, sweep
from harness.analyze.analyze import analyze
from harness.analyze.hearing import deaf_under_faults
from harness.analyze.oracle import Oracle
from harness.catalog import Catalog
from harness.model.analysis import Analysis, Verdict
from harness.model.dead_man import is_dead_man
from harness.model.record import Record
from harness.model.scenario import Scenario
from harness.model.study import Removal, Rung, Study
from harness.plan import hold_s
from harness.protocols import Fault
from harness.run import folder as folders
from harness.run.folder import FolderError
from harness.run.studies import read as read_study

ABORTED = 4
CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNKNOWN: 3}


@dataclass(frozen=True)
class Judged:
    """One run, judged, with what it was judged by."""

    analysis: Analysis
    scenario: Scenario
    oracle: Oracle
    faults: Mapping[str, type[Fault[Any]]]


def judge(record: Record, catalog: Catalog) -> Analysis:
    """Judge a record by the scenario and the SLO that it holds itself."""
    return judged(record, catalog).analysis


def judged(record: Record, catalog: Catalog) -> Judged:
    """Judge it, and keep what it was judged by. Raises ``FolderError`` without a header."""
    try:
        started = record.started
    except ValueError as wrong:
        raise FolderError(f"{wrong}; there is nothing to judge") from None
    scenario = parse.scenario(
        started.text, catalog, source=f"{started.run}/scenario.yaml", stack=started.stack
    )
    slo = parse.slo(started.slo_text, name=scenario.slo, source=f"{started.run}/slo.yaml")
    faults = catalog.load_faults({step.fault for step in scenario.faults})
    hold = hold_s(scenario, slo)
    analysis = analyze(record, scenario, slo, faults, hold)
    return Judged(analysis, scenario, Oracle(record, slo, hold), faults)


class Several:
    """The runs of one study as they come, and what they amount to so far."""

    def __init__(self) -> None:
        self.removals: list[Removal] = []
        self.rungs: list[Rung] = []
        self._seen: list[sweep.Sightings] = []
        self._first: Judged | None = None
        self._took_s = 0.0

    def add(self, study: Study, one: Judged) -> None:
        """Take in the run of the last member of ``study``."""
        member = study.members[len(self.removals) + len(self.rungs)]
        self._first = self._first or one
        self._took_s += one.analysis.end_s
        if member.severity is None:
            deaf = deaf_under_faults(one.oracle.record)
            self.removals.append(ablation.removal(member.without, one.analysis, one.scenario, deaf))
            return
        told = [a.labels for a in one.oracle.record.alerts if not is_dead_man(a.labels)]
        fired = {labels.get("alertname", "?") for labels in told}
        alerts = sweep.alerts_of(study, one.scenario, sorted(fired))
        self.rungs.append(sweep.rung(member.severity, one.oracle, one.analysis, one.faults))
        self._seen.append(sweep.sightings(member.severity, one.oracle, one.analysis, alerts))

    def judge(self, study: Study) -> Analysis | None:
        """Judge what there is; nothing before the first run."""
        if (first := self._first) is None:
            return None
        if study.kind == "ablation":
            return studies.of_ablation(study, first.analysis, self.removals, self._took_s)
        return studies.of_sweep(
            study, first.analysis, first.scenario, self.rungs, self._seen, self._took_s
        )


def judge_study(path: Path, catalog: Catalog) -> tuple[int, Analysis]:
    """Judge a study again, from the records of its runs; give its exit code too."""
    study, several = read_study(path), Several()
    for member in study.members:
        several.add(study, judged(folders.read(folders.beside(path, member.run)), catalog))
    analysis = several.judge(study)
    if analysis is None:
        raise FolderError(f"{path} has no run: the study was stopped before the first had ended")
    return CODES[analysis.verdict], analysis


def exit_code(record: Record, analysis: Analysis) -> int:
    """An abort for safety is told apart from a failure, so that CI can tell them apart."""
    from harness.model.events import Aborted

    if any(event.by not in ("signal", "error") for event in record.of(Aborted)):
        return ABORTED
    return CODES[analysis.verdict]

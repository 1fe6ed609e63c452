"""Record to Analysis, with nothing but the record: what ``run`` and ``report`` have in common."""

from harness import parse
from harness.analyze.analyze import analyze
from harness.catalog import Catalog
from harness.model.analysis import Analysis, Verdict
from harness.model.record import Record
from harness.plan import hold_s
from harness.run.folder import FolderError

ABORTED = 4
_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNKNOWN: 3}


def judge(record: Record, catalog: Catalog) -> Analysis:
    """Judge a record by the scenario and the SLO that it holds itself."""
    try:
        started = record.started
    except ValueError as wrong:
        raise FolderError(f"{wrong}; there is nothing to judge") from None
    scenario = parse.scenario(
        started.text, catalog, source=f"{started.run}/scenario.yaml", stack=started.stack
    )
    slo = parse.slo(started.slo_text, name=scenario.slo, source=f"{started.run}/slo.yaml")
    faults = catalog.load_faults({step.fault for step in scenario.faults})
    return analyze(record, scenario, slo, faults, hold_s(scenario, slo))


def exit_code(record: Record, analysis: Analysis) -> int:
    """An abort for safety is told apart from a failure, so that CI can tell them apart."""
    from harness.model.events import Aborted

    if any(event.by not in ("signal", "error") for event in record.of(Aborted)):
        return ABORTED
    return _CODES[analysis.verdict]

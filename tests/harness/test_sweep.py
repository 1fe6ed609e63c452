"""The smallest severity in words, and what a sweep may claim."""

import pytest

from harness.analyze.sweep import findings, headline, sweep_table
from harness.model.analysis import Verdict
from harness.model.study import Rung, Sighting, Study
from tests.conftest import ROOT, read_scenario

SCENARIO = read_scenario(ROOT / "scenarios" / "core" / "drop_features.yaml")
EXPECTED = "FeatureMissing"
PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL
SEEN = {"s": "seen", "n": "not seen", "u": "unknown"}


def rung(severity, bit=PASS, unclear=""):
    return Rung(severity, f"run-{severity}", PASS, {}, bit, "told", (), unclear)


def swept(answers, alert=EXPECTED, rungs=None):
    """What one alert made of severities 1, 2, ...: s(een), n(ot seen), u(nknown)."""
    rungs = rungs or [rung(n) for n in range(1, len(answers) + 1)]
    seen = [
        {("f-1", alert): Sighting(n, SEEN[letter], None, "it was late")}
        for n, letter in enumerate(answers, 1)
    ]
    return sweep_table(SCENARIO, rungs, seen)


@pytest.mark.parametrize(
    ("answers", "smallest", "said", "verdict"),
    [
        ("nnsss", 3, "severity 3", PASS),
        ("nusss", 3, "severity 3, or less: 2 unknown", PASS),
        ("nsnss", 2, "severity 2, though it missed 3", PASS),
        ("nnnnn", None, "saw none", FAIL),
        ("unnnn", None, "saw none of those known; 1 unknown: it was late", UNKNOWN),
        ("uuuuu", None, "saw none of those known; 1, 2, 3, 4, 5 unknown: it was late", UNKNOWN),
    ],
)
def test_the_smallest_severity_is_no_more_than_what_was_seen(answers, smallest, said, verdict):
    table = swept(answers)
    (monitor,) = table.monitors
    assert (monitor.smallest, monitor.said) == (smallest, said)
    study = Study("s", "sweep", "mine", severities=(1, 2, 3, 4, 5))
    found = findings(study, SCENARIO, table)
    assert [f.verdict for f in found] == [PASS, PASS, verdict]
    assert EXPECTED in headline(table, verdict)


def test_an_alert_that_nobody_counts_on_may_see_none():
    study = Study("s", "sweep", "mine", severities=(1, 2))
    found = findings(study, SCENARIO, swept("nn", alert="QualityDrop"))
    assert Verdict.worst(f.verdict for f in found) is PASS


@pytest.mark.parametrize(
    "rungs",
    [
        [rung(1, bit=UNKNOWN), rung(2)],
        [rung(1, unclear="late"), rung(2)],
        [rung(2)],
        [],
    ],
)
def test_a_severity_that_did_not_bite_or_count_or_run_leaves_it_unknown(rungs):
    study = Study("s", "sweep", "mine", severities=(1, 2))
    table = sweep_table(SCENARIO, rungs, [{} for _ in rungs])
    assert Verdict.worst(f.verdict for f in findings(study, SCENARIO, table)) is UNKNOWN


def test_the_tables_are_in_order_and_the_expected_come_first():
    seen = [
        {("f-1", "Zeta"): Sighting(n, "seen"), ("f-1", EXPECTED): Sighting(n, "not seen")}
        for n in (2, 1)
    ]
    table = sweep_table(SCENARIO, [rung(2), rung(1)], seen)
    assert [r.severity for r in table.rungs] == [1, 2]
    assert [(m.alert, m.expected) for m in table.monitors] == [(EXPECTED, True), ("Zeta", False)]
    assert [s.severity for s in table.monitors[0].sightings] == [1, 2]

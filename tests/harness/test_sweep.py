"""The smallest severity in words, and what a sweep may claim."""

import pytest

from harness.analyze.analyze import analyze
from harness.analyze.oracle import Oracle
from harness.analyze.sweep import findings, headline, rung, sightings, sweep_table
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.model.study import Rung, Sighting, Study
from tests.conftest import ROOT, read_scenario
from tests.harness import records as r
from tests.harness.test_hearing import THROUGHOUT, heard

SCENARIO = read_scenario(ROOT / "scenarios" / "core" / "drop_features.yaml")
EXPECTED = "FeatureMissing"
PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL
SEEN = {"s": "seen", "n": "not seen", "u": "unknown"}


def made(severity, bit=PASS, unclear=""):
    return Rung(severity, f"run-{severity}", PASS, {}, bit, "told", (), unclear)


def swept(answers, alert=EXPECTED, rungs=None):
    """What one alert made of severities 1, 2, ...: s(een), n(ot seen), u(nknown)."""
    rungs = rungs or [made(n) for n in range(1, len(answers) + 1)]
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
        ("uuuuu", None, "could not tell: it was late", UNKNOWN),
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
        [made(1, bit=UNKNOWN), made(2)],
        [made(1, unclear="late"), made(2)],
        [made(2)],
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
    table = sweep_table(SCENARIO, [made(2), made(1)], seen)
    assert [r.severity for r in table.rungs] == [1, 2]
    assert [(m.alert, m.expected) for m in table.monitors] == [(EXPECTED, True), ("Zeta", False)]
    assert [s.severity for s in table.monitors[0].sightings] == [1, 2]


def saw(script, *alerts):
    """What these alerts made of a record whose truth is known."""
    oracle = Oracle(script.record(), r.SLO, r.HOLD_S)
    scenario = r.scenario(script, expect=r.ALL_MARKS)
    analysis = analyze(oracle.record, scenario, r.SLO, r.FAULTS, r.HOLD_S)
    found = sightings(2, oracle, analysis, alerts)
    return rung(2, oracle, analysis, r.FAULTS), [found["spoil-1", alert] for alert in alerts]


def test_an_alert_sees_a_fault_when_it_fires_after_the_injection():
    step, (missing, other) = saw(r.USUAL_RUN, EXPECTED, "TargetDown")
    assert (missing.seen, other.seen) == ("seen", "not seen")
    assert missing.ttd.value_s == pytest.approx(3.1) and other.ttd.censored
    assert step.unclear == "" and step.bit is PASS
    assert step.took[0].outcome == "detected, mitigated" and step.params == {"spoil-1": {}}


def test_an_alert_that_fires_already_has_not_seen_it():
    fires = [
        ev.Alerted(t=r.LOAD_AT_S + at_s, status="firing", labels={"alertname": "Always"},
                   starts_wall_s=1e9)
        for at_s in (20.0, 45.0)
    ]  # fmt: skip
    _, (missing, always) = saw(r.USUAL_RUN.with_(extra=tuple(fires)), EXPECTED, "Always")
    assert (missing.seen, always.seen) == ("seen", "unknown")
    assert "before the injection" in always.because


def test_a_run_that_cannot_tell_saw_nothing_and_missed_nothing():
    script = r.USUAL_RUN.with_(spans=(r.Span(seen=False),))
    step, seen = saw(script, EXPECTED, "TargetDown")
    assert {s.seen for s in seen} == {"unknown"}
    assert step.bit is UNKNOWN and "every fault bit" in step.unclear


def test_an_alert_that_could_not_be_heard_is_not_said_to_have_missed_it():
    inject_s = r.USUAL_RUN.spans[0].at_s
    deaf = r.USUAL_RUN.with_(extra=heard((-2.0, inject_s + 5)))
    _, (missing, other) = saw(deaf, EXPECTED, "TargetDown")
    assert (missing.seen, other.seen) == ("seen", "unknown") and "silent" in other.because
    _, (_, other) = saw(r.USUAL_RUN.with_(extra=THROUGHOUT), EXPECTED, "TargetDown")
    assert other.seen == "not seen"

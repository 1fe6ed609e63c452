"""What the dead-man's alert proves by being heard, and what its silence takes back."""

import numpy as np
import pytest

from harness.analyze.hearing import beats, deaf_from_s, deaf_under_faults, silences
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.model.dead_man import HEARD_EVERY_S, is_dead_man
from harness.model.record import Series
from harness.model.scenario import ExpectMark, ExpectQuiet
from harness.protocols import Notification
from harness.run.observe import Observer
from tests.harness import records as r
from tests.harness.test_checkers import expectation, finding, judge

PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL
L = r.LOAD_AT_S
ALIVE = {"alertname": "SnitchOfOurs", "severity": "none"}
END_S = r.PLACEBO.load_s
BASELINE_S = (10.0, 35.0)
ANY = ExpectMark("detected", 10.0)


def heard(*spans: tuple[float, float], every_s: float = 2.5) -> tuple[ev.Event, ...]:
    """Its notifications in these spans of the load's time."""
    return tuple(
        ev.Alerted(t=L + t, status="firing", labels=ALIVE, starts_wall_s=1e9)
        for low, high in spans
        for t in np.arange(low, high, every_s).tolist()
    )


THROUGHOUT = heard((-2.0, END_S))
SHOWN = Series("ALERTS", {**ALIVE, "alertstate": "firing"}, L + np.arange(60.0), np.ones(60))


def test_it_is_known_by_its_label_and_not_by_its_name() -> None:
    assert is_dead_man(ALIVE) and is_dead_man({"severity": "none", "alertname": "Watchdog"})
    assert not is_dead_man({"alertname": "Watchdog", "severity": "page"})
    assert not is_dead_man({"alertname": "Watchdog"})


def test_it_is_no_noise_and_no_detection_and_was_not_firing_already() -> None:
    alive = r.PLACEBO.with_(extra=THROUGHOUT)
    assert expectation(judge(alive, ExpectQuiet("alerts"))).verdict is PASS
    missed = r.USUAL_RUN.with_(alerts=(), extra=THROUGHOUT, series=(SHOWN,))
    found = expectation(judge(missed, ANY))
    assert found.verdict is FAIL and "not detected" in found.because
    seen = judge(r.USUAL_RUN.with_(extra=THROUGHOUT), ANY)
    assert seen.incidents[0].outcome == "detected, mitigated"
    assert expectation(seen).verdict is PASS


def test_the_alerting_is_alive_where_it_was_heard_in_the_baseline() -> None:
    found = finding(judge(r.USUAL_RUN.with_(extra=THROUGHOUT)), "alerting alive")
    assert found.verdict is PASS and "SnitchOfOurs was heard 41 times" in found.because


def test_nothing_is_claimed_of_a_stack_that_has_none() -> None:
    analysis = judge(r.USUAL_RUN)
    assert not any(f.check == "alerting alive" for f in analysis.findings)
    note = next(n for n in analysis.method if n.number == "no alert")
    assert "assumed" in note.uncertainty


@pytest.mark.parametrize(
    ("spans", "verdict"),
    [
        (((-2.0, END_S),), PASS),
        (((-2.0, 20.0),), UNKNOWN),  # it died in the baseline
        (((-2.0, 12.0), (30.0, END_S)), UNKNOWN),  # it was dead for a while
        (((-2.0, 34.0),), UNKNOWN),  # it died before the injection, as was known after it
        (((-2.0, 36.0),), PASS),  # it died after the injection
        (((40.0, END_S),), UNKNOWN),  # it was never heard before
    ],
)
def test_a_run_whose_alerting_was_dead_before_the_fault_is_not_known(spans, verdict) -> None:
    analysis = judge(r.USUAL_RUN.with_(extra=heard(*spans)))
    assert finding(analysis, "alerting alive").verdict is verdict
    assert analysis.verdict is verdict


def test_one_that_fires_and_is_never_heard_is_a_dead_one() -> None:
    record = r.USUAL_RUN.with_(alerts=(), series=(SHOWN,))
    analysis = judge(record, r.DETECTED)
    assert finding(analysis, "alerting alive").verdict is UNKNOWN
    assert expectation(analysis).verdict is UNKNOWN


@pytest.mark.parametrize(
    ("last_s", "verdict", "words"),
    [
        (END_S, FAIL, "not detected in"),
        (37.0, UNKNOWN, "not known to be detected"),  # deaf before the bound of 10 s
        (60.0, FAIL, "not detected in"),  # deaf only long after it
    ],
)
def test_not_detected_is_not_known_once_the_alerting_is_silent(last_s, verdict, words) -> None:
    quiet = r.USUAL_RUN.with_(alerts=(), extra=heard((-2.0, last_s)))
    analysis = judge(quiet, r.DETECTED)
    found = expectation(analysis)
    assert found.verdict is verdict and words in found.because
    mark = analysis.incidents[0].mark("t_detect")
    assert mark is not None and mark.at is not None and mark.at.censored
    assert ("fell silent" in mark.how) == (last_s < END_S)
    told = [m.what for m in analysis.timeline if "SnitchOfOurs" in m.what]
    assert len(told) == (1 if last_s == END_S else 2)


def test_an_alert_that_came_counts_whatever_died_after_it() -> None:
    analysis = judge(r.USUAL_RUN.with_(extra=heard((-2.0, 41.0))), r.DETECTED)
    assert expectation(analysis).verdict is PASS
    because = finding(analysis, "alerting alive").because
    assert "not any more from +" in because


def test_quiet_is_not_known_while_nothing_could_be_heard() -> None:
    deaf = r.PLACEBO.with_(extra=heard((-2.0, 50.0), (80.0, END_S)))
    found = expectation(judge(deaf, ExpectQuiet("alerts")))
    assert found.verdict is UNKNOWN and "SnitchOfOurs" in found.because
    loud = deaf.with_(alerts=((39.0, "firing"),))
    assert expectation(judge(loud, ExpectQuiet("alerts"))).verdict is FAIL


def test_a_silence_runs_from_the_last_time_it_was_heard() -> None:
    record = r.PLACEBO.with_(extra=heard((-2.0, 20.0), (40.0, END_S))).record()
    last_s = max(t for t in beats(record) if t < L + 20)
    assert silences(record) == [(last_s, L + 40.0)]
    assert deaf_from_s(record, L, L + END_S) == last_s
    assert deaf_from_s(record, L + 30, L + END_S) == L + 30
    assert deaf_from_s(record, L + 41, L + END_S) is None


def test_while_the_stack_comes_up_nothing_need_be_heard() -> None:
    record = r.PLACEBO.with_(extra=heard((9.0, END_S))).record()
    assert record.load_start_s == L and silences(record) == []
    late = r.PLACEBO.with_(extra=heard((11.0, END_S))).record()
    assert silences(late) == [(L, L + 11.0)]


class Clocked:
    """A log that only keeps time."""

    def __init__(self) -> None:
        self.t = 0.0

    def now(self) -> float:
        return self.t

    def append(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Alerted)


def test_while_it_runs_it_is_in_nobodys_way_and_its_silence_is_noticed() -> None:
    log = Clocked()
    seen = Observer(None, log)  # type: ignore[arg-type]
    log.t = 3 * HEARD_EVERY_S
    assert seen.deaf_s == 0  # nothing is known of a stack that may have none
    seen.notified(Notification("firing", ALIVE, 0.0))
    assert seen.firing == {} and seen.deaf_s == 0
    seen.notified(Notification("firing", {"alertname": "FeatureMissing"}, 0.0))
    assert len(seen.firing) == 1
    log.t += HEARD_EVERY_S + 1
    seen.notified(Notification("resolved", ALIVE, 0.0))  # the rules are gone: that is not heard
    assert seen.deaf_s == HEARD_EVERY_S + 1
    seen.notified(Notification("firing", ALIVE, 0.0))
    assert seen.deaf_s == 0


def test_under_the_faults_it_says_from_when_an_alert_might_not_have_been_heard() -> None:
    inject_s = r.USUAL_RUN.spans[0].at_s
    assert deaf_under_faults(r.USUAL_RUN.with_(extra=THROUGHOUT).record()) == ""
    assert deaf_under_faults(r.USUAL_RUN.record()) == "", "a stack without one claims nothing"
    deaf = r.USUAL_RUN.with_(extra=heard((-2.0, inject_s + 5))).record()
    assert "after the injection on" in deaf_under_faults(deaf)
    assert deaf_under_faults(r.PLACEBO.with_(extra=heard((-2.0, 20.0))).record()) == ""

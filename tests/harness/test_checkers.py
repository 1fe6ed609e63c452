from dataclasses import replace

import numpy as np
import pytest

from harness.analyze.analyze import analyze, utc
from harness.analyze.checkers import guarded
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.model.record import Record, Requests
from harness.model.rows import ROW
from harness.model.scenario import Bound, ExpectMark, ExpectQuiet, ExpectSli, Mode
from harness.model.slo import Objective
from tests.harness import records as r

L = r.LOAD_AT_S
PASS, UNKNOWN, FAIL = Verdict
BUILT_IN = {
    "every fault bit",
    "everything healed",
    "steady before injection",
    "trial valid",
    "harness kept pace",
    "record complete",
    "not aborted",
}
QUIET = (ExpectQuiet("alerts"), ExpectQuiet("actions"))


def judge(script, *expect, record=None, slo=r.SLO, faults=r.FAULTS, absorbed_ok=False):
    scenario = r.scenario(script, expect=expect, placebo=not script.spans, absorbed_ok=absorbed_ok)
    return analyze(record or script.record(), scenario, slo, faults, r.HOLD_S)


def finding(analysis, check):
    return next(f for f in analysis.findings if f.check.startswith(check))


def expectation(analysis):
    return next(f for f in analysis.findings if f.kind == "expectation")


def without(script, *kinds, requests=True, series=True):
    record = script.record()
    events = tuple(e for e in record.events if not isinstance(e, kinds))
    return Record(
        events,
        record.requests if requests else record.requests.between(0, 0),
        record.series if series else (),
    )


# ---- the whole


def test_a_usual_run_passes():
    found = judge(r.USUAL_RUN, *r.ALL_MARKS)
    assert found.verdict is PASS
    assert {f.check for f in found.findings if f.kind == "built-in"} == BUILT_IN
    assert found.headline == "PASS: detected in 3.1 s, mitigated in 4.6 s, recovered in 37.6 s"


def test_a_placebo_passes():
    found = judge(r.PLACEBO, *QUIET)
    assert found.verdict is PASS and found.placebo and not found.incidents
    assert found.headline == "PASS: nothing was broken, and no alert fired"


def test_never_mitigated_is_said_in_the_headline():
    script = r.Script(stretches=(r.Stretch(37.0, 66.6, wrong=0.12),), alerts=((39.5, "firing"),))
    found = judge(script, *r.ALL_MARKS)
    assert found.verdict is FAIL
    assert found.headline.startswith(
        "FAIL: detected in 3.1 s, never mitigated while the fault was in force"
    )


def test_an_undetected_fault_fails():
    found = judge(r.USUAL_RUN.with_(alerts=()), *r.ALL_MARKS)
    assert finding(found, "detected").verdict is FAIL
    assert found.headline.startswith("FAIL: not detected")


# ---- no data is never a pass

EMPTY = Record((), Requests(np.zeros(0, ROW), np.zeros(0, bool), np.zeros(0, bool)))
EVERY_EXPECTATION = (
    *r.ALL_MARKS,
    *QUIET,
    *(
        ExpectSli(mode, sli, Bound("at_least", 0.0), phase)
        for mode in Mode
        for sli in ("success_ratio", "recall", "latency_p99_ms", "sent_per_s")
        for phase in ("baseline", "fault", "recovery")
    ),
    ExpectSli(Mode.OVERALL, "latency_p99_ms", Bound("at_most", 9.0, times_baseline=True)),
)


@pytest.mark.parametrize("script", [r.USUAL_RUN, r.PLACEBO], ids=["fault", "placebo"])
def test_an_empty_record_passes_nothing(script):
    found = judge(script, *EVERY_EXPECTATION, record=EMPTY)
    assert found.verdict >= UNKNOWN
    assert all(f.verdict >= UNKNOWN for f in found.findings), found.findings


def test_a_record_without_requests_passes_nothing_about_users():
    found = judge(r.USUAL_RUN, *EVERY_EXPECTATION, record=without(r.USUAL_RUN, requests=False))
    may_pass = {"everything healed", "steady before injection", "not aborted"}
    assert all(f.verdict >= UNKNOWN for f in found.findings if f.check not in may_pass)
    assert found.verdict >= UNKNOWN
    assert found.incidents[0].outcome == "invalid"


@pytest.mark.parametrize("share", [*np.arange(0, 1, 0.05).tolist(), "all but the last"])
def test_a_record_torn_anywhere_is_never_a_pass(share):
    record = r.USUAL_RUN.record()
    keep = -1 if isinstance(share, str) else int(share * len(record.events))
    events = record.events[:keep]
    until_s = events[-1].t if events else 0.0
    torn = Record(events, record.requests.between(0, until_s), record.series)
    for expect in (r.ALL_MARKS, QUIET, ()):
        assert judge(r.USUAL_RUN, *expect, record=torn).verdict >= UNKNOWN


def test_no_answers_at_all_are_not_a_pass():
    assert Verdict.worst(()) is UNKNOWN


def test_a_checker_that_raises_does_not_know():
    class Broken:
        name = "broken"

        def check(self, record):
            raise ZeroDivisionError("oh")

    found = guarded(Broken(), EMPTY)
    assert found.verdict is UNKNOWN and "oh" in found.because


def test_evidence_that_raises_is_unknown():
    class Raising(r.Spoil):
        def evidence(self, before, during):
            raise RuntimeError("no such column")

    found = finding(judge(r.USUAL_RUN, faults={"spoil": Raising}), "every fault bit")
    assert found.verdict is UNKNOWN and "no such column" in found.because


# ---- the built-in checks


def test_a_fault_without_evidence_is_unknown():
    found = judge(r.USUAL_RUN.with_(spans=(r.Span(seen=False),)), *r.ALL_MARKS)
    assert finding(found, "every fault bit").verdict is UNKNOWN
    assert found.verdict is UNKNOWN


def test_a_fault_that_never_took_hold_is_unknown():
    found = judge(r.USUAL_RUN.with_(spans=(r.Span(injected=False),)), *r.ALL_MARKS)
    assert found.verdict is UNKNOWN
    assert all(f.verdict is UNKNOWN for f in found.findings if f.kind == "expectation")


def test_a_fault_that_was_never_begun_is_unknown():
    found = judge(r.USUAL_RUN, record=r.PLACEBO.record())
    assert finding(found, "every fault bit").verdict is UNKNOWN


def test_a_fault_whose_code_is_missing_is_unknown():
    found = judge(r.USUAL_RUN, faults={})
    assert finding(found, "every fault bit").verdict is UNKNOWN


def test_what_was_not_healed_fails():
    found = judge(r.USUAL_RUN.with_(spans=(r.Span(healed=False),)))
    assert finding(found, "everything healed").verdict is FAIL


def test_a_step_that_failed_is_unknown_even_if_healed():
    failed = (ev.FaultFailed(t=L + 66.5, id="spoil-1", stage="heal", error="it took too long"),)
    found = finding(judge(r.USUAL_RUN.with_(extra=failed)), "everything healed")
    assert found.verdict is UNKNOWN and "too long" in found.because


def test_a_changed_configuration_fails_and_a_missing_print_is_unknown():
    changed = (ev.Fingerprinted(t=L + 99.5, when="after", parts={"route": "z", "rules": "b"}),)
    found = finding(judge(r.USUAL_RUN.with_(extra=changed)), "everything healed")
    assert found.verdict is FAIL and "route" in found.because
    gone = without(r.USUAL_RUN, ev.Fingerprinted)
    assert finding(judge(r.USUAL_RUN, record=gone), "everything healed").verdict is UNKNOWN


def test_a_placebo_needs_no_prints_but_may_not_change_any():
    gone = without(r.PLACEBO, ev.Fingerprinted)
    assert finding(judge(r.PLACEBO, record=gone), "everything healed").verdict is PASS
    changed = (ev.Fingerprinted(t=L + 99.5, when="after", parts={"route": "z"}),)
    script = r.PLACEBO.with_(extra=changed)
    assert finding(judge(script), "everything healed").verdict is FAIL


@pytest.mark.parametrize(
    ("late", "verdict"),
    [
        (((20.0, 20.5, 0.3),), PASS),  # half a second: 0.5 % of requests, away from any mark
        (((20.0, 24.0, 0.3),), UNKNOWN),  # 4 %
        (((36.3, 36.45, 0.3),), UNKNOWN),  # across the injection
        (((40.9, 40.95, 0.3),), UNKNOWN),  # across the mitigation
        (((20.0, 60.0, 0.09),), PASS),
    ],
)
def test_pace_is_kept_or_the_verdict_is_unknown(late, verdict):
    found = judge(r.USUAL_RUN.with_(late=late))
    assert finding(found, "harness kept pace").verdict is verdict


def test_missing_rows_are_unknown_unless_the_run_was_aborted():
    record = r.USUAL_RUN.record()
    fewer = Record(record.events, record.requests.between(0, L + 90), record.series)
    found = finding(judge(r.USUAL_RUN, record=fewer), "record complete")
    assert found.verdict is UNKNOWN and "requests" in found.because
    abort = ev.Aborted(t=L + 90, by="signal", because="Ctrl-C")
    aborted = Record((*record.events, abort), fewer.requests, record.series)
    analysis = judge(r.USUAL_RUN, record=aborted)
    assert finding(analysis, "record complete").verdict is PASS
    assert finding(analysis, "not aborted").verdict is UNKNOWN


@pytest.mark.parametrize("kind", [ev.RunStarted, ev.RunFinished, ev.LoadStarted])
def test_a_record_without_its_ends_is_unknown(kind):
    found = judge(r.USUAL_RUN, record=without(r.USUAL_RUN, kind))
    assert finding(found, "record complete").verdict is UNKNOWN


def test_the_series_must_be_there_unless_the_stack_has_none():
    lost = without(r.USUAL_RUN, series=False)
    assert finding(judge(r.USUAL_RUN, record=lost), "record complete").verdict is UNKNOWN
    unasked = without(r.USUAL_RUN, ev.Exported)
    assert finding(judge(r.USUAL_RUN, record=unasked), "record complete").verdict is UNKNOWN
    assert finding(judge(r.USUAL_RUN.with_(series=())), "record complete").verdict is PASS


@pytest.mark.parametrize("script", [r.USUAL_RUN, r.PLACEBO])
def test_the_gate_must_have_let_it_pass(script):
    refused = finding(judge(script.with_(gate_passed=False)), "steady before injection")
    assert refused.verdict is UNKNOWN
    asked_late = script.with_(extra=(ev.Gated(t=L + 60, passed=True, because="fine"),))
    record = without(asked_late, ev.Gated)
    late = Record((*record.events, *asked_late.extra), record.requests, record.series)
    if script.spans:
        found = finding(judge(script, record=late), "steady before injection")
        assert found.verdict is UNKNOWN
    unasked = judge(script, record=without(script, ev.Gated))
    assert finding(unasked, "steady before injection").verdict is UNKNOWN


@pytest.mark.parametrize(
    ("by", "verdict"),
    [
        ("guard", FAIL),
        ("signal", UNKNOWN),
        ("gate", UNKNOWN),
        ("guardian", UNKNOWN),
        ("error", UNKNOWN),
    ],
)
def test_an_abort_is_never_a_pass(by, verdict):
    found = judge(r.USUAL_RUN.with_(extra=(ev.Aborted(t=L + 50, by=by, because="enough"),)))
    assert finding(found, "not aborted").verdict is verdict


def test_an_objective_that_cannot_be_measured_is_unknown():
    odd = replace(r.SLO, objectives=(Objective("slow", "Slow", "latency_p99_ms", 0.99),))
    found = finding(judge(r.USUAL_RUN, slo=odd), "trial valid")
    assert found.verdict is UNKNOWN and "slow" in found.because


def test_an_invalid_trial_is_unknown():
    found = judge(r.USUAL_RUN.with_(spans=(r.Span(blur_s=2.0),)), *r.ALL_MARKS)
    assert finding(found, "trial valid").verdict is UNKNOWN
    assert finding(found, "mitigated").verdict is UNKNOWN


@pytest.mark.parametrize("phase", ["baseline", "fault", "recovery"])
def test_every_phase_that_marks_are_read_from_must_be_measured(phase):
    assert phase in finding(judge(r.USUAL_RUN), "trial valid").because
    record = r.USUAL_RUN.record()
    start_s, end_s = record.phases[phase]
    gappy = without_requests(record, start_s + 2.0, end_s - 2.0)
    found = finding(judge(r.USUAL_RUN, record=gappy), "trial valid")
    assert found.verdict is UNKNOWN and phase in found.because
    empty = finding(judge(r.USUAL_RUN, record=without_requests(record, start_s, end_s)), "trial")
    assert empty.verdict is UNKNOWN and "too few" in empty.because


def without_requests(record, start_s, end_s):
    """The record without the requests due in [start_s, end_s)."""
    due_s, had = record.requests.due_s, record.requests
    kept = (due_s < start_s) | (due_s >= end_s)
    return Record(
        record.events,
        Requests(had.rows[kept], had.label[kept], had.golden[kept]),
        record.series,
    )


# ---- missing data is no failure


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.4, 0.45, 0.5, 0.7, 0.9])
def test_lost_requests_never_make_a_usual_run_fail(keep):
    record = r.USUAL_RUN.record()
    until_s = L + keep * r.USUAL_RUN.load_s
    fewer = Record(record.events, record.requests.between(0, until_s), record.series)
    found = judge(r.USUAL_RUN, *EVERY_GOOD_EXPECTATION, record=fewer)
    assert found.verdict is UNKNOWN, [f for f in found.findings if f.verdict is FAIL]


EVERY_GOOD_EXPECTATION = (
    *r.ALL_MARKS,
    *(
        ExpectSli(Mode.OVERALL, "sent_per_s", Bound("at_least", 100.0), phase)
        for phase in ("baseline", "fault", "recovery")
    ),
    ExpectSli(Mode.EVENTUALLY, "paired_correctness", Bound("at_least", 0.97)),
    ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 0.99), "recovery"),
)


def test_what_every_good_expectation_says_holds_in_the_whole_record():
    assert judge(r.USUAL_RUN, *EVERY_GOOD_EXPECTATION).verdict is PASS


def test_from_when_on_data_is_missing_is_said():
    record = r.USUAL_RUN.record()
    fewer = Record(record.events, record.requests.between(0, L + 50), record.series)
    found = judge(r.USUAL_RUN, *r.ALL_MARKS, record=fewer)
    for mark in ("mitigated", "recovered"):
        said = finding(found, mark)
        assert said.verdict is UNKNOWN
        assert "no data" in said.because and "from +13.6 s on" in said.because


@pytest.mark.parametrize("lost", ["export", "series"])
def test_no_detection_is_not_known_when_the_series_are_lost(lost):
    quiet = r.USUAL_RUN.with_(alerts=())
    assert finding(judge(quiet, r.DETECTED), "detected").verdict is FAIL
    gone = without(quiet, ev.Exported) if lost == "export" else without(quiet, series=False)
    found = finding(judge(quiet, r.DETECTED, record=gone), "detected")
    assert found.verdict is UNKNOWN and "series" in found.because


@pytest.mark.parametrize(
    ("held", "words"), [(False, "had lapsed when"), (None, "was not known to be in force when")]
)
def test_a_fault_that_lapsed_before_its_heal_never_passes(held, words):
    script = r.USUAL_RUN.with_(spans=(r.Span(held=held),))
    found = finding(judge(script, r.DETECTED), "every fault bit")
    assert found.verdict is UNKNOWN and words in found.because


# ---- a run that was aborted


def aborted(script, at_s, *, by="signal", healed=True, route="z"):
    """The script as if it had been aborted: all that came after ``at_s`` never happened."""
    record = script.record()
    now_s, kinds = L + at_s, ev.FaultHealing | ev.FaultHealed | ev.LoadFinished
    events = [e for e in record.events if e.t < now_s and not isinstance(e, kinds)]
    end = [ev.Aborted(t=now_s, by=by, because="enough"), ev.FaultHealing(t=now_s, id="spoil-1")]
    if healed:
        end.append(ev.FaultHealed(t=now_s + 0.3, id="spoil-1"))
    end += [
        ev.LoadFinished(t=now_s + 0.4, facts={}),
        ev.Fingerprinted(t=now_s + 0.5, when="after", parts={"route": route, "rules": "b"}),
        ev.Exported(t=now_s + 0.6, series=len(record.series)),
        ev.RunFinished(t=now_s + 1.0),
    ]
    return Record((*events, *end), record.requests.between(0, now_s), record.series)


MISSED = (
    ExpectSli(Mode.EVENTUALLY, "paired_correctness", Bound("at_least", 0.97)),
    ExpectSli(Mode.ALWAYS, "paired_correctness", Bound("at_least", 0.97)),
    ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 0.99)),
    ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 0.99), "recovery"),
)


@pytest.mark.parametrize("by", ["signal", "error", "guardian", "guard"])
def test_a_phase_that_was_cut_off_is_not_judged(by):
    found = judge(r.USUAL_RUN, *r.ALL_MARKS, *MISSED, record=aborted(r.USUAL_RUN, 40.0, by=by))
    lines = [f for f in found.findings if f.kind == "expectation"]
    assert [f.verdict for f in lines] == [PASS, UNKNOWN, UNKNOWN] + [UNKNOWN] * len(MISSED)
    assert "cut off after 5.0 s" in lines[3].because
    assert found.verdict is (FAIL if by == "guard" else UNKNOWN)
    assert found.incidents[0].outcome == "aborted"


def test_a_phase_that_was_over_before_the_abort_is_judged():
    expect = ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 1.01), "baseline")
    found = judge(r.USUAL_RUN, expect, record=aborted(r.USUAL_RUN, 40.0))
    assert expectation(found).verdict is FAIL


def test_a_record_that_ends_in_a_phase_leaves_it_unjudged():
    record = r.USUAL_RUN.record()
    events = tuple(e for e in record.events if e.t < L + 40)
    torn = Record(events, record.requests.between(0, L + 40), record.series)
    found = judge(r.USUAL_RUN, *MISSED, record=torn)
    assert {f.verdict for f in found.findings if f.kind == "expectation"} == {UNKNOWN}


def test_what_an_aborted_run_left_different_is_named_and_not_a_failure():
    found = finding(judge(r.USUAL_RUN, record=aborted(r.USUAL_RUN, 40.0)), "everything healed")
    assert found.verdict is UNKNOWN and "route" in found.because
    same = aborted(r.USUAL_RUN, 40.0, route="a")
    assert finding(judge(r.USUAL_RUN, record=same), "everything healed").verdict is PASS


@pytest.mark.parametrize("mark", [r.MITIGATED, r.RECOVERED])
def test_a_run_aborted_before_anybody_was_hurt_absorbed_nothing(mark):
    found = judge(r.Script(), mark, record=aborted(r.Script(), 60.0), absorbed_ok=True)
    assert found.incidents[0].outcome == "aborted"
    assert expectation(found).verdict is UNKNOWN


def test_a_fault_that_an_aborted_run_left_is_a_failure():
    left = aborted(r.USUAL_RUN, 40.0, healed=False)
    assert finding(judge(r.USUAL_RUN, record=left), "everything healed").verdict is FAIL


# ---- marks against their bounds


@pytest.mark.parametrize(
    ("within_s", "verdict"), [(3.0, FAIL), (3.12, UNKNOWN), (3.2, PASS), (10.0, PASS)]
)
def test_a_bound_inside_the_interval_is_unknown(within_s, verdict):
    found = judge(r.USUAL_RUN, ExpectMark("detected", within_s, r.DETECTED.by))
    assert expectation(found).verdict is verdict


def test_a_censored_time_fails_a_bound_it_is_certainly_past():
    unmitigated = r.Script(stretches=(r.Stretch(37.0, 66.6, wrong=0.12),))
    assert expectation(judge(unmitigated, ExpectMark("mitigated", 20.0))).verdict is FAIL
    assert expectation(judge(unmitigated, ExpectMark("mitigated", 40.0))).verdict is UNKNOWN


def test_each_detection_line_has_its_own_matchers():
    other = {"alertname": "QualityDrop"}
    script = r.USUAL_RUN.with_(
        extra=(ev.Alerted(t=L + 45, status="firing", labels=other, starts_wall_s=0.0),)
    )
    found = judge(script, r.DETECTED, ExpectMark("detected", 5.0, other))
    assert [f.verdict for f in found.findings[:2]] == [PASS, FAIL]


@pytest.mark.parametrize(("ok", "verdict"), [(True, PASS), (False, UNKNOWN)])
@pytest.mark.parametrize("mark", [r.MITIGATED, r.RECOVERED])
def test_an_absorbed_fault_keeps_a_bound_only_if_the_scenario_allows(ok, verdict, mark):
    found = judge(r.Script(), mark, absorbed_ok=ok)
    assert found.incidents[0].outcome == "absorbed"
    assert expectation(found).verdict is verdict


def test_a_placebo_has_nothing_to_time():
    assert expectation(judge(r.PLACEBO, r.DETECTED)).verdict is UNKNOWN


def test_the_worst_of_several_incidents_answers():
    script = r.Script(
        spans=(r.Span(36.4, 46.4), r.Span(56.4, 66.4, id="spoil-2")),
        alerts=((37.0, "firing"), (50.0, "resolved")),
    )
    assert expectation(judge(script, r.DETECTED)).verdict is FAIL


# ---- indicators against their bounds

HURT = r.Script(stretches=(r.Stretch(37.0, 47.0, error=0.5),))


@pytest.mark.parametrize(
    ("mode", "side", "value", "phase", "verdict"),
    [
        (Mode.OVERALL, "at_least", 0.99, "baseline", PASS),
        (Mode.OVERALL, "at_least", 0.99, "fault", FAIL),
        (Mode.OVERALL, "at_least", 0.7, "fault", PASS),
        (Mode.ALWAYS, "at_least", 0.9, "fault", FAIL),
        (Mode.ALWAYS, "at_least", 0.2, "fault", PASS),
        (Mode.EVENTUALLY, "at_least", 0.99, "fault", PASS),
        (Mode.EVENTUALLY, "at_most", 0.9, "fault", FAIL),
        (Mode.SOMETIMES, "at_most", 0.7, "fault", PASS),
        (Mode.SOMETIMES, "at_most", 0.7, "recovery", FAIL),
    ],
)
def test_the_four_modes(mode, side, value, phase, verdict):
    expect = ExpectSli(mode, "success_ratio", Bound(side, value), phase)
    assert expectation(judge(HURT, expect)).verdict is verdict


def test_eventually_says_from_when():
    expect = ExpectSli(Mode.EVENTUALLY, "success_ratio", Bound("at_least", 0.99))
    assert "from +12 s" in expectation(judge(HURT, expect)).because


@pytest.mark.parametrize(("times", "verdict"), [(3.0, FAIL), (60.0, PASS)])
def test_a_limit_may_be_a_multiple_of_the_baseline(times, verdict):
    slow = r.Script(stretches=(r.Stretch(36.4, 66.0, took_s=0.2),))
    expect = ExpectSli(Mode.OVERALL, "latency_p50_ms", Bound("at_most", times, times_baseline=True))
    assert expectation(judge(slow, expect)).verdict is verdict


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(Mode.ALWAYS, UNKNOWN), (Mode.EVENTUALLY, PASS), (Mode.SOMETIMES, PASS)],
)
def test_seconds_without_data_do_not_count_as_good(mode, verdict):
    out = r.Script(stretches=(r.Stretch(37.0, 47.0, error=1.0),))
    expect = ExpectSli(mode, "paired_correctness", Bound("at_least", 0.5))
    assert expectation(judge(out, expect)).verdict is verdict


HEALED_EARLY = r.Script(spans=(r.Span(heal_s=65.7),), stretches=(r.Stretch(37.0, 65.7, error=0.5),))


def test_what_came_with_the_heal_does_not_count_as_under_the_fault():
    # The fault phase runs on for 1.3 s past the heal, and in its last second all is well.
    expect = ExpectSli(Mode.EVENTUALLY, "success_ratio", Bound("at_least", 0.97))
    found = expectation(judge(HEALED_EARLY, expect))
    assert found.verdict is FAIL
    assert "until the heal at +30.7 s" in found.because
    until_end = r.Script(stretches=(r.Stretch(37.0, 99.0, error=0.5),))
    assert "until the heal" not in expectation(judge(until_end, expect)).because


def test_the_phases_measure_ends_at_the_heal_too():
    script = r.Script(stretches=(r.Stretch(r.HEAL_AT_S, 99.0, error=1.0),))
    by_name = {m.sli: m for m in judge(script).measures}
    assert by_name["success_ratio"].by_phase["fault"] == 1.0
    assert by_name["success_ratio"].by_phase["recovery"] == 0.0


def test_the_first_heal_ends_the_fault_phase():
    script = r.Script(
        spans=(r.Span(36.4, 46.4), r.Span(48.4, 66.4, id="spoil-2")),
        stretches=(r.Stretch(46.5, 66.0, error=1.0),),
    )
    expect = ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 0.99))
    found = expectation(judge(script, expect))
    assert found.verdict is PASS and "+11.4 s" in found.because


def test_at_least_a_multiple_of_nothing_says_nothing():
    expect = ExpectSli(
        Mode.OVERALL, "fallback_share", Bound("at_least", 0.5, times_baseline=True), "fault"
    )
    assert expectation(judge(r.USUAL_RUN, expect)).verdict is UNKNOWN


def test_requests_without_an_answer_say_nothing_of_how_right_it_was():
    out = r.Script(stretches=(r.Stretch(30.0, 70.0, error=1.0),))
    expect = ExpectSli(Mode.OVERALL, "paired_correctness", Bound("at_least", 0.5))
    assert expectation(judge(out, expect)).verdict is UNKNOWN


def test_no_data_at_the_end_is_not_eventually():
    out = r.Script(stretches=(r.Stretch(60.0, 70.0, error=1.0),))
    expect = ExpectSli(Mode.EVENTUALLY, "paired_correctness", Bound("at_least", 0.5))
    assert expectation(judge(out, expect)).verdict is UNKNOWN


# ---- quiet


def test_an_alert_breaks_the_quiet_unless_allowed():
    loud = r.PLACEBO.with_(alerts=((39.0, "firing"),))
    assert expectation(judge(loud, ExpectQuiet("alerts"))).verdict is FAIL
    allowed = ExpectQuiet("alerts", ("FeatureMissing",))
    assert expectation(judge(loud, allowed)).verdict is PASS


def test_an_alert_seen_only_in_the_series_breaks_the_quiet():
    series = (r.alerts_series(r.USUAL_RUN),)
    found = judge(r.PLACEBO.with_(series=series), ExpectQuiet("alerts"))
    assert expectation(found).verdict is FAIL


def test_an_action_breaks_the_quiet():
    acted = r.PLACEBO.with_(actions=((39.0, "route_to_baseline"),))
    assert expectation(judge(acted, ExpectQuiet("actions"))).verdict is FAIL
    assert expectation(judge(r.PLACEBO, ExpectQuiet("actions"))).verdict is PASS


def test_quiet_is_not_known_when_nobody_watched():
    alerts = ExpectQuiet("alerts")
    assert expectation(judge(r.PLACEBO, alerts)).verdict is PASS
    t = L + np.arange(0.0, 60.0)
    died = r.PLACEBO.with_(series=(r.Series("up", {}, t, np.ones(60)),))
    found = expectation(judge(died, alerts))
    assert found.verdict is UNKNOWN and "nothing was watching" in found.because
    for unseen in (r.PLACEBO.with_(series=()), r.PLACEBO):
        record = without(unseen, series=False)
        assert expectation(judge(unseen, alerts, record=record)).verdict is UNKNOWN
    unasked = without(r.PLACEBO, ev.Exported)
    assert expectation(judge(r.PLACEBO, alerts, record=unasked)).verdict is UNKNOWN


@pytest.mark.parametrize(("at_s", "verdict"), [(50.0, PASS), (99.5, UNKNOWN)])
def test_no_actions_is_not_known_when_the_trail_was_not_read_to_its_end(at_s, verdict):
    note = ev.Noted(t=L + at_s, who="harness", text="audit failed: StackError: gone")
    found = expectation(judge(r.PLACEBO.with_(extra=(note,)), ExpectQuiet("actions")))
    assert found.verdict is verdict


def test_a_run_that_was_aborted_was_not_quiet_to_its_end():
    stop = ev.Aborted(t=L + 60, by="signal", because="Ctrl-C")
    for what in ("alerts", "actions"):
        found = expectation(judge(r.PLACEBO.with_(extra=(stop,)), ExpectQuiet(what)))
        assert found.verdict is UNKNOWN


def test_a_gap_in_the_audit_trail_is_an_incomplete_record():
    tries = r.USUAL_RUN.with_(actions=((39.6, "a"), (50.0, "b"), (74.0, "c")))
    assert finding(judge(tries), "record complete").verdict is PASS
    record = tries.record()
    events = tuple(e for e in record.events if not (isinstance(e, ev.Acted) and e.seq == 2))
    gappy = Record(events, record.requests, record.series)
    assert finding(judge(tries, record=gappy), "record complete").verdict is UNKNOWN


def test_prints_of_nothing_are_no_prints():
    blank = tuple(
        ev.Fingerprinted(t=L + t, when=when, parts={})
        for t, when in ((34.2, "before"), (99.2, "after"))
    )
    found = finding(judge(r.USUAL_RUN.with_(extra=blank)), "everything healed")
    assert found.verdict is UNKNOWN


# ---- what a report is given


def test_measures_cover_every_second_and_carry_their_target():
    found = judge(r.USUAL_RUN)
    by_name = {m.sli: m for m in found.measures}
    assert len(by_name["success_ratio"].by_second) == 99
    assert by_name["success_ratio"].target == 0.99
    assert by_name["latency_p99_ms"].target is None
    assert by_name["paired_correctness"].by_second[38] < 0.97
    assert set(by_name["recall"].by_phase) == {"warmup", "baseline", "fault", "recovery"}


def test_traces_have_no_nan_and_no_histogram_buckets():
    t = L + np.arange(3.0)
    gap = r.Series("g", {"a": "b"}, t, np.array([1.0, np.nan, 2.0]))
    bucket = r.Series("x_bucket", {"le": "1"}, t, np.ones(3))
    found = judge(r.PLACEBO.with_(series=(gap, bucket)))
    assert [trace.name for trace in found.traces] == ["g"]
    assert found.traces[0].value == (1.0, None, 2.0)


def test_the_timeline_is_in_order_and_says_where_it_stands():
    found = judge(r.USUAL_RUN, *r.ALL_MARKS)
    assert [m.t for m in found.timeline] == sorted(m.t for m in found.timeline)
    assert {m.kind for m in found.timeline} >= {"phase", "fault", "alert", "action", "mark"}
    assert all(m.source for m in found.timeline)


def test_every_number_says_how_it_was_obtained():
    found = judge(r.USUAL_RUN, *r.ALL_MARKS)
    numbers = " ".join(note.number for note in found.method)
    for what in ("t_impact", "mitigation", "recovery", "send lag", "clock", "monitoring"):
        assert what in numbers
    assert all(note.how and note.uncertainty for note in found.method)


def test_facts_are_words():
    found = judge(r.USUAL_RUN).facts
    assert found["version python"] == "3.11"
    assert found["machine cpus"] == "2"
    assert all(isinstance(v, str) for v in found.values())


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (951_782_400.0, "2000-02-29T00:00:00Z"),
        (1_356_998_399.9, "2012-12-31T23:59:59Z"),
        (1_400_000_000.0, "2014-05-13T16:53:20Z"),
    ],
)
def test_unix_time_is_spelt_without_a_clock(wall_s, text):
    assert utc(wall_s) == text

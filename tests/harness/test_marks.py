import re
import time
from dataclasses import replace

import numpy as np
import pytest

from harness.analyze.analyze import analyze
from harness.analyze.dating import Stretch, date, harmful
from harness.analyze.incidents import incidents
from harness.analyze.oracle import Oracle
from harness.analyze.slis import OracleEvents
from harness.model import events as ev
from harness.model.record import Record, Requests, Series
from harness.model.rows import ERROR
from tests.harness import records as r

L = r.LOAD_AT_S
INJECT_S, HEAL_S = L + r.FAULT_AT_S, L + r.HEAL_AT_S
END_S = L + r.USUAL_RUN.load_s


def incident(script, *, expect=r.ALL_MARKS, hold_s=r.HOLD_S, slo=r.SLO):
    oracle = Oracle(script.record(), slo, hold_s)
    return incidents(oracle, r.scenario(script, expect=expect))[0]


def at(found, mark):
    return found.mark(mark).at


def within(estimate, truth_s, slack_s=0.0):
    assert not estimate.censored
    assert estimate.low_s <= estimate.value_s <= estimate.high_s
    assert estimate.low_s - slack_s <= truth_s <= estimate.high_s + slack_s
    return True


def test_a_usual_run_has_every_mark_where_it_was_put():
    found = incident(r.USUAL_RUN)
    assert found.outcome == "detected, mitigated"
    assert found.objective == "correctness"
    assert at(found, "t_inject").value_s == pytest.approx(INJECT_S)
    assert within(at(found, "t_impact"), INJECT_S + 0.3)
    assert at(found, "t_detect").value_s == pytest.approx(L + 39.5)
    assert at(found, "t_act").value_s == pytest.approx(L + 39.6)
    assert within(at(found, "t_mitigate"), L + 41.0)
    assert at(found, "t_heal").value_s == pytest.approx(HEAL_S)
    assert within(at(found, "t_recover"), L + 74.0)
    assert found.ttd.value_s == pytest.approx(3.1)
    assert within(found.ttm, 41.0 - r.FAULT_AT_S)
    assert within(found.ttr, 74.0 - r.FAULT_AT_S)
    assert found.ttd_from_impact.value_s == pytest.approx(2.8, abs=0.2)


def test_intervals_of_a_duration_add_up():
    found = incident(r.USUAL_RUN)
    inject, end = at(found, "t_inject"), at(found, "t_mitigate")
    assert found.ttm.low_s == pytest.approx(end.low_s - inject.high_s)
    assert found.ttm.high_s == pytest.approx(end.high_s - inject.low_s)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02])
def test_a_fault_within_the_budget_is_absorbed(share):
    found = incident(r.Script(stretches=(r.Stretch(36.5, 66.0, wrong=share),)))
    assert found.outcome == "absorbed"
    assert at(found, "t_impact") is None and found.objective is None
    assert (found.ttm, found.ttr, found.bad_events) == (None, None, 0)
    assert found.ttd.censored


def test_an_absorbed_fault_can_still_be_detected():
    found = incident(r.Script(alerts=((38.0, "firing"),)))
    assert found.outcome == "absorbed"
    assert found.ttd.value_s == pytest.approx(1.6)


def test_impact_is_the_earliest_over_the_objectives():
    both = r.Script(
        stretches=(
            r.Stretch(38.0, 66.0, wrong=0.12),
            r.Stretch(40.0, 50.0, wrong=0.12, error=0.5),
        )
    )
    found = incident(both)
    assert found.objective == "correctness"
    assert within(at(found, "t_impact"), L + 38.0)
    assert at(found, "t_mitigate").censored


def test_mitigation_waits_for_the_last_objective():
    script = r.Script(
        stretches=(
            r.Stretch(37.0, 52.0, wrong=0.2),
            r.Stretch(37.0, 45.0, wrong=0.2, error=0.5),
        )
    )
    found = incident(script)
    assert found.objective == "availability"
    assert within(at(found, "t_mitigate"), L + 52.0)


def test_mitigation_is_dated_after_the_last_bad_stretch_not_the_first():
    twice = r.Script(stretches=(r.Stretch(37.0, 41.0, wrong=0.2), r.Stretch(47.0, 49.0, wrong=0.3)))
    assert within(at(incident(twice), "t_mitigate"), L + 49.0)


def test_what_is_not_mitigated_under_the_fault_is_censored_at_the_heal():
    found = incident(r.Script(stretches=(r.Stretch(37.0, 66.6, wrong=0.12),)))
    assert found.outcome == "undetected, unmitigated"
    assert found.ttm.censored and "still missed" in found.mark("t_mitigate").how
    assert at(found, "t_mitigate").value_s == pytest.approx(HEAL_S)
    assert found.ttm.low_s > 20


def test_what_is_mitigated_too_late_to_hold_is_censored():
    late = r.Script(stretches=(r.Stretch(37.0, 60.0, wrong=0.2),))
    found = at(incident(late), "t_mitigate")
    assert found.censored and found.value_s == pytest.approx(HEAL_S)
    assert found.low_s <= L + 60.0
    assert within(at(incident(late, hold_s=5.0), "t_mitigate"), L + 60.0)


def test_a_mean_over_the_hold_would_date_mitigation_too_early_and_is_not_used():
    # 30 % bad for 8 s, then bursts of 1 s: the mean of the last 10 s is within the budget.
    bursts = tuple(r.Stretch(t, t + 0.5, wrong=0.5) for t in (48.0, 54.0))
    script = r.Script(stretches=(r.Stretch(37.0, 42.0, wrong=0.3), *bursts))
    assert at(incident(script), "t_mitigate").value_s > L + 54.0


def test_a_slow_onset_is_dated_where_the_budget_is_first_exceeded():
    ramp = tuple(r.Stretch(37.0 + i / 4, 39.0, wrong=0.015 * i) for i in range(1, 9))
    found = incident(r.Script(stretches=(*ramp, r.Stretch(39.0, 66.0, wrong=0.12))))
    assert L + 37.0 <= at(found, "t_impact").value_s <= L + 39.2


def test_a_worse_second_stage_does_not_move_the_impact():
    staged = (r.Stretch(37.0, 40.0, error=0.2), r.Stretch(40.0, 66.0, error=1.0))
    assert within(at(incident(r.Script(stretches=staged)), "t_impact"), L + 37.0)


def test_a_total_outage_is_never_mitigated_for_want_of_answers():
    found = incident(r.Script(stretches=(r.Stretch(37.0, 66.6, error=1.0),)))
    assert found.objective == "availability"
    assert at(found, "t_mitigate").censored


def test_windows_that_hold_too_few_answers_do_not_show_mitigation():
    only = replace(r.SLO, objectives=(r.CORRECTNESS,))
    script = r.Script(
        stretches=(r.Stretch(37.0, 42.0, wrong=0.2), r.Stretch(42.0, 66.6, error=1.0))
    )
    found = incident(script, slo=only)
    assert at(found, "t_mitigate") is None and found.outcome == "invalid"
    assert re.fullmatch(r"no data for correctness from \+5\.\d s on", found.budget_note)


@pytest.mark.parametrize("until_s", [43.0, 48.0, 60.0])
def test_requests_that_are_lost_are_no_miss(until_s):
    record = r.USUAL_RUN.record()
    fewer = Record(record.events, record.requests.between(0, L + until_s), record.series)
    found = incidents(Oracle(fewer, r.SLO, r.HOLD_S), r.scenario(r.USUAL_RUN))[0]
    assert found.outcome == "invalid"
    from_s = float(re.search(r"no request is on record from (\+[\d.]+) s on", found.budget_note)[1])
    assert from_s == pytest.approx(until_s - r.FAULT_AT_S, abs=0.15)
    assert (found.ttm, found.ttr) == (None, None)


def test_requests_lost_after_the_heal_leave_recovery_unknown_and_mitigation_known():
    record = r.USUAL_RUN.record()
    fewer = Record(record.events, record.requests.between(0, L + 75), record.series)
    found = incidents(Oracle(fewer, r.SLO, r.HOLD_S), r.scenario(r.USUAL_RUN))[0]
    assert within(at(found, "t_mitigate"), L + 41.0)
    assert at(found, "t_recover") is None
    assert "no data from" in found.mark("t_recover").how


def test_what_is_known_not_to_have_recovered_is_not_excused_by_a_gap():
    script = r.USUAL_RUN.with_(readings=((39.6, 200.0, "pin", 1.0),))
    record = script.record()
    fewer = Record(record.events, record.requests.between(0, L + 80), record.series)
    found = incidents(Oracle(fewer, r.SLO, r.HOLD_S), r.scenario(script))[0]
    assert found.ttr.censored and found.ttr.low_s > 3


def test_a_few_requests_are_too_few_to_miss_an_objective():
    script = r.Script()
    record = script.record()
    rows = record.requests.rows[:600].copy()
    rows["outcome"][::2] = ERROR
    had = Requests(rows, record.requests.label[:600], record.requests.golden[:600])
    starts_s = np.array([float(had.due_s[0]), float(had.due_s[-10])])
    oracle = Oracle(Record(record.events, had, record.series), r.SLO, r.HOLD_S)
    assert oracle.misses(r.AVAILABILITY, starts_s).tolist() == [True, False]
    assert oracle.blind(r.AVAILABILITY, starts_s).tolist() == [False, True]


def test_a_gap_in_the_requests_hides_no_earlier_recovery():
    script = r.USUAL_RUN.with_(readings=((39.6, 70.0, "pin", 1.0),))
    record = script.record()
    due_s = record.requests.due_s
    kept = (due_s < L + 71) | (due_s >= L + 83)
    rows, label, golden = (
        part[kept] for part in (record.requests.rows, record.requests.label, record.requests.golden)
    )
    gappy = Record(record.events, Requests(rows, label, golden), record.series)
    found = at(incidents(Oracle(gappy, r.SLO, r.HOLD_S), r.scenario(script))[0], "t_recover")
    assert L + 78 <= found.value_s <= L + 84 and found.low_s <= L + 71


def test_what_a_kind_of_answer_tells_dates_a_change_that_its_bad_answers_leave_open():
    # One in twelve answers of the spoilt kind is bad: the bad ones alone come too thin to tell.
    script = r.USUAL_RUN.with_(
        stretches=(
            r.Stretch(37.0, 45.0, wrong=0.08, fallback="cache"),
            r.Stretch(45.0, 74.0, model="baseline"),
        ),
    )
    found = incident(script)
    for mark, truth_s in (("t_impact", L + 37.0), ("t_mitigate", L + 45.0)):
        assert within(at(found, mark), truth_s)
        assert at(found, mark).high_s - at(found, mark).low_s < 0.1
    assert "by the kind of answer" in found.mark("t_impact").how


def test_a_kind_that_is_as_common_before_dates_nothing():
    # Every answer is the champion's: what makes some bad does not show in their kind.
    script = r.Script(stretches=(r.Stretch(37.0, 45.0, wrong=0.3),))
    found = incident(script)
    assert "by the bad answers alone" in found.mark("t_impact").how
    assert within(at(found, "t_impact"), L + 37.0) and within(at(found, "t_mitigate"), L + 45.0)


def test_a_change_of_kind_that_hurts_nobody_dates_nothing():
    script = r.Script(
        stretches=(
            r.Stretch(36.5, 66.0, model="canary"),
            r.Stretch(40.0, 46.0, wrong=0.3, model="canary", fallback="cache"),
        )
    )
    assert within(at(incident(script), "t_impact"), L + 40.0)


def test_a_kind_that_was_there_before_does_not_date_the_harm_it_came_to_do():
    # Three answers in ten come from the cache, always; from 37.15 s on these are wrong.
    cached = tuple(
        r.Stretch(t, t + 0.3, fallback="cache", wrong=0.6 if 37 < t < 45 else 0.0)
        for t in np.arange(10.0, 99.0).tolist()
    )
    script = r.Script(stretches=(*cached, r.Stretch(37.15, 37.3, fallback="cache", wrong=0.6)))
    assert within(at(incident(script), "t_impact"), L + 37.15)


def test_kinds_too_rare_to_judge_are_judged_as_one():
    kind = np.repeat(np.arange(11), [500, *[5] * 10])
    bad = np.zeros(550, bool)
    bad[503] = True  # one of fifty: within a budget of 3 %
    events = OracleEvents(np.arange(550.0), bad, kind)
    assert not harmful(events, 0.03, 12, 0.0, 550.0).any()
    bad[505:510] = True
    assert (harmful(events, 0.03, 12, 0.0, 550.0) == (kind > 0)).all()
    assert not harmful(events, 0.03, 12, 0.0, 500.0).any()


def test_a_node_that_turns_bad_is_dated_by_its_own_answers():
    node = np.arange(600) % 2
    bad = (np.arange(600) >= 401) & (node == 1)
    due_s, kind, of = np.arange(600) / 100, np.zeros(600, np.int64), Stretch(0, 300, 429, 430)

    def dated(of_nodes):
        events = OracleEvents(due_s, bad, kind, of_nodes)
        return date(events, np.zeros(600, np.bool_), of, "rise", 0.03, 40.0).change

    assert dated(node).index == 401 and dated(node).high - dated(node).low < 20
    assert dated(None).high - dated(None).low > 60, "of all answers, which clump, little is known"
    both = np.where(np.arange(600) % 4 < 2, 0, 1)  # bad ones come from each
    assert dated(both) == dated(None)


def test_clumps_of_bad_answers_that_were_there_before_are_no_impact():
    clumps = tuple(r.Stretch(t, t + 0.1, wrong=1.0) for t in np.arange(12.0, 99.0, 4.0).tolist())
    found = incident(r.Script(stretches=clumps))
    assert found.outcome == "absorbed"
    worse = incident(r.Script(stretches=(*clumps, r.Stretch(38.0, 60.0, wrong=0.5))))
    assert L + 37.0 <= at(worse, "t_impact").value_s <= L + 38.2


def test_harm_that_begins_while_the_fault_is_being_injected_is_dated_there():
    script = r.Script(
        stretches=(r.Stretch(r.FAULT_AT_S - 0.3, 45.0, error=0.5),),
        spans=(r.Span(blur_s=0.05),),
    )
    assert within(at(incident(script), "t_impact"), INJECT_S - 0.3)


def test_an_action_in_vain_is_no_action():
    tries = ((39.6, "route_to_baseline failed"), (40.4, "route_to_baseline"))
    found = incident(r.USUAL_RUN.with_(actions=tries))
    assert at(found, "t_act").value_s == pytest.approx(L + 40.4)


def test_an_alert_with_other_labels_is_no_detection():
    other = r.USUAL_RUN.with_(
        alerts=(),
        series=(),
        extra=(
            ev.Alerted(t=L + 38, status="firing", labels={"alertname": "X"}, starts_wall_s=0.0),
        ),
    )
    found = incident(other)
    assert found.outcome == "undetected, mitigated"
    assert found.ttd.censored and found.ttd.value_s == pytest.approx(END_S - INJECT_S)
    by_any = incident(other, expect=())
    assert by_any.ttd.value_s == pytest.approx(38.0 - r.FAULT_AT_S)
    assert "any name" in by_any.mark("t_detect").how


def test_a_resolved_notification_is_no_detection():
    found = incident(r.USUAL_RUN.with_(alerts=((39.5, "resolved"),), series=()))
    assert found.ttd.censored


def test_without_a_notification_the_first_firing_sample_counts_and_says_so():
    series = (r.alerts_series(r.USUAL_RUN),)
    found = incident(r.USUAL_RUN.with_(alerts=(), series=series))
    assert at(found, "t_detect").value_s == pytest.approx(L + 39.0)
    assert "sample" in found.mark("t_detect").how
    assert at(found, "t_detect").high_s - at(found, "t_detect").low_s == pytest.approx(0.002)


def test_a_stale_or_pending_sample_is_no_detection():
    t = L + np.arange(40.0, 50.0)
    stale = Series("ALERTS", {**r.ALERT, "alertstate": "firing"}, t, np.full(10, np.nan))
    pending = Series("ALERTS", {**r.ALERT, "alertstate": "pending"}, t, np.ones(10))
    found = incident(r.USUAL_RUN.with_(alerts=(), series=(stale, pending)))
    assert found.ttd.censored


@pytest.mark.parametrize("source", ["webhook", "series"])
def test_an_alert_that_fires_already_makes_the_trial_invalid(source):
    early = r.USUAL_RUN.with_(alerts=((30.0, "firing"), (39.5, "firing")))
    if source == "series":
        early = early.with_(series=(r.alerts_series(early),), alerts=())
    found = incident(early)
    assert found.outcome == "invalid"
    assert (found.ttd, found.ttm, found.ttr) == (None, None, None)
    assert "already firing" in found.budget_note


def test_an_alert_that_was_resolved_before_does_not():
    alerts = ((30.0, "firing"), (33.0, "resolved"), (39.5, "firing"))
    assert incident(r.USUAL_RUN.with_(alerts=alerts)).outcome == "detected, mitigated"


@pytest.mark.parametrize(
    ("blur_s", "series", "valid"),
    [(0.2, (), True), (0.3, (), False), (0.45, None, True), (0.6, None, False)],
)
def test_a_blurred_injection_makes_the_trial_invalid(blur_s, series, valid):
    # With series scraped every second, half a scrape interval is allowed; without, 250 ms.
    script = r.USUAL_RUN.with_(spans=(r.Span(blur_s=blur_s),), series=series)
    assert (incident(script).outcome != "invalid") is valid


def test_a_fault_that_never_took_hold_is_no_trial():
    found = incident(r.USUAL_RUN.with_(spans=(r.Span(injected=False),)))
    assert found.outcome == "invalid"
    assert "never took hold" in found.budget_note
    assert at(found, "t_inject") is None and found.ttd is None


def test_an_abort_during_the_incident_is_its_outcome():
    abort = (ev.Aborted(t=L + 50, by="guard", because="too much harm"),)
    assert incident(r.USUAL_RUN.with_(extra=abort)).outcome == "aborted"


def test_recovery_waits_for_the_probes():
    # Users are fine from 66 s on; the backlog is worked off at 80 s.
    script = r.USUAL_RUN.with_(readings=((39.6, 80.2, "backlog_s", 7.0),))
    found = incident(script)
    assert within(at(found, "t_recover"), L + 80.2)
    assert "backlog_s" in found.mark("t_recover").how


def test_recovery_waits_for_the_fallback_to_end():
    stretches = (
        r.Stretch(36.7, 41.0, wrong=0.12),
        r.Stretch(41.0, 72.0, fallback="rule", model="rule"),
    )
    found = incident(r.Script(stretches=stretches))
    assert within(at(found, "t_recover"), L + 72.0, slack_s=0.2)


def test_recovery_is_back_in_the_band_not_merely_within_the_slo():
    # 0.9 % errors meet the objective of 99 %, and are not normal.
    stretches = (r.Stretch(37.0, 45.0, error=0.5), r.Stretch(45.0, 76.0, took_s=0.2))
    found = incident(r.Script(stretches=stretches))
    assert within(at(found, "t_mitigate"), L + 45.0)
    assert at(found, "t_recover").value_s == pytest.approx(L + 76.0, abs=1.2)


def test_recovery_under_the_fault_counts_when_all_is_normal():
    found = incident(r.Script(stretches=(r.Stretch(37.0, 45.0, error=0.5),)))
    assert at(found, "t_recover").value_s < HEAL_S
    assert within(at(found, "t_recover"), L + 45.0, slack_s=0.2)


def test_what_never_recovers_is_censored_at_the_end():
    found = incident(r.USUAL_RUN.with_(readings=((39.6, 200.0, "pin", 1.0),)))
    assert found.ttr.censored
    assert at(found, "t_recover").value_s == pytest.approx(END_S)
    assert found.ttr.low_s > 60


def test_recovery_too_late_to_hold_is_censored():
    found = incident(r.USUAL_RUN.with_(readings=((39.6, 92.0, "pin", 1.0),)))
    assert found.ttr.censored
    assert at(found, "t_recover").low_s <= L + 92.0


def test_a_probe_that_fell_silent_is_not_recovered():
    record = r.USUAL_RUN.record()
    kept = tuple(
        e
        for e in record.events
        if not (isinstance(e, ev.Sampled) and e.node == "replica-0" and e.t > L + 70)
    )
    oracle = Oracle(Record(kept, record.requests, record.series), r.SLO, r.HOLD_S)
    found = incidents(oracle, r.scenario(r.USUAL_RUN))[0]
    assert found.ttr.censored


def test_without_probes_recovery_is_not_known():
    found = incident(r.USUAL_RUN.with_(usual_probes=()))
    assert found.ttr is None
    assert "no probe" in found.mark("t_recover").how


def test_a_probe_unheard_of_in_the_baseline_is_normally_zero():
    odd = tuple(
        ev.Sampled(t=L + t, probe="quarantined", node="store", value=5.0 if t < 85 else 0.0)
        for t in np.arange(60.0, 99.0, 0.5).tolist()
    )
    assert within(at(incident(r.USUAL_RUN.with_(extra=odd)), "t_recover"), L + 85.0)


def test_a_second_fault_ends_the_watch_of_the_first():
    script = r.Script(
        phases_s={"warmup": 10.0, "baseline": 25.0, "fault": 60.0, "recovery": 32.0},
        spans=(r.Span(36.4, 56.4), r.Span(76.4, 94.5, id="spoil-2")),
        stretches=(r.Stretch(37.0, 41.0, wrong=0.2), r.Stretch(77.0, 81.0, wrong=0.2)),
        alerts=((78.0, "firing"),),
    )
    oracle = Oracle(script.record(), r.SLO, r.HOLD_S)
    first, second = incidents(oracle, r.scenario(script))
    assert first.outcome == "undetected, mitigated"
    assert second.ttd.value_s == pytest.approx(1.6)
    assert within(at(first, "t_impact"), L + 37.0)
    assert within(at(second, "t_impact"), L + 77.0)
    assert within(at(second, "t_mitigate"), L + 81.0)


def test_send_lag_widens_the_interval_of_a_mark():
    usual = at(incident(r.USUAL_RUN), "t_impact")
    lagging = at(incident(r.USUAL_RUN.with_(late=((36.0, 38.0, 0.09),))), "t_impact")
    assert lagging.high_s - usual.high_s == pytest.approx(0.09, abs=0.01)


def test_thin_traffic_is_judged_over_longer_windows():
    slo = replace(r.SLO, objectives=(replace(r.AVAILABILITY, target=0.9),))
    script = r.Script(
        rate_per_s=2.0,
        stretches=(r.Stretch(200.0, 260.0, error=0.9),),
        spans=(r.Span(200.0, 380.0),),
        phases_s={"warmup": 30.0, "baseline": 160.0, "fault": 200.0, "recovery": 200.0},
    )
    found = incident(
        script, slo=replace(slo, tiers=(replace(slo.tiers[0], burn=2.0),)), hold_s=30.0
    )
    assert within(at(found, "t_mitigate"), L + 260.0, slack_s=1.0)


def test_the_same_record_gives_an_equal_analysis_every_time():
    scenario = r.scenario(r.USUAL_RUN, expect=r.ALL_MARKS)
    first = analyze(r.USUAL_RUN.record(), scenario, r.SLO, r.FAULTS, r.HOLD_S)
    again = analyze(r.USUAL_RUN.record(), scenario, r.SLO, r.FAULTS, r.HOLD_S)
    assert first == again


def test_twenty_thousand_requests_are_analysed_in_no_time():
    script = r.USUAL_RUN.with_(rate_per_s=210.0)
    record, scenario = script.record(), r.scenario(script, expect=r.ALL_MARKS)
    assert len(record.requests) > 20_000
    took_s = []
    for _ in range(3):
        fresh, start_s = Record(record.events, record.requests, record.series), time.perf_counter()
        analyze(fresh, scenario, r.SLO, r.FAULTS, r.HOLD_S)
        took_s.append(time.perf_counter() - start_s)
    assert min(took_s) < 1.5

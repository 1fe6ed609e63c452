import numpy as np
import pytest

from harness.analyze.slis import SLIS, oracle_events, quantile
from harness.model.record import Requests, Window
from harness.model.rows import ERROR, OK, ROW, TIMEOUT
from harness.model.slis import RATIO_SLI_NAMES, SLI_NAMES
from tests.harness import records as r

Case = tuple  # (outcome, prediction, label, golden, took_s, fallback, model)


def window(*cases):
    rows = np.zeros(len(cases), ROW)
    for row, (outcome, prediction, _, _, took_s, fallback, model) in zip(rows, cases, strict=True):
        row["outcome"], row["prediction"] = outcome, prediction
        row["end_ns"] = row["due_ns"] + int(took_s * 1e9)
        row["fallback"], row["model"] = fallback, model
    label = np.array([c[2] for c in cases], bool)
    golden = np.array([c[3] for c in cases], bool)
    return Window(0.0, 2.0, Requests(rows, label, golden), (), (), ())


def case(outcome=OK, said=1, label=1, golden=1, took_s=0.01, fallback=b"none", model=b"champion"):
    return (outcome, said, label, golden, took_s, fallback, model)


def measure(name, *cases):
    return SLIS[name].measure(window(*cases), r.SLO)


def test_the_vocabulary_is_the_one_scenarios_are_checked_against():
    assert set(SLIS) == set(SLI_NAMES)


def test_every_sli_an_objective_may_hold_to_counts_events():
    assert all(SLIS[name].judge is not None for name in RATIO_SLI_NAMES)


@pytest.mark.parametrize("name", sorted(SLIS))
def test_a_window_without_requests_has_no_value(name):
    assert measure(name) is None


def test_errors_timeouts_and_late_answers_are_no_success():
    found = measure(
        "success_ratio",
        case(),
        case(ERROR, -1),
        case(TIMEOUT, -1),
        case(took_s=1.001),
        case(took_s=0.999),
    )
    assert found == pytest.approx(2 / 5)


def test_an_answer_is_bad_only_where_the_champion_was_right():
    bad, storm, fine = case(said=0), case(said=0, label=1, golden=0), case()
    better = case(said=1, label=1, golden=0)
    assert measure("paired_correctness", bad, storm, fine, better) == pytest.approx(3 / 4)


def test_a_failed_request_is_neither_right_nor_wrong():
    assert measure("paired_correctness", case(ERROR, -1), case()) == 1.0
    assert measure("paired_correctness", case(ERROR, -1)) is None
    assert measure("paired_correctness", case(OK, -1)) is None


def test_recall_precision_and_accuracy_are_against_the_true_label():
    cases = (case(said=1, label=1), case(said=0, label=1), case(said=1, label=0), case(said=1))
    assert measure("recall", *cases) == pytest.approx(2 / 3)
    assert measure("precision", *cases) == pytest.approx(2 / 3)
    assert measure("accuracy", *cases) == pytest.approx(2 / 4)
    assert measure("recall", case(said=1, label=0)) is None
    assert measure("precision", case(said=0)) is None


def test_fallbacks_and_models_are_counted_over_the_answered():
    cases = (case(), case(fallback=b"rule", model=b"rule"), case(fallback=b""), case(ERROR, -1))
    assert measure("fallback_share", *cases) == pytest.approx(1 / 3)
    assert measure("champion_share", *cases) == pytest.approx(2 / 3)


def test_latency_counts_from_the_intended_instant_and_failures_too():
    cases = [case(took_s=t / 1000) for t in range(1, 100)] + [case(TIMEOUT, -1, took_s=5.0)]
    assert measure("latency_p50_ms", *cases) == pytest.approx(50.0)
    assert measure("latency_p99_ms", *cases) == pytest.approx(99.0)
    late = r.Script(late=((30.0, 31.0, 0.5),)).record()
    slow = SLIS["latency_p50_ms"].measure(late.window(42.0, 43.0), r.SLO)
    assert slow is not None and slow > 500


def test_offered_load_is_requests_due_per_second():
    assert measure("sent_per_s", *[case()] * 6) == pytest.approx(3.0)


def test_quantiles_are_values_that_really_occurred():
    values = np.array([5.0, 1.0, 9.0, 7.0])
    assert quantile(0.5, values) == 5.0
    assert quantile(0.75, values) == 7.0
    assert quantile(0.0, values) == 1.0
    assert quantile(1.0, values) == 9.0
    assert quantile(0.5, np.array([])) is None


def test_quantiles_agree_with_counting():
    dice = np.random.default_rng(3)
    for n in (1, 2, 3, 99, 100, 101):
        values = dice.exponential(size=n)
        for q in (0.5, 0.9, 0.99):
            found = quantile(q, values)
            assert (values <= found).mean() >= q
            assert (values < found).mean() < q


def test_the_events_of_an_objective_give_its_ratio():
    record = r.USUAL_RUN.record()
    for name in RATIO_SLI_NAMES:
        events = oracle_events(name, record.requests, r.SLO)
        whole = SLIS[name].measure(record.window(0.0, 1e9), r.SLO)
        assert events is not None and whole == pytest.approx(1 - events.bad.mean())
        assert (np.diff(events.due_s) >= 0).all()


def test_an_indicator_that_is_no_share_has_no_events():
    assert oracle_events("latency_p99_ms", r.PLACEBO.record().requests, r.SLO) is None

import math
from typing import Any

import orjson
import pytest

from fixtures.serving.features import ALL_MISSING, FEATURES
from fixtures.serving.windows import DataWindow, QualityWindow, Served, Unlabelled, read_event


def served(at_s: float = 0.0, **changes: Any) -> Served:
    fields: dict[str, Any] = {
        "flight": "f1",
        "mask": 0,
        "model": "champion",
        "fallback": "none",
        "score": 0.5,
        "late": True,
        "rule": True,
        "hour": 8,
        "age_s": 0.1,
    }
    return Served(at_s=at_s, **(fields | changes))


def data_window(*events: Served, min_events: int = 2) -> DataWindow:
    window = DataWindow(5.0, min_events, [0.2] * 8 + [0.4] + [0.2] * 15)
    for event in events:
        window.add(event)
    return window


def test_the_null_ratio_counts_each_feature_by_its_bit() -> None:
    figures = data_window(served(mask=0b1), served(mask=0b101), served(), served()).figures(1.0)
    assert figures.null_ratio == dict.fromkeys(FEATURES, 0.0) | {
        "dep_delay": 0.5,
        "sched_hour": 0.25,
    }
    assert figures.observations == 4


def test_a_missing_entry_counts_against_every_feature() -> None:
    figures = data_window(served(mask=ALL_MISSING, age_s=None), served()).figures(1.0)
    assert set(figures.null_ratio.values()) == {0.5}


def test_no_data_is_not_zero() -> None:
    figures = data_window(served(), served(mask=-1, age_s=None)).figures(1.0)
    assert figures.observations == 1
    assert all(math.isnan(ratio) for ratio in figures.null_ratio.values())
    assert math.isnan(figures.freshness_s)
    assert not math.isnan(figures.score_shift)
    assert math.isnan(data_window(min_events=0).figures(1.0).score_shift)


def test_events_leave_the_window() -> None:
    window = data_window(served(0.0, mask=1), served(4.0), served(4.0))
    assert window.figures(4.9).null_ratio["dep_delay"] == pytest.approx(1 / 3)
    assert window.figures(5.1).null_ratio["dep_delay"] == 0.0
    assert math.isnan(window.figures(20.0).null_ratio["dep_delay"])


def test_freshness_is_the_oldest_entry_used() -> None:
    assert data_window(served(age_s=0.2), served(age_s=7.5)).figures(1.0).freshness_s == 7.5


def test_the_score_shift_is_against_the_same_hour_and_of_the_champion_alone() -> None:
    events = served(score=0.5, hour=8), served(score=0.2, hour=9)
    other = served(score=1.0, model="baseline")
    assert data_window(*events, other).figures(1.0).score_shift == pytest.approx(0.05)


def test_quality_is_held_against_the_rule_on_the_same_flights() -> None:
    window = QualityWindow(10.0, min_labels=3, min_late=2)
    answers = ((True, True, True), (True, False, False), (False, False, True))
    for number, (late, rule, label) in enumerate(answers):
        window.add(1.0, served(flight=f"f{number}", late=late, rule=rule), label)
    figures = window.figures(2.0)
    assert figures.labels == 3
    assert figures.accuracy == pytest.approx(1 / 3)
    assert figures.accuracy_reference == pytest.approx(2 / 3)
    assert (figures.recall, figures.recall_reference) == (0.5, 0.5)
    assert math.isnan(window.figures(11.5).accuracy)


def test_calibration_is_of_the_champion_alone_and_unknown_with_too_few() -> None:
    window = QualityWindow(10.0, min_labels=4, min_late=1)
    for number, (score, label) in enumerate(((0.9, True), (0.9, False), (0.1, False))):
        window.add(1.0, served(flight=f"f{number}", score=score), label)
    window.add(1.0, served(flight="f3", score=0.95, model="baseline"), False)
    figures = window.figures(2.0)
    assert figures.labels == 4 and figures.calibrated == 3
    assert math.isnan(figures.calibration_error) and math.isnan(figures.calibration_gap)
    window.add(1.0, served(flight="f4", score=0.1), False)
    figures = window.figures(2.0)
    # half of the four are in the bin of 0.9, off by 0.4, the others off by 0.1
    assert figures.calibration_error == pytest.approx(0.25)
    assert figures.calibration_gap == pytest.approx(0.25)
    assert figures.calibrated == 4 and window.figures(11.5).calibrated == 0


def test_a_flight_that_is_asked_about_again_counts_once_with_its_last_answer() -> None:
    window = QualityWindow(10.0, min_labels=1, min_late=1)
    for late in (True, True, False):
        window.add(1.0, served(late=late), True)
    figures = window.figures(2.0)
    assert (figures.labels, figures.accuracy, figures.recall) == (1, 0.0, 0.0)


def test_recall_is_unknown_with_too_few_late_flights() -> None:
    window = QualityWindow(10.0, min_labels=1, min_late=2)
    window.add(1.0, served(late=False, rule=True), True)
    assert math.isnan(window.figures(2.0).recall)
    window.add(1.0, served(flight="f2", late=False, rule=True), True)
    assert (window.figures(2.0).recall, window.figures(2.0).recall_reference) == (0.0, 1.0)


def test_labels_are_asked_for_when_their_delay_is_over_and_not_before() -> None:
    waiting = Unlabelled(5.0)
    first, second, third = served(0.0), served(1.0), served(2.0)
    for event in (first, second, third):
        waiting.add(event)
    assert waiting.due(4.9, 10) == []
    assert waiting.due(6.5, 10) == [first, second]
    assert waiting.due(6.5, 1) == [first]
    waiting.done([first, second])
    assert waiting.due(100.0, 10) == [third]


def test_an_event_that_is_no_event_is_refused() -> None:
    for raw in (b"", b"[]", b"1", orjson.dumps({"at_s": 1}), orjson.dumps({"age_s": None})):
        with pytest.raises(ValueError, match="not a gateway's event"):
            read_event(raw)


def test_what_nobody_asks_about_is_forgotten_all_the_same() -> None:
    """A Prometheus that is away for a night must not fill the monitor's memory."""
    data, quality = data_window(), QualityWindow(10.0, min_labels=1, min_late=1)
    for second in range(10_000):
        data.add(served(float(second)))
        quality.add(float(second), served(float(second), flight=f"f{second}"), True)
    assert len(data) <= 11 and len(quality) <= 11

"""Skewed features on the simulated stack: what is broken, what sees it, what becomes of answers."""

import asyncio
import functools
from typing import Any

import numpy as np
import pytest

from faults.skew_features import SkewFeatures
from fixtures.models import exported
from fixtures.serving.drift import calibration_error
from fixtures.serving.features import FEATURES, THRESHOLD
from fixtures.stacks.simulated import SimulatedStack
from harness import Site, StackError
from tests.test_stack_simulated import Day, holds, live, run

DELAYS = [FEATURES.index(name) for name in ("dep_delay", "origin_delay", "carrier_delay")]


@functools.cache
def skewed_day(fraction: float = 1.0, **settings: Any) -> Day:
    return live(SimulatedStack(**settings), fault=SkewFeatures(fraction=fraction))  # type: ignore[arg-type]


def metric(day: Day, name: str, **labels: str) -> list[tuple[float, float]]:
    return [
        (t - day.zero_s, v)
        for s in day.series
        if s.name == name and labels.items() <= s.labels.items()
        for t, v in zip(s.wall_s, s.value, strict=True)
    ]


def test_wrong_values_are_detected_mitigated_and_recovered_from() -> None:
    day = skewed_day()
    assert 10.4 <= day.in_force_s <= 11.5
    detected_s = day.firing("FeatureSkew")[0]
    assert 0.5 < detected_s - day.in_force_s < 5
    assert [entry.what for entry in day.audit] == ["route_to_baseline", "route_to_champion"]
    acted_s, undone_s = (entry.wall_s - day.zero_s for entry in day.audit)
    models = {
        a.model for a, t in zip(day.answers, day.due_s, strict=True) if acted_s < t < undone_s
    }
    assert models == {"baseline"}
    assert 5 < undone_s - day.healed_s < 15
    assert day.answers[-1].model == "champion" and day.same_fingerprint
    assert day.bad_share(day.in_force_s, acted_s) > 0.3
    assert day.bad_share(undone_s, 60) == 0


def test_nothing_is_missing_and_nothing_is_slow_meanwhile() -> None:
    day = skewed_day()
    assert {a.mask for a in day.answers} == {0} and {a.outcome for a in day.answers} == {0}
    assert day.firing("FeatureMissing") == [] and day.firing("FallbackSurge") == []
    assert max(day.took_s) < 0.1


def test_the_champion_answers_what_it_would_answer_to_the_wrong_values() -> None:
    day = skewed_day(runbooks=())
    assert {a.model for a in day.answers} == {"champion"} and day.audit == []
    inside = np.flatnonzero((day.due_s > day.in_force_s) & (day.due_s < 35))
    wrong = exported.load().features[inside].copy()
    wrong[:, DELAYS] += 30
    said = np.array([day.answers[case].prediction for case in inside])
    np.testing.assert_array_equal(said, exported.load().champion(wrong) >= THRESHOLD)
    assert day.bad_share(day.in_force_s, 35) > 0.3 and day.bad_share(day.healed_s, 60) == 0


def test_each_detector_can_be_left_out_and_one_alone_still_pages() -> None:
    nobody = skewed_day(alerts_off=("FeatureSkew",))
    assert nobody.audit == []
    said = {n.labels["alertname"] for _, n in nobody.notified}
    # two tickets, and a page that nobody acts on
    assert said == {"DriftSuspected", "CalibrationOff", "QualityDrop"}
    seconds = SkewFeatures(mode="scale", amount=60.0, fraction=1.0)
    for off, other in (("FeatureSkew", "FeatureOutOfRange"), ("FeatureOutOfRange", "FeatureSkew")):
        day = live(SimulatedStack(alerts_off=(off,)), fault=seconds)  # type: ignore[arg-type]
        assert day.firing(off) == [] and day.firing(other)
        assert [entry.what for entry in day.audit] == ["route_to_baseline", "route_to_champion"]


@pytest.mark.parametrize("severity", SkewFeatures.severities, ids=lambda s: str(s["fraction"]))
def test_every_severity_hits_the_share_it_publishes_and_shows_in_the_probe(
    severity: dict[str, Any],
) -> None:
    fault = SkewFeatures(**severity)
    day = live(SimulatedStack(), for_s=32, fault=fault, at_s=6, heal_s=31)  # type: ignore[arg-type]
    probed = [r["store_skewed", "redis"] for t, r in day.probes if day.in_force_s < t < 31]
    before = [r["store_skewed", "redis"] for t, r in day.probes if t < 6]
    assert set(before) == {0.0}
    assert np.mean(probed) == pytest.approx(fault.fraction, rel=0.35)
    ratios = metric(day, "feature_skew_ratio", feature="dep_delay")
    seen = [v for t, v in ratios if day.in_force_s + 6 < t < 31]
    assert np.mean(seen) == pytest.approx(fault.fraction, rel=0.4)
    assert bool(day.firing("FeatureSkew")) == (fault.fraction >= 0.05)


@pytest.mark.parametrize(
    ("mode", "amount", "features", "besides"),
    [
        ("shift", 30.0, ("dep_delay",), {"DriftSuspected"}),
        ("scale", 60.0, ("dep_delay",), {"FeatureOutOfRange", "DriftSuspected"}),
        ("scale", 1.609344, ("distance",), {"DriftSuspected"}),
        ("stuck", 12.0, ("origin_delay",), {"FeatureStuck", "DriftSuspected"}),
        ("recode", 5.0, ("sched_hour",), {"CategoryUnseen", "DriftSuspected"}),
        ("swap", 0.0, ("dep_delay", "distance"), {"FeatureOutOfRange", "DriftSuspected"}),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else "",
)
def test_every_mode_takes_hold_is_seen_and_goes_away(
    mode: Any, amount: float, features: tuple[str, ...], besides: set[str]
) -> None:
    fault = SkewFeatures(features=features, mode=mode, amount=amount, fraction=1.0)
    day = live(SimulatedStack(), fault=fault, heal_s=45, for_s=62)  # type: ignore[arg-type]
    assert day.firing("FeatureSkew")[0] - day.in_force_s < 5
    named = {n.labels["feature"] for _, n in day.notified if n.labels["alertname"] == "FeatureSkew"}
    assert named == set(features)
    pages = {"CategoryUnseen", "FeatureSkew", "FeatureOutOfRange", "FeatureStuck", "DriftSuspected"}
    firing = {n.labels["alertname"] for _, n in day.notified} & pages
    assert "FeatureSkew" in firing and firing - {"FeatureSkew"} <= besides
    assert ("CategoryUnseen" in firing) == (mode == "recode")
    assert day.same_fingerprint and day.answers[-1].model == "champion"


def test_the_monitor_is_nan_before_it_knows_and_true_of_a_healthy_stack() -> None:
    day = live(SimulatedStack(), for_s=40)
    for name in ("feature_skew_ratio", "feature_stuck_ratio", "feature_drift_psi"):
        values = [v for _, v in metric(day, name, feature="dep_delay")]
        assert np.isnan(values[0]) and not np.isnan(values[-1]), name
    assert {v for _, v in metric(day, "feature_skew_ratio") if not np.isnan(v)} == {0.0}
    assert day.notified == []


def test_quality_recall_and_calibration_come_with_the_labels_and_are_the_champions_own() -> None:
    day = live(SimulatedStack(), for_s=40)
    for name in ("released_label_recall_ratio", "prediction_calibration_error"):
        values = [v for _, v in metric(day, name)]
        assert np.isnan(values[0]) and not np.isnan(values[-1]), name
    at_s, error = metric(day, "prediction_calibration_error")[-1]
    (_, count), (_, gap) = (
        metric(day, f"prediction_calibration_{name}")[-1] for name in ("observations", "gap")
    )
    due = np.flatnonzero(day.due_s < at_s - 5.5)[-int(count) :]  # within a half second of it
    scores, label = exported.load().champion(exported.load().features[due]), day.label[due]
    assert error == pytest.approx(calibration_error(scores, label), abs=0.02)
    assert gap == pytest.approx(float(scores.mean() - label.mean()), abs=0.02)
    assert metric(day, "prediction_late_ratio")[-1][1] == pytest.approx(
        metric(day, "prediction_late_reference")[-1][1], abs=0.15
    )
    shares = [s for s in day.series if s.name == "prediction_score_share"]
    assert sum(s.value[-1] for s in shares) == pytest.approx(1) and len(shares) == 10


def test_a_misled_champion_that_nobody_relieves_is_off_its_calibration() -> None:
    day = skewed_day(runbooks=())
    assert day.firing("CalibrationOff") and day.firing("QualityDrop")
    assert metric(day, "prediction_calibration_gap")[-1][1] < 0.2  # and it recovers


def test_heal_mends_old_rows_and_works_blind() -> None:
    fault = SkewFeatures(fraction=0.5)

    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site("", seed=3))
        before = await stack.fingerprint()
        undo = await fault.prepare(stack, ())
        await fault.heal(stack, (), None)
        assert await stack.fingerprint() == before
        await fault.inject(stack, (), undo)
        await holds(lambda: fault.verify(stack, ()))
        assert await stack.fingerprint() != before
        readings = {r.probe: r.value for r in await stack.probe()}
        assert 0.3 < readings["store_skewed"] < 0.7 and readings["store_lacking"] == 0
        for _ in range(2):
            await fault.heal(stack, (), None)
            assert await stack.fingerprint() == before
            assert not await fault.verify(stack, ())
            assert {r.probe: r.value for r in await stack.probe()}["store_skewed"] == 0
        await stack.down()

    run(main())


def test_a_feature_the_feed_does_not_carry_and_a_withdrawn_permit_are_refused() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        with pytest.raises(ValueError, match="'colour'"):
            await SkewFeatures(features=("colour",)).prepare(stack, ())
        fault = SkewFeatures()
        injecting = asyncio.create_task(fault.inject(stack, (), await fault.prepare(stack, ())))
        await asyncio.sleep(0.1)
        await fault.heal(stack, (), None)
        with pytest.raises(StackError, match="restored"):
            await injecting
        await stack.down()

    run(main())


def test_a_minor_feature_is_filled_in_and_the_champion_goes_on() -> None:
    day = live(
        SimulatedStack(), fault=SkewFeatures(features=("visib",), amount=-25.0, fraction=1.0)
    )  # type: ignore[arg-type]
    assert [(entry.what, entry.target) for entry in day.audit] == [
        ("disable_feature", "visib"),
        ("enable_feature", "visib"),
    ]
    assert {a.model for a in day.answers} == {"champion"} and day.same_fingerprint
    acted_s, undone_s = (entry.wall_s - day.zero_s for entry in day.audit)
    assert 0.5 < acted_s - day.in_force_s < 6 and 5 < undone_s - day.healed_s < 15
    assert day.bad_share(acted_s + 0.5, undone_s) < 0.01 < day.bad_share(day.in_force_s, acted_s)


def test_answers_worse_than_the_rules_cut_the_models_off_where_that_is_allowed() -> None:
    day = skewed_day(runbooks=("open_ai_breaker",))
    assert [entry.what for entry in day.audit][:1] == ["open_ai_breaker"]
    acted_s = day.audit[0].wall_s - day.zero_s
    assert {a.model for a in day.answers} == {"champion", "rule"}
    assert day.bad_share(acted_s + 0.5, acted_s + 4) < 0.1 < day.bad_share(day.in_force_s, acted_s)
    assert skewed_day(runbooks=()).audit == []

"""September to December as it was, storms included, must raise nothing; a skew of any kind must.

The figures are the monitor's own (`SampleWindow`, fed as the monitor feeds it) and the thresholds
are read out of the rule file, so that neither can be changed without this proof.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.models import exported
from fixtures.serving import flights
from fixtures.serving.drift import calibration_error
from fixtures.serving.features import FEATURES, THRESHOLD, impute_matrix, matrix
from fixtures.serving.profile import DRIFT_FLIGHTS, FINE, SAMPLE_EVERY
from fixtures.serving.samples import SampleFigures, SampleWindow
from tests.serving.rig import ROOT

RULES = (ROOT / "fixtures" / "serving" / "rules" / "alerts.yml").read_text()
MODELS = exported.load()
PROFILE = MODELS.profile
SHORT = {"120/s": 600, "20/s": 100}  # flights in five seconds
AT = {name: column for column, name in enumerate(FEATURES)}


def threshold(pattern: str) -> float:
    found = re.search(pattern, RULES)
    assert found is not None, pattern
    return float(found[1])


OUT_OF_RANGE = threshold(r"feature_out_of_range_ratio > ([0-9.]+)")
UNSEEN = threshold(r"category_unseen_ratio > ([0-9.]+)")
MISCALIBRATED = threshold(r"prediction_calibration_error > ([0-9.]+)")
LABELS = int(threshold(r"prediction_calibration_observations >= ([0-9]+)"))
SKEW = threshold(r"feature_skew_ratio > ([0-9.]+)")
STUCK = threshold(r"feature_stuck_ratio > feature_stuck_reference \+ ([0-9.]+)")
FACTOR = threshold(r"feature_drift_psi > ([0-9.]+) \* feature_drift_psi_reference")
SCORE_FACTOR = threshold(r"prediction_drift_psi > ([0-9.]+) \* prediction_drift_psi_reference")
LEAST = threshold(r"feature_drift_psi > ([0-9.]+)\n")


@dataclass(frozen=True)
class HeldOut:
    """Every flight of September to December: features and score (n, 10), scheduled hour (n,)."""

    values: NDArray[np.float64]
    hours: NDArray[np.float64]
    month: NDArray[np.integer[Any]]
    late: NDArray[np.bool_]


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    rows = slice(data.held_out.start, None)
    features = matrix(data)[rows]
    values = np.column_stack((features, MODELS.champion(features))).astype(np.float64)
    hours = data.sched_hour[rows].astype(np.float64)
    return HeldOut(values, hours, data.month[rows], np.asarray(data.late[rows], bool))


def replayed(
    held_out: HeldOut, rate: str, step: int, values: NDArray[np.float64] | None = None
) -> Iterator[SampleFigures]:
    """What the monitor says after every ``step`` flights of the replay, from the first on."""
    per_s = SHORT[rate] / 5.0
    served = held_out.values if values is None else values
    window = SampleWindow(PROFILE, window_s=5.0, min_samples=50)
    for low in range(0, len(served), step):
        chosen = np.arange(low, min(low + step, len(served)), SAMPLE_EVERY)
        at_s = chosen / per_s
        known = np.ones((len(chosen), 2))
        window.add(at_s, served[chosen], held_out.hours[chosen], known)
        window.compare(at_s, served[chosen, :-1], held_out.values[chosen, :-1])
        yield window.figures(float(at_s[-1]))


def alarms(figures: SampleFigures) -> set[str]:
    """The alerts that hold on these figures."""
    drifted = {
        name
        for name, d in figures.drift.items()
        if d.psi > (SCORE_FACTOR if name == "score" else FACTOR) * PROFILE.column(name).psi
        and d.psi > max(LEAST, d.line)
    }
    stuck = {n for n, s in figures.stuck.items() if s > PROFILE.column(n).modal_share + STUCK}
    return (
        ({"FeatureSkew"} if max(figures.skew.values()) > SKEW else set())
        | ({"FeatureOutOfRange"} if max(figures.out_of_range.values()) > OUT_OF_RANGE else set())
        | ({"FeatureStuck"} if stuck else set())
        | ({"CategoryUnseen"} if max(figures.unseen.values()) > UNSEEN else set())
        | ({"DriftSuspected"} if drifted else set())
    )


@pytest.mark.parametrize("rate", SHORT)
def test_no_season_day_or_storm_raises_anything(held_out: HeldOut, rate: str) -> None:
    judged, months, worst = 0, set(), 0.0
    for number, figures in enumerate(replayed(held_out, rate, step := 180)):
        assert alarms(figures) == set(), f"after {number * step} flights"
        judged += not np.isnan(figures.drift["dep_delay"].psi)
        months.add(int(held_out.month[number * step]))
        for name, d in figures.drift.items():
            if not np.isnan(d.psi):
                worst = max(worst, d.psi / max(LEAST, FACTOR * PROFILE.column(name).psi))
        for name, share in figures.stuck.items():
            if not np.isnan(share) and PROFILE.column(name).modal_share + STUCK < 1:
                assert share <= PROFILE.column(name).modal_share + 0.08, name
        assert np.nanmax(list(figures.out_of_range.values()), initial=0.0) == 0.0
        assert np.nanmax(list(figures.unseen.values()), initial=0.0) == 0.0
    assert judged > 500 and months == {9, 10, 11, 12}
    assert worst < 0.9  # a tenth to spare, and not by being blind:
    assert worst > 0.4


def test_without_regard_to_hours_and_to_what_training_did_the_same_months_would_page(
    held_out: HeldOut,
) -> None:
    figures = list(replayed(held_out, "120/s", 900))
    folklore = [any(d.psi > 0.25 for d in f.drift.values()) for f in figures]
    assert np.mean(folklore) > 0.5


KINDS = {
    "unit": ("dep_delay", lambda v: v * 60),
    "shift": ("dep_delay", lambda v: v + 30),
    "scale": ("distance", lambda v: v * 1.609344),
    "stuck": ("origin_delay", lambda v: np.full_like(v, 12.0)),
    "recode": ("sched_hour", lambda v: (v + 5) % 24),
    "small": ("carrier_delay", lambda v: v + 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_skew_of_any_kind_is_seen_at_once_by_comparison(held_out: HeldOut, kind: str) -> None:
    name, change = KINDS[kind]
    values = held_out.values[:6_000].copy()
    values[:, AT[name]] = change(values[:, AT[name]])
    figures = list(replayed(held_out, "120/s", 300, values))
    assert all("FeatureSkew" in alarms(f) for f in figures)
    assert all(s == 0 for f in figures for other, s in f.skew.items() if other != name)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("unit", {"FeatureOutOfRange", "DriftSuspected"}),
        ("shift", {"DriftSuspected"}),
        ("scale", {"DriftSuspected"}),
        ("stuck", {"FeatureStuck", "DriftSuspected"}),
        ("recode", {"CategoryUnseen", "DriftSuspected"}),
        ("small", set()),  # only the comparison sees it
    ],
)
def test_what_each_other_detector_sees_of_it(
    held_out: HeldOut, kind: str, expected: set[str]
) -> None:
    name, change = KINDS[kind]
    values = held_out.values[: 2 * DRIFT_FLIGHTS].copy()
    values[:, AT[name]] = change(values[:, AT[name]])
    last = list(replayed(held_out, "120/s", 300, values))[-1]
    assert alarms(last) - {"FeatureSkew"} == expected


def test_swapped_columns_are_seen_in_both(held_out: HeldOut) -> None:
    values = held_out.values[:6_000].copy()
    values[:, [0, 7]] = values[:, [7, 0]]
    last = list(replayed(held_out, "120/s", 300, values))[-1]
    assert {n for n, s in last.skew.items() if s > SKEW} == {"dep_delay", "origin_delay"}


def miscalibrated(scores: NDArray[Any], late: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """The calibration error of every fiftieth window of so many answers."""
    starts = range(0, len(late) - count + 1, 50)
    return np.array([calibration_error(scores[i : i + count], late[i : i + count]) for i in starts])


@pytest.mark.parametrize("count", [LABELS, 1_200, 2_400])  # what 10 s hold at 100/s to 240/s
def test_no_season_day_or_storm_makes_the_champions_scores_look_wrong(
    held_out: HeldOut, count: int
) -> None:
    found = miscalibrated(held_out.values[:, -1], held_out.late, count)
    assert found.max() < 0.9 * MISCALIBRATED
    if count == LABELS:
        assert found.max() > 0.6 * MISCALIBRATED  # storms are in it
        fewer = miscalibrated(held_out.values[:, -1], held_out.late, LABELS // 2)
        assert fewer.max() > MISCALIBRATED  # which is why the alert waits for so many labels


def test_scores_of_starved_and_of_misled_models_look_wrong(held_out: HeldOut) -> None:
    features = held_out.values[:20_000, :-1].astype(np.float32)
    late = held_out.late[:20_000]
    misled = features.copy()
    misled[:, [AT["dep_delay"], AT["origin_delay"], AT["carrier_delay"]]] += 30
    found = miscalibrated(MODELS.champion(misled), late, LABELS)
    assert found.min() > MISCALIBRATED
    mask = sum(1 << AT[name] for name in ("dep_delay", "origin_delay", "carrier_delay"))
    means = MODELS.weights["champion"]["mean"].tolist()
    starved = MODELS.champion(impute_matrix(features, mask, means))
    assert (miscalibrated(starved, late, LABELS) > MISCALIBRATED).mean() > 0.25


def test_how_often_late_is_said_is_held_against_training_at_the_same_hours(
    held_out: HeldOut,
) -> None:
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    trained = slice(0, data.held_out.start)
    says = MODELS.champion(matrix(data)[trained]) >= THRESHOLD
    hours = data.sched_hour[trained]
    flown = np.bincount(hours, minlength=24)
    by_hour = np.bincount(hours, weights=says, minlength=24) / np.maximum(flown, 1)
    windows = replayed(held_out, "120/s", DRIFT_FLIGHTS)
    for number, figures in enumerate(itertools.islice(windows, 10)):
        first = number * DRIFT_FLIGHTS
        seen = np.arange(first, first + DRIFT_FLIGHTS, SAMPLE_EVERY)
        mix = by_hour[held_out.hours[seen].astype(int)].mean()
        assert figures.scores.late_expected == pytest.approx(mix, abs=1 / FINE)
        said = (held_out.values[seen, -1] >= THRESHOLD).mean()
        assert figures.scores.late == pytest.approx(said, abs=1e-9)

"""The definitions of drift, against numpy and scipy and against what must hold of any of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from fixtures.serving import drift

RNG = np.random.default_rng(5)
REFERENCE = RNG.normal(0, 1, 20_000)
EDGES = drift.decile_edges(REFERENCE)
FINE = np.quantile(REFERENCE, np.concatenate(([0.001], np.arange(1, 60) / 60, [0.999])))
CURRENT = [
    RNG.normal(0, 1, 2_000),
    RNG.normal(0.2, 1, 2_000),
    RNG.normal(0.5, 1, 500),
    RNG.normal(0, 1.5, 2_000),
    RNG.exponential(1, 2_000),
    np.round(RNG.normal(0, 1, 1_000)),
]
counts = st.lists(st.integers(0, 500), min_size=10, max_size=10).filter(any)


def both(current: NDArray[Any], edges: NDArray[Any]) -> tuple[Any, Any]:
    return drift.histogram(REFERENCE, edges), drift.histogram(current, edges)


def test_deciles_hold_a_tenth_each_and_ties_become_one() -> None:
    assert len(EDGES) == 9
    np.testing.assert_allclose(drift.histogram(REFERENCE, EDGES) / 20_000, 0.1, atol=1e-3)
    assert drift.decile_edges(np.array([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [0.0]


def test_the_outer_bins_are_open_and_nan_is_nobody() -> None:
    seen = drift.histogram(np.array([-1e9, 1e9, np.inf, -np.inf, np.nan]), EDGES)
    assert (seen[0], seen[-1], seen.sum()) == (2, 2, 4)


@pytest.mark.parametrize("current", CURRENT)
def test_psi_is_the_textbook_sum(current: NDArray[Any]) -> None:
    p = np.histogram(REFERENCE, bins=[-np.inf, *np.nextafter(EDGES, np.inf), np.inf])[0] / 20_000
    q = np.histogram(current, bins=[-np.inf, *np.nextafter(EDGES, np.inf), np.inf])[0]
    p, q = np.clip(p, 1e-4, None), np.clip(q / len(current), 1e-4, None)
    textbook = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert drift.psi(*both(current, EDGES)) == pytest.approx(textbook, abs=1e-12)


def test_psi_of_known_shifts_is_what_the_literature_has() -> None:
    # reference/serving-stack: N(0,1) against +0.2 s and +0.5 s, within the noise of 20,000
    many = RNG.normal(0, 1, 20_000)
    assert drift.psi(*both(many + 0.2, EDGES)) == pytest.approx(0.04, abs=0.012)
    assert drift.psi(*both(many + 0.5, EDGES)) == pytest.approx(0.24, abs=0.03)
    assert drift.psi(*both(many * 0, EDGES)) == pytest.approx(8.28, abs=0.05)


@pytest.mark.parametrize("current", CURRENT)
def test_jensen_shannon_is_scipys_distance_with_base_two(current: NDArray[Any]) -> None:
    p, q = both(current, FINE)
    assert drift.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)


@pytest.mark.parametrize("current", CURRENT)
def test_kolmogorov_smirnov_is_scipys_less_at_most_one_bin(current: NDArray[Any]) -> None:
    p, q = both(current, FINE)
    exact = float(stats.ks_2samp(REFERENCE, current).statistic)
    largest_bin = max((p / p.sum()).max(), (q / q.sum()).max())
    assert exact - largest_bin <= drift.kolmogorov_smirnov(p, q) <= exact + 1e-12


@pytest.mark.parametrize("current", CURRENT)
def test_wasserstein_is_scipys_of_the_clipped_values_within_five_hundredths(
    current: NDArray[Any],
) -> None:
    p, q = both(current, FINE)
    low, high = FINE[0], FINE[-1]
    exact = stats.wasserstein_distance(REFERENCE.clip(low, high), current.clip(low, high))
    ours = drift.wasserstein(p, q, FINE, float(REFERENCE.std()))
    assert ours == pytest.approx(float(exact) / REFERENCE.std(), abs=0.05)


def test_wasserstein_takes_the_shares_as_straight_between_the_edges() -> None:
    p, q, edges = [5, 5, 0, 0], [5, 0, 5, 0], [0.0, 1.0, 3.0]
    # half of the mass moves from (0, 1] to (1, 3]: from 0.5 to 2 on average
    assert drift.wasserstein(p, q, edges, 2.0) == pytest.approx(0.5 * 1.5 / 2)
    assert drift.wasserstein([1, 0, 0, 0], [0, 0, 0, 1], edges, 1.0) == pytest.approx(3.0)


@pytest.mark.parametrize("freedom", range(1, 12))
@pytest.mark.parametrize("probability", [0.9, 0.99, 0.999])
def test_the_quantile_of_chi_square_is_scipys_within_its_promise(
    probability: float, freedom: int
) -> None:
    exact = float(stats.chi2.ppf(probability, freedom))
    promised = 0.01 if freedom >= 6 else 0.04
    assert drift.chi_square(probability, freedom) == pytest.approx(exact, rel=promised)


def test_the_significance_line_counts_the_observations_of_both_sides() -> None:
    exact = float(stats.chi2.ppf(0.999, 9)) * (1 / 1_000 + 1 / 500)
    assert drift.psi_line(1_000, 500, 10) == pytest.approx(exact, rel=0.01)
    assert drift.psi_line(500, 1_000, 10) == drift.psi_line(1_000, 500, 10)


def test_the_significance_line_is_crossed_by_chance_once_in_a_thousand() -> None:
    n, m, draws = 1_000, 20_000, 4_000
    even = np.full(10, 0.1)
    line = drift.psi_line(n, m, 10)
    crossed = sum(
        drift.psi(RNG.multinomial(m, even), RNG.multinomial(n, even)) > line for _ in range(draws)
    )
    assert crossed <= 16  # 4 are expected; P(more than 16) is below one in a million
    assert drift.psi(*both(REFERENCE[:1000] + 0.3, EDGES)) > line


def test_no_data_is_nan_and_not_zero() -> None:
    none, some = np.zeros(10), np.ones(10)
    for p, q in ((none, some), (some, none)):
        assert math.isnan(drift.psi(p, q))
        assert math.isnan(drift.jensen_shannon(p, q))
        assert math.isnan(drift.kolmogorov_smirnov(p, q))
        assert math.isnan(drift.wasserstein(p, q, np.arange(9.0), 1.0))
    assert math.isnan(drift.psi_line(0, 10, 10)) and math.isnan(drift.psi_line(10, 10, 1))
    assert math.isnan(drift.modal_share(np.array([np.nan])))
    assert math.isnan(drift.calibration_error(np.zeros(0), np.zeros(0, bool)))


@given(counts)
def test_what_is_the_same_is_no_distance_apart(p: list[int]) -> None:
    assert drift.psi(p, p) == 0
    assert drift.jensen_shannon(p, [3 * n for n in p]) == pytest.approx(0, abs=1e-7)
    assert drift.kolmogorov_smirnov(p, p) == 0
    assert drift.wasserstein(p, p, np.arange(9.0), 1.0) == 0


@given(counts, counts)
def test_no_side_is_the_first(p: list[int], q: list[int]) -> None:
    for distance in (drift.psi, drift.jensen_shannon, drift.kolmogorov_smirnov):
        assert distance(p, q) == pytest.approx(distance(q, p), abs=1e-9)
        assert distance(p, q) >= 0
    assert drift.jensen_shannon(p, q) <= 1 and drift.kolmogorov_smirnov(p, q) <= 1 + 1e-9


@given(
    st.lists(st.floats(-5, 5), max_size=40),
    st.lists(st.floats(-5, 5), max_size=40),
)
def test_histograms_of_parts_add_up_to_that_of_the_whole(a: list[float], b: list[float]) -> None:
    parts = drift.histogram(np.array(a), EDGES) + drift.histogram(np.array(b), EDGES)
    np.testing.assert_array_equal(parts, drift.histogram(np.array(a + b), EDGES))


@given(st.floats(0.1, 10), st.floats(-50, 50))
def test_a_change_of_unit_on_both_sides_changes_nothing(scale: float, offset: float) -> None:
    current = CURRENT[1]
    moved = drift.histogram(current * scale + offset, EDGES * scale + offset)
    here = drift.histogram(current, EDGES)
    assert np.abs(moved - here).sum() <= 4  # a value on an edge may fall to either side of it


@given(st.lists(st.floats(0, 3), min_size=2, max_size=5, unique=True))
def test_a_larger_shift_is_a_larger_distance(shifts: list[float]) -> None:
    found = []
    for shift in sorted(shifts):
        p, q = both(REFERENCE + shift, FINE)
        found.append((drift.kolmogorov_smirnov(p, q), drift.wasserstein(p, q, FINE, 1.0)))
    for before, after in zip(found, found[1:], strict=False):
        assert after[0] >= before[0] and after[1] >= before[1] - 1e-12


def test_the_modal_share_is_that_of_the_most_common_value() -> None:
    assert drift.modal_share(np.array([1.0, 2.0, 2.0, np.nan])) == pytest.approx(2 / 3)
    assert drift.modal_share(np.array([7.0])) == 1.0


def test_calibration_error_is_nothing_for_a_fair_score_and_the_gap_for_a_biased_one() -> None:
    scores = RNG.random(200_000)
    labels = RNG.random(200_000) < scores
    assert drift.calibration_error(scores, labels) < 0.01
    assert drift.calibration_error(np.full(100, 0.9), np.zeros(100, bool)) == pytest.approx(0.9)
    bins = np.minimum((scores * 10).astype(int), 9)
    textbook = sum(
        (bins == b).mean() * abs(scores[bins == b].mean() - labels[bins == b].mean())
        for b in range(10)
    )
    assert drift.calibration_error(scores, labels) == pytest.approx(textbook, abs=1e-9)

"""Features are defined once, look only at the past, and survive the way to the store and back."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fixtures.data import FLIGHTS_PATH
from fixtures.serving import features, flights
from fixtures.serving.features import FEATURES, ROLLING
from fixtures.serving.flights import Flights

MEANS = tuple(float(100 + bit) for bit in range(len(FEATURES)))


@pytest.fixture(scope="module")
def data() -> Flights:
    return flights.load(FLIGHTS_PATH)


@pytest.fixture(scope="module")
def clean(data: Flights) -> NDArray[np.float32]:
    return features.matrix(data)


def _slow_rolling(group: list[int], departed: list[int], delay: list[int]) -> list[float]:
    means = []
    for own_group, own_departed in zip(group, departed, strict=True):
        past = sorted(
            (when, index)
            for index, (g, when) in enumerate(zip(group, departed, strict=True))
            if g == own_group and when < own_departed
        )[-ROLLING:]
        means.append(sum(delay[index] for _, index in past) / len(past) if past else 0.0)
    return means


@st.composite
def _departures(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    n = draw(st.integers(1, 90))

    def ints(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    return ints(0, 1), ints(0, 60), ints(-20, 300)


@settings(deadline=None, max_examples=60)
@given(_departures())
def test_rolling_means_agree_with_a_slow_reference(
    departures: tuple[list[int], list[int], list[int]],
) -> None:
    fast = features.rolling_delay(*(np.array(column) for column in departures))
    np.testing.assert_allclose(fast, _slow_rolling(*departures), rtol=0, atol=1e-9)


def _with(data: Flights, rows: slice, **changed: NDArray[Any]) -> Flights:
    arrays = {name: getattr(data, name)[rows].copy() for name in flights.COLUMNS}
    return Flights(**arrays | changed, dests=data.dests)


def test_what_departs_later_changes_no_feature(data: Flights, clean: NDArray[np.float32]) -> None:
    rows = slice(0, 5000)
    now_min = int(data.departed_min[2500])
    later = data.departed_min[rows] >= now_min
    delays = data.dep_delay[rows].copy()
    delays[later] += 500
    changed = features.matrix(_with(data, rows, dep_delay=delays))
    before = data.departed_min[rows] <= now_min
    rolling = [FEATURES.index("origin_delay"), FEATURES.index("carrier_delay")]
    still_there = before & ~later
    assert still_there.sum() > 2000
    np.testing.assert_array_equal(changed[still_there], clean[rows][still_there])
    assert (changed[later][:, rolling] != clean[rows][later][:, rolling]).any()


def test_the_matrix_is_whole_and_in_sensible_units(clean: NDArray[np.float32]) -> None:
    assert clean.shape == (327_346, 9)
    assert clean.dtype == np.float32
    assert np.isfinite(clean).all()
    low, high = clean.min(axis=0), clean.max(axis=0)
    bounds = {
        "distance": (80, 5000), "sched_hour": (1, 23), "month": (1, 12), "wind_speed": (0, 50),
        "precip": (0, 1.3), "visib": (0, 10),
    }  # fmt: skip
    for name, (least, most) in bounds.items():
        bit = FEATURES.index(name)
        assert least <= low[bit] and high[bit] <= most, name


def test_what_is_served_equals_what_was_trained_on_to_the_last_bit(
    clean: NDArray[np.float32],
) -> None:
    for row in (0, 217_727, 251_175, 327_345):
        stored = json.loads(json.dumps(features.as_row(clean[row])))
        vector, mask = features.impute(stored, MEANS)
        assert mask == 0
        np.testing.assert_array_equal(np.array(vector, np.float32), clean[row])


def test_a_mask_has_the_bit_of_each_missing_feature() -> None:
    whole: dict[str, object] = dict.fromkeys(FEATURES, 1.0)
    assert features.mask_of(whole) == 0
    assert features.mask_of({}) == features.ALL_MISSING == 511
    for bit, name in enumerate(FEATURES):
        for missing in (None, math.nan, math.inf, "2.0", True):
            assert features.mask_of(whole | {name: missing}) == 1 << bit
        assert features.missing_names(1 << bit) == (name,)
    assert features.missing_names(0b110000001) == ("dep_delay", "origin_delay", "carrier_delay")


@given(st.dictionaries(st.sampled_from(FEATURES), st.none() | st.floats() | st.integers(-9, 9)))
def test_imputing_fills_what_the_mask_names_and_nothing_else(
    values: dict[str, float | None],
) -> None:
    vector, mask = features.impute(values, MEANS)
    assert mask == features.mask_of(values)
    for bit, name in enumerate(FEATURES):
        assert vector[bit] == (MEANS[bit] if mask >> bit & 1 else values[name])


@given(st.integers(0, 511))
def test_imputing_a_matrix_and_imputing_its_rows_are_the_same(mask: int) -> None:
    clean = np.arange(27, dtype=np.float32).reshape(3, 9)
    filled = features.impute_matrix(clean, mask, MEANS)
    gone = set(features.missing_names(mask))
    for row, expected in zip(clean, filled, strict=True):
        kept = {name: v for name, v in features.as_row(row).items() if name not in gone}
        assert features.impute(kept, MEANS)[0] == expected.tolist()
    assert clean[0, 0] == 0


def test_a_request_is_encoded_the_same_one_by_one_and_all_at_once(data: Flights) -> None:
    whole = features.request_matrix(data)
    for row in (0, 12_345, 251_175, 327_345):
        assert features.request_vector(data.carried(row)) == whole[row].tolist()


def test_an_unknown_carrier_has_the_code_after_the_last(data: Flights) -> None:
    carried = flights.Carried(1.0, 500.0, 8, 10, "ZZ", "SFO")
    assert features.request_vector(carried)[4:] == [16.0, 3.0]
    assert data.carrier.max() == 15
    assert data.origin.max() == 2


def test_the_rule_says_late_above_15_minutes() -> None:
    assert features.rule(16.0)
    assert not features.rule(15.0)

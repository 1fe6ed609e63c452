import math
from typing import Any

import numpy as np
import orjson
import pytest

from fixtures.models import exported
from fixtures.serving import profile as profiles
from fixtures.serving.artefacts import ArtefactError
from fixtures.serving.features import FEATURES
from fixtures.serving.profile import COLUMNS
from fixtures.serving.samples import Ring, SampleFigures, SampleWindow, share_below
from fixtures.serving.windows import read_event

MODELS = exported.load()
PROFILE = MODELS.profile
TRUE = MODELS.features.astype(np.float64)
HOURS = MODELS.requests[:, 2].astype(np.float64)
SCORES = MODELS.champion(MODELS.features).astype(np.float64)
AT = {name: column for column, name in enumerate(FEATURES)}


def seen(
    values: Any = None, *, rows: slice = slice(0, 5_400, 2), now_s: float = 1.0, **more: Any
) -> SampleFigures:
    """The figures of replayed flights whose values were served as given (default: as they are)."""
    window = SampleWindow(PROFILE, window_s=5.0, min_samples=50)
    given = TRUE[rows] if values is None else values
    count = len(given)
    scores = more.get("scores", SCORES[rows])
    known = more.get("known", np.ones((count, 2)))
    window.add(np.zeros(count), np.column_stack((given, scores)), HOURS[rows], known)
    window.compare(np.zeros(count), given, TRUE[rows])
    return window.figures(now_s)


def changed(name: str, change: Any, rows: slice = slice(0, 5_400, 2)) -> Any:
    values = TRUE[rows].copy()
    values[:, AT[name]] = change(values[:, AT[name]])
    return values


def test_true_values_are_unremarkable() -> None:
    figures = seen()
    assert figures.observations == figures.compared == 2_700
    assert set(figures.skew.values()) == set(figures.out_of_range.values()) == {0.0}
    assert set(figures.unseen.values()) == {0.0}
    assert figures.stuck["distance"] < 0.1 and figures.stuck["month"] == 1.0
    assert "month" not in figures.drift and len(figures.drift) == len(COLUMNS) - 1
    for name, drift in figures.drift.items():
        assert drift.psi <= 1.5 * max(0.1, PROFILE.column(name).psi), name
        assert 0 <= drift.kolmogorov_smirnov <= 1 and 0 <= drift.jensen_shannon <= 1
        assert drift.wasserstein >= 0 and 0 < drift.line < 0.03


def test_no_data_is_nan_and_not_zero() -> None:
    for figures in (seen(now_s=6.0), seen(rows=slice(0, 49))):
        for shares in (figures.skew, figures.out_of_range, figures.stuck):
            assert all(math.isnan(share) for share in shares.values())
    assert all(math.isnan(share) for share in seen(now_s=6.0).unseen.values())
    few = seen(rows=slice(0, 2_000, 2)).drift  # not yet three days of flights
    assert all(math.isnan(value) for d in few.values() for value in (d.psi, d.line, d.wasserstein))


def test_missing_values_are_not_judged_and_do_not_hide_the_others() -> None:
    values = changed("dep_delay", lambda v: np.where(np.arange(len(v)) % 2, np.nan, v))
    values[:, AT["visib"]] = np.nan
    figures = seen(values)
    assert figures.skew["dep_delay"] == 0.0 and math.isnan(figures.skew["visib"])
    assert math.isnan(figures.out_of_range["visib"]) and math.isnan(figures.stuck["visib"])
    assert math.isnan(figures.drift["visib"].psi) and math.isnan(figures.drift["dep_delay"].psi)
    assert not math.isnan(figures.drift["distance"].psi)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_the_skew_ratio_is_the_share_of_values_that_are_not_the_pipelines(share: float) -> None:
    rows = np.arange(2_700) < share * 2_700
    figures = seen(changed("wind_speed", lambda v: np.where(rows, v + 1, v)))
    assert figures.skew["wind_speed"] == pytest.approx(share, abs=0.001)
    assert figures.skew["dep_delay"] == 0.0


def test_rounding_is_no_skew() -> None:
    assert seen(changed("dep_delay", lambda v: v * (1 + 1e-6))).skew["dep_delay"] == 0.0


@pytest.mark.parametrize(
    ("name", "change", "least"),
    [
        ("dep_delay", lambda v: v * 60, 0.3),  # minutes sent as seconds
        ("visib", lambda v: v * 1.609344, 0.5),  # miles sent as kilometres
        ("sched_hour", lambda v: v + 5, 0.05),
        ("month", lambda v: v - 1 + 12 * (v > 11), 0.0),
    ],
)
def test_values_that_no_flight_has_are_out_of_range(name: str, change: Any, least: float) -> None:
    figures = seen(changed(name, change))
    assert figures.out_of_range[name] >= least
    assert sum(share for other, share in figures.out_of_range.items() if other != name) == 0


def test_an_hour_in_another_time_zone_is_a_category_nobody_saw() -> None:
    figures = seen(changed("sched_hour", lambda v: (v + 5) % 24))
    assert figures.unseen["sched_hour"] > 0.02 and figures.unseen["month"] == 0
    assert figures.drift["sched_hour"].psi > 1  # it is held against the hour of the request


def test_carriers_and_origins_nobody_knows_are_counted() -> None:
    known = np.ones((2_700, 2))
    known[:270, 0] = 0
    figures = seen(known=known)
    assert figures.unseen["carrier"] == pytest.approx(0.1) and figures.unseen["origin"] == 0


def test_a_stuck_value_stands_out_against_its_reference() -> None:
    for name in ("dep_delay", "distance", "origin_delay", "carrier_delay"):
        figures = seen(changed(name, lambda v: np.full_like(v, 3.0)))
        assert figures.stuck[name] == 1.0 > PROFILE.column(name).modal_share + 0.2, name


def test_scores_of_other_models_are_no_drift_of_the_champions() -> None:
    assert math.isnan(seen(scores=np.full(2_700, np.nan)).drift["score"].psi)
    assert seen(scores=np.full(2_700, 0.99)).drift["score"].psi > 3


def test_the_scores_distribution_is_by_deciles_of_training_in_the_windows_mix_of_hours() -> None:
    figures = seen().scores
    column = PROFILE.column("score")
    scores, hours = SCORES[0:5_400:2][-1_350:], HOURS[0:5_400:2][-1_350:].astype(int)
    deciles = np.array(column.edges)[list(column.deciles)]
    cuts = np.concatenate(([-np.inf], np.nextafter(deciles, np.inf), [np.inf]))
    np.testing.assert_allclose(figures.shares, np.histogram(scores, cuts)[0] / 1_350, atol=1e-12)
    counts = np.array(column.counts, float)
    of_hour = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    whole = of_hour[hours].mean(0)
    starts = [0, *(edge + 1 for edge in column.deciles)]
    np.testing.assert_allclose(figures.expected, np.add.reduceat(whole, starts), atol=1e-12)
    assert sum(figures.shares) == pytest.approx(1) == sum(figures.expected)
    assert figures.late == pytest.approx((scores >= 0.5).mean())


def test_a_champion_that_calls_everyone_late_shows_in_its_scores() -> None:
    figures = seen(scores=np.full(2_700, 0.99)).scores
    assert figures.late == 1.0 and figures.shares[-1] == 1.0
    assert 0.05 < figures.late_expected < 0.5 and figures.expected[-1] < 0.3
    few = seen(rows=slice(0, 2_000, 2)).scores
    assert np.isnan([*few.shares, *few.expected, few.late, few.late_expected]).all()
    assert len(few.shares) == len(figures.shares)


def test_the_share_below_a_value_is_exact_on_edges_and_straight_between_them() -> None:
    shares, edges = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 3.0])
    assert share_below(shares, edges, 1.0) == pytest.approx(0.3)
    assert share_below(shares, edges, 2.0) == pytest.approx(0.45)


def test_a_ring_keeps_the_newest_rows_in_order_however_they_come() -> None:
    rng = np.random.default_rng(2)
    ring, whole = Ring(1, capacity=50), np.zeros(0)
    for size in rng.integers(0, 70, 60).tolist():
        fresh = np.arange(len(whole), len(whole) + size, dtype=float)
        whole = np.concatenate((whole, fresh))
        ring.add(fresh, fresh[:, None])
        assert ring.last(50)[:, 0].tolist() == whole[-50:].tolist()
        assert ring.last(7)[:, 0].tolist() == whole[-7:].tolist()
    newest = whole[-1]
    assert ring.since(newest - 3)[:, 0].tolist() == whole[-4:].tolist()


def test_a_profile_is_sealed_and_a_changed_one_is_refused(tmp_path: Any) -> None:
    profiles.write(tmp_path, PROFILE)
    assert profiles.read(tmp_path) == PROFILE
    path = tmp_path / profiles.FILE
    body = orjson.loads(path.read_bytes())
    body["profile"]["columns"][0]["psi"] = 99.0
    path.chmod(0o644)
    for torn, says in ((orjson.dumps(body), "changed"), (b"{", "torn"), (b"[]", "torn")):
        path.write_bytes(torn)
        with pytest.raises(ArtefactError, match=says):
            profiles.read(tmp_path)
    path.unlink()
    with pytest.raises(ArtefactError, match="train again"):
        profiles.read(tmp_path)


def test_the_expected_shares_follow_the_windows_hours() -> None:
    column = PROFILE.column("dep_delay")
    morning, evening = column.expected(np.full(9, 6)), column.expected(np.full(9, 19))
    assert morning.sum() == pytest.approx(1) and evening.sum() == pytest.approx(1)
    assert np.cumsum(morning)[20] > np.cumsum(evening)[20] + 0.1  # mornings are on time
    mixed = column.expected(np.array([6, 19]))
    np.testing.assert_allclose(mixed, (morning + evening) / 2)
    np.testing.assert_allclose(column.expected(np.array([2])).sum(), 1)  # nothing departs at two


def test_an_event_tells_its_features_or_not_and_never_half_of_them() -> None:
    body: dict[str, Any] = {
        "at_s": 1,
        "flight_id": "f1",
        "mask": 0,
        "model": "champion",
        "fallback": "none",
        "score": 0.5,
        "late": True,
        "rule": True,
        "hour": 8,
        "age_s": 0.1,
    }
    assert read_event(orjson.dumps(body)).features is None
    told = body | {"features": [1, None, *[0] * 7], "carrier": "UA", "origin": "EWR"}
    event = read_event(orjson.dumps(told))
    assert event.features is not None and event.features[:2] == (1.0, None)
    assert (event.carrier, event.origin) == ("UA", "EWR")
    for wrong in ([1.0], "text", [1] * 10, [[]] * 9):
        with pytest.raises(ValueError, match="not a gateway's event"):
            read_event(orjson.dumps(body | {"features": wrong}))

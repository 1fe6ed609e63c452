import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.drop_features import DropFeatures
from faults.skew_features import SkewFeatures
from harness import FeedRule, Segment, SkewRule, feed_rule, schema

TRUE = {"a": 2.0, "b": 30.0, "c": -4.0, "hour": 21.0}
ALL = {"cycle": 24.0, "fraction": 1.0, "salt": "1"}


def rule(features="a", mode="scale", amount=60.0, **more):
    return SkewRule(tuple(features.split()), mode, amount, **(ALL | more))


@pytest.mark.parametrize(
    ("given_rule", "expected"),
    [
        (rule("a c", "scale", 60.0), {"a": 120.0, "c": -240.0}),
        (rule("a b", "shift", -3.5), {"a": -1.5, "b": 26.5}),
        (rule("b", "stuck", 7.0), {"b": 7.0}),
        (rule("hour", "recode", 5.0), {"hour": 2.0}),
        (rule("a b c", "swap"), {"a": 30.0, "b": -4.0, "c": 2.0}),
    ],
    ids=lambda r: r.mode if isinstance(r, SkewRule) else "",
)
def test_each_mode_changes_the_values_it_says_and_no_other(given_rule, expected):
    spoilt = given_rule.spoil("f1", TRUE)
    assert spoilt == TRUE | expected
    assert given_rule.in_force("f1", spoilt, TRUE) is True
    assert given_rule.in_force("f1", TRUE, TRUE) is False


def test_what_is_missing_stays_missing():
    for mode in ("scale", "shift", "stuck", "recode", "swap"):
        spoilt = rule("a b", mode).spoil("f1", {"a": None, "b": 1.0})
        assert spoilt["a"] is None
        assert "x" not in rule("x a", mode).spoil("f1", {"a": 1.0})


def test_a_row_that_the_rule_leaves_as_it_is_cannot_tell():
    assert rule("a", "stuck", 2.0).in_force("f1", TRUE, TRUE) is None
    assert rule(fraction=0.001).in_force("f1", TRUE, TRUE) is None
    assert rule().in_force("f1", {}, TRUE) is False


@given(st.floats(0.05, 1), st.text(max_size=5))
def test_the_share_that_is_hit_is_the_share_that_is_asked_for(fraction, salt):
    hit = sum(rule(fraction=fraction, salt=salt).hits(f"f{n}") for n in range(400))
    assert abs(hit / 400 - fraction) < 0.15


def test_the_same_entities_are_hit_as_by_a_rule_that_drops():
    dropping = FeedRule(("a",), 0.3, "null", "s")
    skewing = rule(fraction=0.3, salt="s")
    assert [dropping.hits(f"f{n}") for n in range(500)] == [
        skewing.hits(f"f{n}") for n in range(500)
    ]


@pytest.mark.parametrize(
    ("low", "high", "inside", "outside"),
    [
        (17, 20, (17.0, 18.5, 20.0), (16.9, 20.1, -17.0)),
        (22, 4, (22.0, 23.0, 0.0, 4.0), (4.1, 12.0, 21.9)),
        (3, 3, (3.0,), (2.0, 4.0)),
    ],
)
def test_a_segment_is_a_range_of_one_feature_and_wraps_around(low, high, inside, outside):
    segment = Segment("hour", low, high)
    assert all(segment.holds({"hour": value}) for value in inside)
    assert not any(segment.holds({"hour": value}) for value in outside)
    assert not segment.holds({"hour": None}) and not segment.holds({"a": 3.0})


@pytest.mark.parametrize("mode", ["null", "absent"])
def test_only_rows_of_the_segment_lose_their_features(mode):
    evening = FeedRule(("a", "b"), 1.0, mode, "1", Segment("hour", 17, 22))
    spoilt = evening.spoil("f1", TRUE)
    assert spoilt == {"c": -4.0, "hour": 21.0} | ({"a": None, "b": None} if mode == "null" else {})
    assert evening.in_force("f1", spoilt, TRUE) is True
    assert evening.in_force("f1", TRUE, TRUE) is False
    morning = TRUE | {"hour": 9.0}
    assert evening.spoil("f1", morning) == morning
    assert evening.in_force("f1", morning, morning) is None


def test_a_segment_and_a_share_hit_that_share_of_the_segment():
    half = FeedRule(("a",), 0.5, "null", "1", Segment("hour", 17, 22))
    rows = [TRUE | {"hour": float(n % 24)} for n in range(2400)]
    hit = [n for n, row in enumerate(rows) if half.spoil(f"f{n}", row)["a"] is None]
    assert all(17 <= n % 24 <= 22 for n in hit) and 240 < len(hit) < 360


@pytest.mark.parametrize(
    ("given_params", "says"),
    [
        ({"segment": "sched_hour"}, "all of segment, segment_from and segment_to"),
        ({"segment_from": 3}, "all of segment, segment_from and segment_to"),
        ({"segment": "sched_hour", "segment_from": 17}, "all of segment"),
        ({"segment": 7, "segment_from": 1, "segment_to": 2}, "text"),
        ({"features": []}, "at least one"),
    ],
)
def test_a_drop_that_cannot_be_is_refused(given_params, says):
    with pytest.raises(schema.ParamError, match=says):
        schema.build(DropFeatures, given_params)


@pytest.mark.parametrize(
    "one",
    [
        rule("a b", "swap"),
        FeedRule(("a",), 0.5, "absent", "1"),
        FeedRule(("a",), 1.0, "null", "1", Segment("hour", 17, 20)),
    ],
)
def test_a_rule_travels_as_json(one):
    assert feed_rule(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("given_params", "says"),
    [
        ({"features": []}, "at least one"),
        ({"mode": "swap", "features": ["dep_delay"]}, "two features"),
        ({"mode": "scale", "amount": 1}, "changes nothing"),
        ({"mode": "shift", "amount": 0}, "changes nothing"),
        ({"mode": "melt"}, "one of scale"),
        ({"fraction": 2}, "maximum"),
    ],
)
def test_a_skew_that_cannot_be_is_refused(given_params, says):
    with pytest.raises(schema.ParamError, match=says):
        schema.build(SkewFeatures, given_params)

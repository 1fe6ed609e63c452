import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import units


@pytest.mark.parametrize(
    ("text", "value"), [("400ms", 0.4), ("5s", 5), ("2m", 120), (" 1.5 h ", 5400), ("10us", 1e-5)]
)
def test_durations_are_read(text, value):
    assert units.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("bad", [5, 5.0, "5", "", "5 sec", "-5s", None, True, "s", "1e3s", ["5s"]])
def test_a_duration_without_a_known_unit_is_refused_with_the_remedy(bad):
    with pytest.raises(ValueError, match="write it with a unit, like 400ms"):
        units.seconds(bad)


@given(st.floats(1e-6, 1e5))
def test_what_is_spelled_can_be_read_back(duration_s):
    assert units.seconds(units.spell(duration_s)) == pytest.approx(duration_s, rel=1e-3)


@pytest.mark.parametrize(("text", "value"), [("99%", 0.99), (0.97, 0.97), (1, 1.0), ("0%", 0.0)])
def test_shares_are_read(text, value):
    assert units.ratio(text) == pytest.approx(value)


@pytest.mark.parametrize("bad", ["101%", 1.5, -0.1, "0.97", None, True, "half"])
def test_a_share_that_is_none_is_refused(bad):
    with pytest.raises(ValueError):
        units.ratio(bad)


@pytest.mark.parametrize(("text", "value"), [("120/s", 120), ("6000/m", 100), ("0.5/s", 0.5)])
def test_rates_are_read(text, value):
    assert units.per_second(text) == pytest.approx(value)


@pytest.mark.parametrize("bad", [120, "120", "120 per s", "/s", "120/h"])
def test_a_rate_without_a_unit_is_refused(bad):
    with pytest.raises(ValueError, match="write it with a unit"):
        units.per_second(bad)

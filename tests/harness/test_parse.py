"""Everything that people, and people who wish us ill, put into a scenario file."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import parse
from harness.model.scenario import (
    AbortAlert,
    AbortBudget,
    AbortQuery,
    AbortSli,
    AbortUnexpected,
    ExpectMark,
    ExpectQuiet,
    ExpectSli,
    Limits,
    Mode,
    Threshold,
)
from harness.parse import ParseError
from tests.conftest import CATALOG, ROOT

GOOD = (ROOT / "scenarios" / "core" / "drop_features.yaml").read_text("utf-8")
SLO = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")


def read(text):
    return parse.scenario(text, CATALOG, source="x.yaml")


def line_of(text, words):
    return next(n for n, line in enumerate(text.splitlines(), 1) if words in line)


def test_the_core_scenario_is_read_as_it_is_written():
    scenario = read(GOOD)
    assert scenario.name == "drop_features" and scenario.stack == "local"
    assert scenario.phases_s == {"warmup": 10, "baseline": 25, "fault": 32, "recovery": 32}
    assert scenario.load.rate_per_s == 120 and scenario.load.arrivals == "poisson"
    (step,) = scenario.faults
    assert step.params == {"fraction": 1.0} and step.pick == "all" and step.for_s == 30
    kinds = [type(e) for e in scenario.expect]
    assert kinds[:3] == [ExpectMark] * 3 and ExpectSli in kinds
    assert not scenario.placebo


def test_two_faults_with_the_same_hold_on_the_same_role_at_once_are_refused():
    second = (
        "  - drop_features: {features: [month]}\n    where: all feed\n    at: %s\n    for: 1s\n"
    )
    text = GOOD.replace("expect:", second % "20s" + "expect:", 1)
    with pytest.raises(ParseError, match="overlaps with drop_features on the same role; begin it"):
        read(text)
    assert len(read(GOOD.replace("expect:", second % "31s" + "expect:", 1)).faults) == 2


def test_the_placebo_is_one():
    scenario = read((ROOT / "scenarios" / "core" / "placebo.yaml").read_text("utf-8"))
    assert scenario.placebo and ExpectQuiet("alerts") in scenario.expect


@pytest.mark.parametrize(
    ("old", "new", "at", "words"),
    [
        ("seed: 11", "sead: 11", "sead", "unknown key 'sead'; it takes name, why"),
        (
            "drop_features: {severity",
            "drop_featurs: {severity",
            "drop_featurs",
            "there is corrupt_cache, drop_",
        ),
        ("for: 30s", "for: 30", "for: 30", "write it with a unit"),
        ("severity: 5", "severity: 9", "severity", "it goes from 1 (mildest) to 5"),
        ("{severity: 5}", "{fraction: 7}", "fraction", "above its maximum of 1"),
        ("{severity: 5}", "{features: [moon]}", "moon", "carries no feature 'moon'"),
        ("{severity: 5}", "{features: []}", "features: []", "name at least one to drop"),
        ("all feed", "all gateway", "all gateway", "strikes nodes of the role feed"),
        ("seed: 11", "seed: -3", "seed: -3", "should be 0 or more"),
        ("at_least: 99%", "at_least: 0%", "at_least: 0%", "is always met"),
        ("at_least: 99%", "at_least: nanx baseline", "nanx", "should be like '1.5x baseline'"),
        ("{severity: 5}", "{speed: 7}", "speed", "it takes features, fraction"),
        ("stack: local", "stack: cloud", "stack: cloud", "no stack called 'cloud'; there is"),
        ("stack: local", "stack: {local: {size: 3}}", "size", "unknown parameter 'size'"),
        ("all feed", "all moons", "all moons", "roles:"),
        ("all feed", "9 feed", "9 feed", "of 1 nodes"),
        ("rate: 120/s", "rate: 120", "rate", "write it with a unit, like 120/s"),
        ("rate: 120/s", "rate: 0/s", "rate", "above 0/s"),
        ("poisson", "bursty", "bursty", "not one of constant, poisson"),
        ("  - detected:", "  - noticed:", "noticed", "unknown expectation 'noticed'"),
        ("sli: success_ratio", "sli: sucess_ratio", "sucess", "not one of success_ratio"),
        ("at_least: 99%", "at_least: 990%", "990%", "between 0 and 1"),
        ("during: fault", "during: chaos", "chaos", "not one of warmup, baseline"),
        ("seed: 11", "seed: eleven", "eleven", "should be a whole number"),
        ("slo: flights", "", "", "the key 'slo' is missing"),
        ("name: drop_features", "name: ../../etc/passwd", "name", "letters, digits"),
        ("warmup: 10s, ", "", "phases", "the key 'warmup' is missing"),
        ("seed: 11", "seed: 11\nseed: 12", "seed: 12", "there twice"),
        ("seed: 11", "seed: !!python/object:os.system 11", "python", "is not supported"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_remedy(old, new, at, words):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(ParseError) as wrong:
        read(text)
    assert words in str(wrong.value)
    assert str(wrong.value).startswith("x.yaml:")
    if at:
        assert wrong.value.line == line_of(text, at)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b",
        "42",
        "{",
        "a: b: c",
        "\0\0\0",
        "%YAML 9",
        "&a [*a]",
        "? [a, b] : c",
        "--- a\n--- b",
        "[" * 50_000,
        "{a: " * 20_000,
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 8)}]\n"
                  for i in range(9)),
        "x" * 10_000_000,
        "name: " + "\u202e\ud83d\ude00" .encode("utf-16", "surrogatepass").decode("utf-16"),
        "name: ~\nwhy: ~\nstack: ~\nslo: ~\nload: ~\nphases: ~\nexpect: ~",
    ],
    ids=range(16),
)  # fmt: skip
def test_garbage_and_bombs_are_refused_at_once(text):
    started = time.monotonic()
    with pytest.raises(ParseError):
        read(text)
    assert time.monotonic() - started < 5


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                (
                    "name why stack slo load phases expect seed hold faults where at for by abort "
                    "limits sli below above budget_spent alert unexpected_alert query nodes"
                ).split()
            )
            | st.text(max_size=8),
            inner,
            max_size=8,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(trees)
@example({"name": "x", "faults": [{}]})
def test_no_tree_of_values_gets_past_as_anything_but_a_good_error(tree):
    import json

    with pytest.raises(ParseError):
        read(json.dumps(tree))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_scenario_with_random_damage_is_read_or_refused_never_a_crash(data):
    start = data.draw(st.integers(0, len(GOOD) - 1))
    length = data.draw(st.integers(0, 40))
    text = GOOD[:start] + data.draw(st.text(max_size=10)) + GOOD[start + length :]
    try:
        assert read(text).name
    except ParseError as wrong:
        assert str(wrong).startswith("x.yaml:")


def test_a_relative_bound_and_the_modes_are_read():
    text = GOOD.replace(
        "{sli: success_ratio, at_least: 99%, during: fault}",
        "{sli: latency_p99_ms, at_most: 1.5x baseline, during: recovery}",
    )
    expect = next(e for e in read(text).expect if isinstance(e, ExpectSli))
    assert expect.mode is Mode.OVERALL and expect.bound.times_baseline
    assert expect.bound.value == 1.5 and expect.during == "recovery"


def test_another_stack_is_played_with_those_of_the_settings_that_it_has_too():
    given = {"runbooks": [], "device": "cpu"}
    text = GOOD.replace("stack: local", "stack: {local: {runbooks: [], device: cpu}}")
    assert read(text).stack_params == given
    other = parse.scenario(text, CATALOG, stack="simulated")
    assert other.stack == "simulated" and other.stack_params == {"runbooks": []}


def test_the_slo_is_read():
    slo = parse.slo(SLO, name="flights")
    targets = {o.sli: o.target for o in slo.objectives}
    assert targets == {"success_ratio": 0.99, "paired_correctness": 0.97}
    assert slo.late_after_s == 1.0 and slo.short_window_s == 5.0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("target: 0.99", "target: 1", "leaves no error budget"),
        ("target: 0.99", "target: 99", "between 0 and 1"),
        ("gameday/sli: success_ratio", "gameday/sli: latency", "not one of"),
        ("kind: AlertProfile", "kind: AlertPolicy", "not SLO or AlertProfile"),
        ("short: 5s", "short: 5", "write it with a unit"),
        ("short: 5s", "short: 5m", "no longer than the long one"),
        ("burn: 14.4", "burn: fast", "positive number"),
    ],
)
def test_a_wrong_slo_is_refused_with_its_line(old, new, words):
    assert old in SLO
    with pytest.raises(ParseError, match=r"^slo\.yaml:\d+: ") as wrong:
        parse.slo(SLO.replace(old, new), name="flights", source="slo.yaml")
    assert words in str(wrong.value)


SAFETY = """
abort:
  - {sli: success_ratio, below: 50%, for: 5s}
  - {sli: latency_p99_ms, above: 2s, for: 1m}
  - {budget_spent: 50%}
  - {budget_spent: 2.5}
  - {alert: {alertname: TargetDown, node: feed}}
  - {unexpected_alert: {allow: [FeatureMissing]}}
  - unexpected_alert:
  - {query: 'sum(up{job="a"}) or vector(0)', above: 5.5, for: 3s}
limits: {nodes: 50%, traffic: 0.2, faults_at_once: 2, tenants_never: [vip, web]}
"""


def test_abort_conditions_and_limits_are_read_as_they_are_written():
    scenario = read(GOOD + SAFETY)
    assert scenario.abort == (
        AbortSli("success_ratio", Threshold("below", 0.5, 5.0)),
        AbortSli("latency_p99_ms", Threshold("above", 2000.0, 60.0)),
        AbortBudget(0.5),
        AbortBudget(2.5),
        AbortAlert({"alertname": "TargetDown", "node": "feed"}),
        AbortUnexpected(("FeatureMissing",)),
        AbortUnexpected(),
        AbortQuery('sum(up{job="a"}) or vector(0)', Threshold("above", 5.5, 3.0)),
    )
    assert scenario.limits == Limits(0.5, 0.2, 2, ("vip", "web"))
    assert read(GOOD).abort == () and read(GOOD).limits == Limits()
    assert read(GOOD + "abort:\nlimits: {}").abort == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sli: success_ratio, below", "sli: recall, below", "not one of success_ratio"),
        ("below: 50%, for: 5s", "below: 50%", "'for' is missing"),
        ("below: 50%, for: 5s", "below: 50%, for: 5", "write it with a unit"),
        ("below: 50%, for: 5s", "below: 50%, for: 0.5s", "should be 1s to 1h"),
        ("below: 50%, for: 5s", "for: 5s", "exactly one of below and above"),
        ("below: 50%, for: 5s", "below: 1%, above: 2%, for: 5s", "exactly one of below and above"),
        ("below: 50%, for: 5s", "below: 0%, for: 5s", "never below 0%"),
        ("below: 50%, for: 5s", "above: 100%, for: 5s", "never above 100%"),
        ("below: 50%, for: 5s", "under: 50%, for: 5s", "unknown key 'under'"),
        ("above: 2s", "above: 2000", "write it with a unit"),
        ("budget_spent: 50%", "budget_spent: 0%", "above 0%"),
        ("budget_spent: 50%", "budget_spent: half%", "like 50%"),
        ("budget_spent: 50%", "budget_spent: .nan", "should be a number"),
        ("budget_spent: 50%", "budget_spent: 50%, for: 5s", "unknown key 'for'"),
        ("{alert: {alertname: TargetDown, node: feed}}", "{alert: {}}", "names no label"),
        ("{alert: {alertname: TargetDown, node: feed}}", "{alert: {a: 1}}", "should be a text"),
        ("allow: [FeatureMissing]", "allow: FeatureMissing", "should be a list"),
        ("above: 5.5", "above: 5%", "should be a number"),
        ("above: 5.5", "above: true", "should be a number"),
        ("above: 5.5", "above: .inf", "should be a number"),
        ("  - {budget_spent: 50%}", "  - {}", "exactly one of sli, budget_spent"),
        ("  - {budget_spent: 50%}", "  - {budget_spent: 50%, alert: {a: b}}", "not 2"),
        ("  - {budget_spent: 50%}", "  - budget_spent", "should be a mapping"),
        ("nodes: 50%", "nodes: 2", "between 0 and 1"),
        ("nodes: 50%", "max_fault: 10m", "unknown key 'max_fault'"),
        ("faults_at_once: 2", "faults_at_once: 0", "1 or more"),
        ("tenants_never: [vip, web]", "tenants_never: vip", "should be a list"),
    ],
)
def test_a_mistake_in_the_safety_of_a_run_is_named(old, new, words):
    text = SAFETY.replace(old, new, 1)
    assert text != SAFETY
    with pytest.raises(ParseError) as wrong:
        read(GOOD + text)
    assert words in str(wrong.value) and "\n" not in str(wrong.value)
    at = new.split(",")[0].strip(" -{}")
    assert wrong.value.line == line_of(GOOD + text, new.splitlines()[0]), at


def test_a_query_needs_a_stack_that_can_be_asked():
    with pytest.raises(ParseError, match="no Prometheus to ask"):
        read((GOOD + SAFETY).replace("stack: local", "stack: simulated"))

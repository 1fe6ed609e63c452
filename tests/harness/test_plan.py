import dataclasses

import numpy as np
import pytest

from harness import parse
from harness.cli.check import _hurried
from harness.cli.sources import read
from harness.model.plan import Enter, Heal, Inject
from harness.model.scenario import ExpectMark, LoadShape
from harness.parse import ParseError
from harness.plan import PHASE_SPREAD_S, PlanError, hold_s, plan
from harness.run.gate import LOOK_BACK, overlaps
from tests.conftest import CATALOG, ROOT, read_scenario

TOPOLOGY = {"feed": ("feed",), "replica": ("replica-0", "replica-1", "replica-2")}
SLO = parse.slo((ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8"), name="flights")


@pytest.fixture
def scenario():
    return read_scenario(ROOT / "scenarios" / "core" / "drop_features.yaml", "simulated")


def test_equal_seeds_give_equal_plans_and_others_do_not(scenario):
    one, same, other = (plan(scenario, SLO, TOPOLOGY, seed=s) for s in (1, 1, 2))
    assert one.summary() == same.summary()
    assert one.summary()["arrivals_sha256"] != other.summary()["arrivals_sha256"]


def test_the_load_does_not_move_when_the_faults_change(scenario):
    calm = dataclasses.replace(scenario, faults=())
    assert np.array_equal(plan(scenario, SLO, TOPOLOGY).due_ns, plan(calm, SLO, TOPOLOGY).due_ns)


def test_the_injection_phase_is_spread_over_a_second(scenario):
    at = [
        next(s.at_s for s in plan(scenario, SLO, TOPOLOGY, seed=n).steps if isinstance(s, Inject))
        for n in range(200)
    ]
    offsets = np.array(at) - (35 + scenario.faults[0].at_s)
    assert offsets.min() >= 0 and offsets.max() < 1
    assert np.histogram(offsets, bins=4, range=(0, 1))[0].min() > 25


def test_poisson_arrivals_have_the_mean_and_the_spread_of_poisson(scenario):
    counts = np.concatenate(
        [
            np.bincount((plan(scenario, SLO, TOPOLOGY, seed=n).due_ns // 10**9), minlength=99)
            for n in range(20)
        ]
    )
    assert counts.mean() == pytest.approx(120, rel=0.02)
    assert counts.var() == pytest.approx(120, rel=0.15)


def test_constant_arrivals_are_even(scenario):
    even = dataclasses.replace(scenario, load=LoadShape("constant", 50.0))
    gaps = np.diff(plan(even, SLO, TOPOLOGY).due_ns)
    assert set(gaps.tolist()) == {20_000_000}


def test_steps_come_in_order_and_every_injection_has_its_heal(scenario):
    steps = plan(scenario, SLO, TOPOLOGY).steps
    assert [s.at_s for s in steps] == sorted(s.at_s for s in steps)
    assert [s.phase for s in steps if isinstance(s, Enter)] == [
        "warmup", "baseline", "fault", "recovery",
    ]  # fmt: skip
    assert {s.id for s in steps if isinstance(s, Inject)} == {
        s.id for s in steps if isinstance(s, Heal)
    }


def test_some_nodes_are_chosen_by_the_dice_and_only_as_many_as_asked(scenario):
    step = dataclasses.replace(scenario.faults[0], role="replica", pick=2)
    some = dataclasses.replace(scenario, faults=(step,))
    picked = {
        next(s.nodes for s in plan(some, SLO, TOPOLOGY, seed=n).steps if isinstance(s, Inject))
        for n in range(50)
    }
    assert all(len(set(nodes)) == 2 for nodes in picked) and len(picked) == 3


def test_hold_follows_the_slo_the_rate_and_the_scenario(scenario):
    assert hold_s(scenario, SLO) == 10
    assert hold_s(dataclasses.replace(scenario, hold_s=1.0), SLO) == 10  # 2 x the short window
    slow = dataclasses.replace(scenario, load=LoadShape("constant", 1.0))
    assert hold_s(slow, SLO) == 35  # 5 bad events at 14.4 x 1 % of 1/s


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phases_s": {"warmup": 1, "baseline": 5, "fault": 20, "recovery": 32}}, "fault phase"),
        ({"phases_s": {"warmup": 1, "baseline": 5, "fault": 32, "recovery": 5}}, "recovery must"),
        ({"hold_s": 25.0}, "'mitigated within 20s' must then hold for 25s"),
        ({"expect": (ExpectMark("recovered", 59.0),)}, "'recovered within 59s'"),
        ({"expect": (ExpectMark("detected", 99.0),)}, "'detected within 99s'"),
    ],
)
def test_phases_that_cannot_hold_a_bound_are_refused(scenario, change, words):
    with pytest.raises(PlanError, match=words):
        plan(dataclasses.replace(scenario, **change), SLO, TOPOLOGY)


def test_every_shipped_scenario_can_be_planned():
    for path in sorted((ROOT / "scenarios").rglob("*.yaml")):
        if "slos" not in path.parts:
            scenario = read_scenario(path)
            topology = CATALOG.stack(scenario.stack)().topology()
            assert len(plan(scenario, SLO, topology).due_ns) > 0


def test_faults_that_overlap_on_purpose_have_one_gate_and_others_each_their_own(scenario):
    first = dataclasses.replace(scenario.faults[0], at_s=0.0, for_s=10.0)
    phases = {**scenario.phases_s, "fault": 100.0}

    def gated(at_s, seed):
        second = dataclasses.replace(first, at_s=at_s)
        both = dataclasses.replace(scenario, faults=(first, second), phases_s=phases, expect=())
        beside = overlaps(plan(both, SLO, TOPOLOGY, seed=seed))
        return sum(not faults for faults in beside.values())

    assert {gated(5.0, n) for n in range(20)} == {1}
    assert {gated(11.0, n) for n in range(20)} == {2}
    assert {gated(10.0, n) for n in range(20)} == {1, 2}  # it is the dice that say: see the linter


@pytest.mark.parametrize(
    ("at_s", "warned"),
    [
        (5.0, False),
        (10.0 - PHASE_SPREAD_S, False),
        (9.5, True),
        (10.0, True),
        (10.0 + LOOK_BACK, True),
        (10.0 + LOOK_BACK + PHASE_SPREAD_S, False),
    ],
)
def test_the_linter_warns_where_the_gate_would_look_back_on_another_fault(scenario, at_s, warned):
    first = dataclasses.replace(scenario.faults[0], at_s=0.0, for_s=10.0)
    both = (dataclasses.replace(first, at_s=at_s), first)
    assert bool(_hurried(dataclasses.replace(scenario, faults=both))) is warned
    assert _hurried(dataclasses.replace(scenario, faults=(first,))) == []


def test_the_injection_phase_is_drawn_over_the_scrape_interval_of_the_stack():
    path = ROOT / "scenarios" / "core" / "drop_features.yaml"

    def drawn(*settings):
        source = read(path, CATALOG, stack="simulated", settings=settings)
        return source.spread_s(), [
            step.at_s
            for seed in range(40)
            for step in source.plan(source.stack().topology(), seed).steps
            if isinstance(step, Inject)
        ]

    start_s = 10 + 25 + 1
    for settings, spread_s in (((), 1.0), (("scrape_interval_s=500ms",), 0.5)):
        said_s, at_s = drawn(*settings)
        assert said_s == spread_s
        assert start_s <= min(at_s) < start_s + spread_s / 4
        assert start_s + spread_s * 3 / 4 < max(at_s) <= start_s + spread_s
    with pytest.raises(ParseError, match="up to 5s of random injection phase"):
        drawn("scrape_interval_s=5s")

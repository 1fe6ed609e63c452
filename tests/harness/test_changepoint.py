import numpy as np
import pytest

from harness.analyze import changepoint as cp
from harness.analyze.impact import impact, mitigation
from harness.analyze.oracle import Oracle
from harness.model.analysis import Estimate
from tests.harness import records as r

EVENTS = 15_000
BUDGETS = (0.001, 0.01, 0.03, 0.1)
RUNS = 150  # of each budget and share: 2,400 in all
L = r.LOAD_AT_S


@pytest.mark.parametrize("share_of_budget", [0.0, 1 / 3, 0.8, 1.0])
def test_a_healthy_run_is_hardly_ever_said_to_be_hurt(share_of_budget):
    dice = np.random.default_rng(17)
    enough = cp.threshold(EVENTS)
    crossed = 0
    for budget in BUDGETS:
        for _ in range(RUNS):
            bad = dice.random(EVENTS, dtype=np.float32) < budget * share_of_budget
            crossed += cp.first_crossing(bad, budget, enough) is not None
    assert crossed / (RUNS * len(BUDGETS)) < cp.ALPHA


def clumpy(dice, count, share, inside, mean):
    """Bad spells of ``mean`` events at random, half of each good: ``share`` bad on the whole."""
    bad, at = np.zeros(count, bool), 0
    while at < count:
        at += int(dice.geometric(1 / (mean * (inside / share - 1))))
        spell = bad[at : at + int(dice.geometric(1 / mean))]
        spell[:] = dice.random(len(spell)) < inside
        at += len(spell)
    return bad


def test_clumps_within_the_budget_are_said_to_hurt_much_less_often_by_their_dispersion():
    dice, enough, plain, cautious = np.random.default_rng(3), cp.threshold(EVENTS, 2), 0, 0
    for _ in range(60):
        bad = clumpy(dice, EVENTS, 0.024, 0.5, 10)
        baseline, rest = bad[:3000], bad[3000:]
        phi = cp.dispersion(baseline, beyond_chance=True)
        assert phi > 2
        plain += cp.first_crossing(rest, 0.03, enough) is not None
        cautious += cp.first_crossing(rest, 0.03, enough * cp.cautious(phi)) is not None
    assert plain / 60 > 0.9  # what Ville's inequality promises rests on there being no clumps
    assert cautious / 60 < 0.05


def test_dispersion_is_one_without_clumps_and_great_with_them():
    dice = np.random.default_rng(4)
    plain = [dice.random(3200) < 0.3 for _ in range(40)]
    assert np.median([cp.dispersion(bad) for bad in plain]) < 1.2
    assert sum(cp.dispersion(bad, beyond_chance=True) == 1.0 for bad in plain) >= 37
    assert cp.dispersion(np.repeat(dice.random(64) < 0.3, 100)) > 20
    assert cp.dispersion(np.zeros(6400, bool)) == cp.dispersion(np.ones(6400, bool)) == 1.0
    assert cp.dispersion(np.zeros(0, bool)) == 1.0


def test_each_stretch_has_a_share_of_its_own_and_that_is_no_dispersion():
    dice = np.random.default_rng(5)
    hurt, usual = dice.random(3200) < 0.6, dice.random(3200) < 0.01
    assert cp.dispersion(hurt, usual) < 1.5
    assert cp.dispersion(np.concatenate((hurt, usual))) > 10


def test_a_stretch_too_short_to_tell_is_taken_to_clump():
    short, long = np.arange(100) % 2 == 0, np.arange(6400) % 2 == 0
    assert cp.dispersion(short, long, few=5.0) == 5.0
    assert cp.dispersion(long, short, few=5.0) == 1.0


def test_dispersion_widens_the_interval_and_leaves_the_date():
    dice = np.random.default_rng(6)
    bad = np.concatenate((dice.random(600) < 0.4, dice.random(900) < 0.01))
    sharp = cp.date_change(bad, 100, 1400, "fall")
    wide = cp.date_change(bad, 100, 1400, "fall", phi=5.0)
    assert wide.index == sharp.index
    assert wide.low <= sharp.low and wide.high > sharp.high


def test_the_threshold_keeps_what_villes_inequality_promises():
    for events, objectives in ((1_000, 1), (15_000, 2), (10**6, 5)):
        enough = cp.threshold(events, objectives)
        hurt = cp._alternatives(0.03)
        chance = sum(events * objectives * p * np.exp(-(enough + np.log(p))) for p in hurt)
        assert chance == pytest.approx(cp.ALPHA)
    assert cp.threshold(0) > 0


@pytest.mark.parametrize(("budget", "share"), [(0.03, 0.12), (0.01, 0.5), (0.01, 0.04), (0.1, 1.0)])
def test_a_hurt_run_is_noticed_soon_and_not_before(budget, share):
    dice = np.random.default_rng(5)
    bad = np.concatenate((dice.random(6000) < budget / 3, dice.random(4000) < share))
    found = cp.first_crossing(bad, budget, cp.threshold(len(bad)))
    gain = share * np.log(share / budget)
    gain += (1 - share) * np.log((1 - share) / (1 - budget)) if share < 1 else 0.0
    assert found is not None
    assert 6000 <= found.at <= 6000 + 3 * cp.threshold(len(bad)) / gain + 10
    assert 6000 - 10 / share < found.start <= found.at


def test_a_burst_shorter_than_n_min_waits_for_n_min_events():
    bad = np.zeros(500, bool)
    bad[100:112] = True
    soon = cp.first_crossing(bad, 0.01, cp.threshold(500))
    later = cp.first_crossing(bad, 0.01, cp.threshold(500), n_min=35)
    assert soon is not None and later is not None
    assert soon.at < 112
    assert later.at - later.start + 1 == 35


def test_no_budget_at_all_is_missed_by_any_bad_event_and_a_whole_one_by_none():
    bad = np.zeros(200, bool)
    bad[150] = True
    assert cp.first_crossing(bad, 0.0, cp.threshold(200)) is not None
    assert cp.first_crossing(np.ones(200, bool), 1.0, cp.threshold(200)) is None
    assert cp.first_crossing(np.zeros(0, bool), 0.01, cp.threshold(0)) is None
    assert cp.first_crossing(np.zeros(200, bool), 0.0, cp.threshold(200)) is None


def test_a_clean_step_is_dated_to_the_event():
    bad = np.arange(1000) >= 700
    rise = cp.date_change(bad, 500, 999, "rise")
    fall = cp.date_change(~bad, 500, 999, "fall")
    for change in (rise, fall):
        assert change is not None and change.index == 700
        assert change.low <= 700 <= change.high
        assert change.high - change.low <= 2
    assert (rise.before, rise.after) == (0.0, 1.0)
    assert (fall.before, fall.after) == (1.0, 0.0)


def test_a_change_the_other_way_is_no_change():
    bad = np.arange(1000) >= 700
    assert cp.date_change(bad, 0, 999, "fall") is None
    assert cp.date_change(np.zeros(100, bool), 0, 99, "rise") is None
    assert cp.date_change(np.zeros(0, bool), 0, 10, "rise") is None


def test_the_date_is_the_argmin_of_the_cumulative_likelihood_ratio():
    dice = np.random.default_rng(8)
    bad = np.concatenate((dice.random(3000) < 0.005, dice.random(400) < 0.15))
    change = cp.date_change(bad, 2900, 3399, "rise")
    steps = np.where(
        bad,
        np.log(change.after / change.before),
        np.log((1 - change.after) / (1 - change.before)),
    )
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    assert change.index == 2900 + int(np.argmin(walk[2900:3400]))


def _schedule(seed, kind, usual, hurt, after):
    """A run with its onset and its mitigation anywhere: (record, true impact, true mitigation)."""
    dice = np.random.default_rng([seed, 9])
    inject = 36 + dice.uniform(0, 1)
    onset = inject + dice.uniform(0, 3)
    served = onset + dice.uniform(3, 14)
    script = r.Script(
        stretches=(
            r.Stretch(onset, served, **{kind: hurt}),
            r.Stretch(served, 99.0, **{kind: after}),
        ),
        spans=(r.Span(inject, inject + 30.0),),
        arrivals="poisson" if seed % 2 else "constant",
        seed=seed,
        **{f"usual_{kind}": usual},
    )
    return script.record(), L + onset, L + served


@pytest.mark.parametrize(
    ("kind", "usual", "hurt", "after"),
    [
        ("wrong", 0.0, 0.12, 0.0),
        ("wrong", 0.01, 0.12, 0.01),
        ("wrong", 0.0, 0.12, 0.008),
        ("error", 0.0, 0.5, 0.0),
        ("error", 0.002, 0.5, 0.002),
        ("error", 0.0, 1.0, 0.0),
    ],
)
def test_the_stated_intervals_hold_the_truth_and_are_narrow(kind, usual, hurt, after):
    runs, impacts, served, widths_s = 200, 0, 0, []
    dated = noticed = 0
    for seed in range(runs):
        record, impact_s, mitigate_s = _schedule(seed, kind, usual, hurt, after)
        oracle, span = Oracle(record, r.SLO, r.HOLD_S), record.spans[0]
        in_force = Estimate(span.injected_s, span.not_before_s, span.injected_s)
        found = impact(oracle, span, in_force)
        if found is None:
            continue  # by chance the baseline seemed to clump, and three seconds did not suffice
        noticed += 1
        impacts += found.at.low_s <= impact_s <= found.at.high_s
        end = mitigation(oracle, span, found).at
        if end.censored:
            continue  # a chance miss late in the fault: cautious, and not an interval
        dated += 1
        served += end.low_s <= mitigate_s <= end.high_s
        widths_s += [found.at.high_s - found.at.low_s, end.high_s - end.low_s]
    assert dated >= 0.95 * runs
    assert noticed >= 0.99 * runs
    assert impacts / noticed >= 0.93
    assert served / dated >= 0.93
    assert np.median(widths_s) <= 1.0

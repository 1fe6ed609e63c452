"""The rules about replicas, on virtual time."""

import heapq
from dataclasses import replace

import numpy as np
import pytest

from fixtures.serving.balancing import Balancer, LastInService, Rules
from fixtures.serving.breaker import Breaker, BreakerSettings
from fixtures.serving.budget import BudgetSettings, RetryBudget
from fixtures.serving.outliers import OutlierSettings

NODES = ("replica-0", "replica-1", "replica-2")
OFF = Rules(ejection=False, breaker=False, retry_budget=False)


def told(breaker: Breaker, at_s: float, good: bool, times: int = 1) -> None:
    for _ in range(times):
        breaker.end(at_s, good=good)


# --- breaker --------------------------------------------------------------------------------


def test_it_opens_when_enough_calls_fail_and_not_before() -> None:
    breaker = Breaker(BreakerSettings(min_calls=10))
    told(breaker, 0.0, True, 5)
    told(breaker, 0.1, False, 4)
    assert breaker.lets_through(0.1)
    told(breaker, 0.2, False)
    assert breaker.state(0.2) == "open" and not breaker.lets_through(0.2)
    assert breaker.opened == 1


def test_failures_of_long_ago_and_few_calls_open_nothing() -> None:
    breaker = Breaker(BreakerSettings(min_calls=10, window_s=5.0))
    told(breaker, 0.0, False, 9)
    told(breaker, 6.0, False, 9)
    assert breaker.state(6.0) == "closed"


def test_half_open_it_tries_one_call_at_a_time_and_closes_after_enough_good_ones() -> None:
    breaker = Breaker(BreakerSettings(open_for_s=2.0, trials=3))
    told(breaker, 0.0, False, 10)
    assert not breaker.lets_through(1.9)
    for number in range(3):
        at_s = 2.0 + number
        assert breaker.state(at_s) == "half_open" and breaker.lets_through(at_s)
        breaker.begin(at_s)
        assert not breaker.lets_through(at_s + 0.1), "a second trial beside the first"
        told(breaker, at_s + 0.2, True)
    assert breaker.state(4.3) == "closed"
    told(breaker, 4.4, False)
    assert breaker.state(4.4) == "closed", "it forgot what was before"


def test_a_bad_trial_opens_it_again_and_a_lost_one_is_forgotten() -> None:
    breaker = Breaker(BreakerSettings(open_for_s=2.0, trial_lost_s=2.0))
    told(breaker, 0.0, False, 10)
    breaker.begin(2.0)
    told(breaker, 2.5, False)
    assert breaker.state(2.5) == "open" and breaker.opened == 2
    breaker.begin(4.6)  # and nobody ever says how it went
    assert not breaker.lets_through(6.5) and breaker.lets_through(6.7)


# --- retry budget ---------------------------------------------------------------------------


def test_retries_are_a_share_of_requests_plus_a_few() -> None:
    budget = RetryBudget(BudgetSettings(share=0.2, spare=10, window_s=10.0))
    made = 0
    for number in range(1_000):  # a brown-out: every request wants a retry
        budget.request(number * 0.01)
        made += budget.retry(number * 0.01)
    assert 200 <= made <= 210
    idle = RetryBudget(BudgetSettings(spare=10))
    assert sum(idle.retry(0.0) for _ in range(50)) == 10


def test_what_was_spent_comes_back_with_time() -> None:
    budget = RetryBudget(BudgetSettings(share=0.0, spare=5, window_s=10.0))
    assert [budget.retry(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert not budget.retry(9.0)
    assert budget.retry(11.0)


# --- which one is asked ---------------------------------------------------------------------


def choose(balancer: Balancer, at_s: float = 0.0, busy: tuple[int, ...] = (0, 0, 0)) -> str | None:
    of = dict(zip(NODES, busy, strict=True))
    return balancer.choose("champion", at_s, of.__getitem__)


def test_the_least_busy_is_asked_or_each_in_turn() -> None:
    by_load, in_turn = Balancer(NODES, OFF), Balancer(NODES, replace(OFF, balancing="round_robin"))
    assert [choose(by_load, busy=(3, 1, 2)) for _ in range(3)] == ["replica-1"] * 3
    assert [choose(in_turn, busy=(3, 1, 2)) for _ in range(6)] == [*NODES, *NODES]


def test_when_all_breakers_are_open_nobody_is_asked_and_the_silence_is_known() -> None:
    balancer = Balancer(NODES, Rules(ejection=False))
    for node in NODES:
        for _ in range(10):
            balancer.failed(node, "champion", 0.0, silent=node != "replica-2")
    assert choose(balancer, 1.0) is None
    assert not balancer.all_silent()
    assert {choose(balancer, 2.1) for _ in NODES} == set(NODES), "one trial each"
    assert choose(balancer, 2.1) is None
    assert Balancer(NODES, OFF).all_silent()


def test_a_bad_champion_does_not_take_the_baseline_along() -> None:
    balancer = Balancer(NODES, Rules(ejection=False))
    for node in NODES:
        for _ in range(10):
            balancer.failed(node, "champion", 0.0, silent=False)
    assert choose(balancer) is None
    assert balancer.choose("baseline", 0.0, lambda _: 0) in NODES


def test_ejected_ones_are_asked_when_there_is_no_other() -> None:
    balancer = Balancer(NODES, Rules(breaker=False))
    for node in NODES[:2]:
        for _ in range(3):
            balancer.failed(node, "champion", 0.0, silent=True)
    assert {choose(balancer) for _ in range(5)} == {"replica-2"}
    for _ in range(3):
        balancer.failed("replica-2", "champion", 0.0, silent=True)
    assert {choose(balancer) for _ in range(6)} == set(NODES)


@pytest.mark.parametrize("off", ["ejection", "breaker"])
def test_a_rule_that_is_off_leaves_nobody_out(off: str) -> None:
    rules = replace(Rules(ejection=False, breaker=False), **{off: False})  # type: ignore[arg-type]
    balancer = Balancer(NODES, rules)
    for _ in range(50):
        balancer.failed("replica-0", "champion", 0.0, silent=True)
    assert {choose(balancer) for _ in range(3)} == set(NODES)


def test_the_last_one_in_service_is_not_drained() -> None:
    balancer = Balancer(NODES, Rules())
    balancer.drain("replica-0", 0.0, drained=True)
    for _ in range(10):
        balancer.failed("replica-1", "champion", 0.0, silent=True)
    with pytest.raises(LastInService):
        balancer.drain("replica-2", 0.0, drained=True)
    balancer.drain("replica-1", 0.0, drained=True)  # it is out anyhow
    balancer.drain("replica-0", 0.0, drained=False)
    balancer.drain("replica-2", 0.0, drained=True)
    assert balancer.drained == ["replica-1", "replica-2"]


# --- slowness -------------------------------------------------------------------------------


class Day:
    """Requests at a steady rate to replicas that take as long as they are told to."""

    def __init__(self, rules: Rules, rate: float = 120.0, replicas: int = 2) -> None:
        self.balancer = Balancer(NODES[:replicas], rules)
        self.takes_s = dict.fromkeys(NODES, 0.004)
        self.asked: list[tuple[float, str]] = []
        self.now_s = 0.0
        self._every_s = 1.0 / rate
        self._ends: list[tuple[float, str, float]] = []
        self._free_s = dict.fromkeys(NODES, 0.0)
        self._noise = np.random.default_rng(7)

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += self._every_s
            while self._ends and self._ends[0][0] <= self.now_s:
                end_s, node, took_s = heapq.heappop(self._ends)
                self.balancer.answered(node, "champion", end_s, took_s)
            busy = [node for _, node, _ in self._ends]
            node = self.balancer.choose("champion", self.now_s, busy.count)
            assert node is not None
            work_s = self.takes_s[node] * float(np.exp(0.5 * self._noise.standard_normal()))
            end_s = max(self._free_s[node], self.now_s) + work_s
            self._free_s[node] = end_s
            heapq.heappush(self._ends, (end_s, node, end_s - self.now_s))
            self.asked.append((self.now_s, node))

    def share(self, node: str, start_s: float, end_s: float) -> float:
        found = [who == node for at_s, who in self.asked if start_s <= at_s < end_s]
        return sum(found) / len(found)

    def slow_ejections(self, node: str) -> int:
        return self.balancer.outliers.ejections(node, "slow")


@pytest.mark.parametrize(
    ("balancing", "times"), [("least_loaded", 10), ("least_loaded", 50), ("round_robin", 10)]
)
def test_a_replica_many_times_slower_than_its_peer_is_left_out(balancing: str, times: int) -> None:
    day = Day(Rules(balancing=balancing))  # type: ignore[arg-type]
    day.run(5.0)
    day.takes_s["replica-0"] *= times
    day.run(4.0)
    assert day.slow_ejections("replica-0") == 1
    assert day.share("replica-0", 8.0, 9.0) == 0.0
    day.run(30.0)
    assert day.slow_ejections("replica-0") <= 5, "it stays out longer each time"
    assert day.share("replica-0", 9.0, 39.0) < 0.08
    day.takes_s["replica-0"] = 0.004
    day.run(40.0)
    assert day.share("replica-0", 75.0, 79.0) > 0.4, "mended, it is asked again"
    assert day.slow_ejections("replica-1") == 0


def test_healthy_replicas_are_never_slow_and_neither_are_all_at_once() -> None:
    for rate in (20.0, 120.0, 240.0):
        day = Day(Rules(), rate)
        day.run(20.0)
        day.takes_s = dict.fromkeys(NODES, 0.05)  # both: a brown-out, not an outlier
        day.run(10.0)
        assert [day.slow_ejections(node) for node in NODES[:2]] == [0, 0], rate


def test_the_last_one_left_is_never_called_slow() -> None:
    day = Day(Rules())
    day.run(2.0)
    day.balancer.drain("replica-1", day.now_s, drained=True)
    day.takes_s["replica-0"] = 0.2
    day.run(10.0)
    assert day.slow_ejections("replica-0") == 0
    day = Day(Rules(), replicas=1)
    day.takes_s["replica-0"] = 0.2
    day.run(5.0)
    assert day.slow_ejections("replica-0") == 0


def test_without_ejection_slowness_leaves_nobody_out() -> None:
    day = Day(replace(Rules(), ejection=False, balancing="round_robin"))
    day.run(2.0)
    day.takes_s["replica-0"] *= 10
    day.run(10.0)
    assert day.slow_ejections("replica-0") == 0
    assert day.share("replica-0", 8.0, 12.0) == pytest.approx(0.5, abs=0.01)


def test_a_slow_start_of_a_few_calls_is_no_outlier() -> None:
    day = Day(Rules(outliers=OutlierSettings()))
    day.takes_s["replica-0"] = 0.1  # torch warms up
    day.run(0.4)
    day.takes_s["replica-0"] = 0.004
    day.run(5.0)
    assert day.slow_ejections("replica-0") == 0

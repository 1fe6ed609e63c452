"""Whoever is killed, and whenever: no fault stays in force, and nothing of the run is left.

Real runs, by the command's own code, of three overlapping faults on the stack of tiny processes;
``tests.killing`` looks at what is left with eyes of its own. Killed at every step, and at random
instants: twenty here, two hundred and more by ``make test-slow``. The negative control comes first:
without the guardian the same eyes do find what is left.
"""

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.model import events as ev
from tests.conftest import gameday
from tests.killing import LEASE_S, Lookout, Victim, injected_in, taken_over

pytestmark = [pytest.mark.timeout(900), pytest.mark.busy]
AT_ONCE = 6
LAST_S = 3.7  # from its first line to its last, alone; longer in company
SEED = 4
FEW_OR_MANY = pytest.mark.parametrize("count", [6, pytest.param(24, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def lookout():
    found = Lookout()
    yield found
    found.close()


def every(work, items):
    """Several at once; the first that fails is raised when all have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))


def all_three_in_force(victim):
    folder = victim.folder
    lines = (folder.path / "events.jsonl").read_text() if victim.lines() else ""
    return lines.count('"FaultInjected"') == 3


def test_without_the_guardian_something_is_left(tmp_path, lookout):
    with Victim(tmp_path, lookout, on=False) as victim:
        assert victim.until(all_three_in_force)
        victim.strike()
        time.sleep(2 * LEASE_S)
        left = victim.residue()
        assert sum("_tiny_" in words for words in left) >= 3, left
        assert "the stack is said to be up" in left
        with pytest.raises(AssertionError):
            victim.nothing_left(bound_s=0.5)


def test_a_run_that_nobody_kills_mends_all_three_and_ends_by_itself(tmp_path, lookout):
    with Victim(tmp_path, lookout) as victim:
        assert not victim.until(lambda _: False)
        victim.killed_s = time.monotonic()
        victim.nothing_left()
        record = victim.record()
        assert record.complete and taken_over(record) is None and injected_in(record) == 3
        healing = min(span.healing_s for span in record.spans)
        assert all(span.injected_s < healing for span in record.spans), "they did not overlap"
        masks = record.requests.rows["mask"]
        assert (masks > 0).any() and (masks == 0).any(), "the load did not see the fault"


def killed_at(tmp_path, lookout, holds):
    """One run, killed when something holds: how long it took to be gone, and what was broken."""
    with Victim(tmp_path, lookout) as victim:
        in_time = victim.until(holds)
        took_s = victim.strike().nothing_left()
        record = victim.record()
        if record is None:
            return "before its first line", took_s
        if record.complete:
            return "ended by itself", took_s
        assert in_time and taken_over(record) is not None
        unhealed = sum(1 for e in record.of(ev.FaultInjected))
        return f"{injected_in(record)} intended, {unhealed} in force before", took_s


def told(name, outcomes, capsys):
    times = sorted(took_s for _, took_s in outcomes)
    with capsys.disabled():
        print(f"\n{name}: {len(outcomes)} kills; gone after {times[len(times) // 2]:.2f} s in the")
        print(f"  median, {times[-1]:.2f} s at most")
        for words, count in sorted(Counter(words for words, _ in outcomes).items()):
            print(f"  {count:4} {words}")


def test_killed_at_every_step_of_the_plan_nothing_is_left(tmp_path, lookout, capsys):
    with Victim(tmp_path, lookout) as victim:
        victim.until(lambda _: False)
        steps = victim.lines()
    assert steps >= 25

    def kill(step):
        return killed_at(tmp_path, lookout, lambda victim: victim.lines() >= step)

    outcomes = every(kill, range(1, steps + 1))
    told("every step", outcomes, capsys)
    assert sum(not words.startswith(("before", "ended")) for words, _ in outcomes) >= steps - 5


def kill_at_random(count, seed, tmp_path, lookout, capsys):
    """One in five before the run's first line or soon after, the others all over the run."""
    dice = random.Random(seed)
    instants = [
        ("started", dice.uniform(0, 1.5)) if n % 5 == 0 else ("begun", dice.uniform(0, LAST_S))
        for n in range(count)
    ]

    def kill(instant):
        since, after_s = instant
        return killed_at(tmp_path, lookout, lambda victim: victim.since(since) >= after_s)

    outcomes = every(kill, instants)
    told("random instants", outcomes, capsys)
    assert sum(words.startswith("3 intended") for words, _ in outcomes) >= count / 10


@pytest.mark.parametrize("count", [20, pytest.param(240, marks=pytest.mark.slow)])
def test_killed_at_random_instants_nothing_is_left(count, tmp_path, lookout, capsys):
    kill_at_random(count, SEED + count, tmp_path, lookout, capsys)


@FEW_OR_MANY
def test_stopped_and_resumed_at_random_instants_it_breaks_nothing_more(count, tmp_path, lookout):
    dice = random.Random(SEED)

    def stop(at_s):
        with Victim(tmp_path, lookout) as victim:
            victim.until(lambda v: v.since("begun") >= at_s)
            victim.strike(signal.SIGSTOP)
            victim.nothing_left()
            before = victim.record()
            victim.strike(signal.SIGCONT)
            assert not victim.until(lambda _: False)
            victim.nothing_left()
            after = victim.record()
            assert injected_in(after) == injected_in(before), "it went on to break"
            assert before.complete or taken_over(after) is not None

    every(stop, [dice.uniform(0, LAST_S) for _ in range(count)])


@FEW_OR_MANY
def test_killed_with_its_guardian_the_stand_by_finishes_the_job(count, tmp_path, lookout):
    dice = random.Random(SEED)

    def kill(at_s):
        with Victim(tmp_path, lookout) as victim:
            victim.until(lambda v: v.guardians and v.since("begun") >= at_s)
            victim.strike(guardian=True).nothing_left()
            record = victim.record()
            assert record is None or record.complete or taken_over(record) is not None

    every(kill, [dice.uniform(0, LAST_S) for _ in range(count)])


def test_killed_with_both_of_its_guardians_every_fault_lets_go_and_heal_does_the_rest(
    tmp_path, lookout
):
    with Victim(tmp_path, lookout) as victim:
        assert victim.until(all_three_in_force)
        victim.strike(guardian=True, standby=True)
        stack, deadline_s = victim.folder.stack, time.monotonic() + 10 * LEASE_S
        while any("_carrier.py" in words for words in victim.residue()):
            assert time.monotonic() < deadline_s
        assert Path(stack / "route").read_text() == "feed.json"
        running = [words for words in victim.residue() if "_tiny_" in words]
        assert len(running) == 3, "what was killed is not there again"
        done = gameday("heal", env={**os.environ, "GAMEDAY_HOME": str(victim.home)})
        assert done.returncode == 0, done.stdout + done.stderr
        victim.killed_s = time.monotonic()
        victim.nothing_left()
        assert victim.record() is not None


@FEW_OR_MANY
def test_when_only_its_guardian_is_killed_the_run_ends_and_mends(count, tmp_path, lookout):
    dice = random.Random(SEED)

    def kill(at_s):
        with Victim(tmp_path, lookout) as victim:
            victim.until(lambda v: v.guardians and v.since("begun") >= at_s)
            victim.strike(harness=False, guardian=True)
            assert not victim.until(lambda _: False)
            victim.killed_s = time.monotonic()
            victim.nothing_left()
            record = victim.record()
            assert record is None or record.complete

    every(kill, [dice.uniform(0, LAST_S) for _ in range(count)])

"""The command itself, killed: `gameday run` on real scenario files, gate, load, plan and all.

On the stack of tiny processes with three overlapping faults, at hundreds of random instants; on the
local stack at dozens; with what guards it, stopped and resumed, on a stack of its own and on one
that it did not start. Only the lease of the mass kills is shorter than a user's. The figures that
the README states are printed by the slow ones.
"""

import random
import signal
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.model import events as ev
from harness.run.ward import LEASE_S as REAL_LEASE_S
from tests.killing import CANARY, SCENARIO, Lookout, Victim, injected_in, taken_over, written
from tests.test_security import holding

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]
AT_ONCE = 6
SEED = 4
HEAL_WITHIN_S = 5.0
ON_LOCAL = SCENARIO.replace("stack: processes", "stack: local")
FAULT_S = 6.5
"""From the first intent to the end of the recovery, or nearly."""


@pytest.fixture(scope="module")
def lookout():
    found = Lookout()
    yield found
    found.close()


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    return written(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def on_local(tmp_path_factory):
    return written(tmp_path_factory.mktemp("local"), ON_LOCAL)


class Figures:
    """What came of many kills, and how long it took."""

    def __init__(self, name):
        self.name = name
        self.gone_s, self.healed_s, self.words = [], [], []

    def add(self, victim, words):
        """One that is gone by now, as far as anybody can see."""
        self.words.append(words)
        self.gone_s.append(victim.gone_s)
        if (healed_s := victim.healed_after_s()) is not None:
            self.healed_s.append(healed_s)

    def tell(self, capsys):
        with capsys.disabled():
            print(f"\n{self.name}: {len(self.words)} blows")
            for what, times in (("healed", self.healed_s), ("gone", self.gone_s)):
                if times:
                    print(
                        f"  {what} after {statistics.median(times):.2f} s in the median,"
                        f" {max(times):.2f} s at most, of {len(times)}"
                    )
            for words, count in sorted(Counter(self.words).items()):
                print(f"  {count:4} {words}")


def instants(count, seed, up_s):
    """Random ones: one in six while it starts, one in four before it breaks anything, the others
    from the first intent on.
    """
    dice = random.Random(seed)
    kinds = [("started", up_s), ("StackUp", 9.0), *[("FaultIntended", FAULT_S)] * 2]
    found = []
    for n in range(count):
        what, most_s = kinds[0] if n % 6 == 0 else kinds[1 + n % 3]
        found.append((what, dice.uniform(0, most_s)))
    return found


def struck(victim, instant, figures, *, bound_s=10.0, number=signal.SIGKILL, **whom):
    """Strike it at an instant; all of it must be gone in time, and the record say what happened."""
    what, after_s = instant
    in_time = victim.until(lambda v: v.since(what) >= after_s)
    assert victim.told() == []
    victim.strike(number, **whom)
    victim.gone_s = victim.nothing_left(bound_s)
    record = victim.record()
    if record is None:
        words = "before its first line"
    elif record.complete:
        words = "ended by itself"
    else:
        assert in_time and taken_over(record) is not None
        healed_s = victim.healed_after_s()
        assert healed_s is None or healed_s <= HEAL_WITHIN_S, (healed_s, record.events[-30:])
        failed = [e for e in record.of(ev.FaultFailed) if e.stage == "heal"]
        assert failed == [], failed
        in_force = sum(1 for e in record.of(ev.FaultInjected))
        words = f"{injected_in(record)} intended, {in_force} came into force"
    figures.add(victim, words)
    return record


def kill_at_random(count, lookout, scenario, parent, capsys, *, seed=SEED):
    figures = Figures("killed at random instants on the tiny processes, lease 1 s")

    def kill(instant):
        with Victim(parent, lookout, words=("run", scenario, "--plain")) as victim:
            struck(victim, instant, figures)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill, instants(count, seed, 1.5)))
    figures.tell(capsys)
    assert sum(words.startswith("3 intended, 3") for words in figures.words) >= count / 10
    return figures


def test_the_command_is_killed_at_random_instants_and_nothing_is_left(
    lookout, scenario, tmp_path, capsys
):
    kill_at_random(6, lookout, scenario, tmp_path, capsys)
    assert holding(tmp_path, CANARY) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_command_is_killed_at_two_hundred_random_instants_and_nothing_is_left(
    part, lookout, scenario, tmp_path, capsys
):
    kill_at_random(54, lookout, scenario, tmp_path, capsys, seed=SEED + 1 + part)


@pytest.mark.slow
def test_without_the_guardian_the_command_leaves_all_of_it_behind(lookout, scenario, tmp_path):
    words = ("run", scenario, "--plain")
    with Victim(tmp_path, lookout, on=False, words=words) as victim:
        assert victim.until(lambda v: v.since("FaultIntended") >= 1.7)
        victim.strike()
        time.sleep(3)
        left = victim.residue()
        assert sum("_tiny_" in words for words in left) >= 3, left
        with pytest.raises(AssertionError):
            victim.nothing_left(bound_s=0.5)


# --- on the local stack ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_the_command_is_killed_on_the_local_stack_and_nothing_is_left(
    part, lookout, on_local, tmp_path, capsys
):
    figures = Figures("killed at random instants on the local stack")
    for instant in instants(6, SEED + part, 12.0):
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            struck(victim, instant, figures)
    figures.tell(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_the_command_is_stopped_and_resumed_on_the_local_stack(
    part, lookout, on_local, tmp_path, capsys
):
    figures = Figures("stopped and resumed on the local stack, lease 3 s")
    dice = random.Random(SEED + part)
    for instant in [("FaultIntended", dice.uniform(0, 5)) for _ in range(3)]:
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            before = struck(victim, instant, figures, number=signal.SIGSTOP)
            victim.strike(signal.SIGCONT)
            assert not victim.until(lambda _: False)
            victim.nothing_left()
            assert injected_in(victim.record()) == injected_in(before), "it went on to break"
    figures.tell(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["guardian", "both"])
def test_its_guardian_or_both_are_killed_on_the_local_stack(
    whom, lookout, on_local, tmp_path, capsys
):
    figures = Figures(f"{whom} killed on the local stack")
    dice = random.Random(SEED)
    for after_s in [dice.uniform(0, 5) for _ in range(3)]:
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            instant = ("FaultIntended", after_s)
            if whom == "both":
                struck(victim, instant, figures, guardian=True)
                continue
            assert victim.until(lambda v, at=instant: v.since(at[0]) >= at[1])
            victim.strike(harness=False, guardian=True)
            assert not victim.until(lambda _: False)
            ended_s = time.monotonic() - victim.killed_s
            victim.killed_s += ended_s
            victim.gone_s = victim.nothing_left()
            record = victim.record()
            assert record.complete and taken_over(record) is not None
            figures.add(victim, f"the harness mended and ended, within {5 * round(ended_s / 5)} s")
    figures.tell(capsys)
